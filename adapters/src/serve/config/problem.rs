//! What is wrong with a configuration, each with its line.

use std::{fmt, ops::Range, path::Path};

use crate::{Error, ErrorKind, serve::Refused};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Problem {
    /// Counted from 1.
    pub(in crate::serve) line: usize,
    pub(in crate::serve) text: String,
}

/// All that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::serve) struct Problems {
    file: String,
    problems: Vec<Problem>,
}

impl Problems {
    /// Of this file.
    pub(in crate::serve) fn of(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.line);
        Self {
            file: file.display().to_string(),
            problems,
        }
    }

    /// A file that can't be read has no lines.
    pub(in crate::serve) fn unreadable(file: &Path, error: &std::io::Error) -> Refused {
        let message = format!(
            "{}: can't be read ({error}); name the configuration with --config",
            file.display()
        );
        let error = Error::new(ErrorKind::Configuration, "serve", "config");
        Refused::Error(error.with_message(message))
    }
}

/// `effects.toml:12: effect `charge`: …`, one a line.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { line, text }) in self.problems.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            write!(f, "{end}{}:{line}: {text}", self.file)?;
        }
        Ok(())
    }
}

/// The first one, and how many there are: an error is one line.
impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let error = Self::new(ErrorKind::Configuration, "serve", "config");
        let Some(Problem { line, text }) = problems.problems.first() else {
            return error;
        };
        let (file, count) = (&problems.file, problems.problems.len());
        error.with_message(match count {
            1 => format!("{file}:{line}: {text}"),
            _ => format!("{count} problems; {file}:{line}: {text}"),
        })
    }
}

/// Where the lines of a text begin.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Lines(Vec<usize>);

impl Lines {
    pub(in crate::serve) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(ends.map(|(at, _)| at).collect())
    }

    /// The line in which the span begins, counted from 1.
    pub(in crate::serve) fn at(&self, span: &Range<usize>) -> usize {
        self.0.partition_point(|end| *end < span.start) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_line_in_which_it_begins() {
        let text = "a = 1\nbc = 2\n\nd = 3";
        let lines = Lines::of(text);
        for (at, line) in [(0, 1), (4, 1), (6, 2), (13, 3), (14, 4), (18, 4)] {
            assert_eq!(lines.at(&(at..at + 1)), line, "{at}");
        }
    }
}

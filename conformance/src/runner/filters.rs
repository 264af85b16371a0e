//! The filters of the command line: any number of them, as `cargo test` takes.
//!
//! libtest-mimic takes one. With several, the runner leaves out the trials that match none of them, and
//! passes the rest on without a filter.

use std::env;

use libtest_mimic::Arguments;

use super::Trial;

/// Options of libtest-mimic whose value is a word of its own, so no filter.
const WITH_VALUE: [&str; 6] = [
    "--test-threads",
    "--logfile",
    "--skip",
    "--color",
    "--format",
    "-Z",
];

/// Several filters; a trial has to match one of them. Empty where one or none was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filters(Vec<String>);

impl Filters {
    /// Reads the arguments of this process.
    pub(super) fn from_args() -> (Arguments, Self) {
        let mut words = env::args();
        let program = words.next().unwrap_or_default();
        let (words, filters) = Self::split(words);
        (
            Arguments::from_iter(std::iter::once(program).chain(words)),
            filters,
        )
    }

    /// Takes the filters out where there are several.
    fn split(words: impl Iterator<Item = String>) -> (Vec<String>, Self) {
        let (mut options, mut filters) = (Vec::new(), Vec::new());
        let mut value = false;
        for word in words {
            if value || word.starts_with('-') {
                value = !value && WITH_VALUE.contains(&word.as_str());
                options.push(word);
            } else {
                filters.push(word);
            }
        }
        if filters.len() > 1 {
            return (options, Self(filters));
        }
        options.append(&mut filters);
        (options, Self::default())
    }

    /// Whether the run's filters name trials of this kind, such as `erased`.
    pub(super) fn starts_with(&self, prefix: &str) -> bool {
        self.0.iter().any(|filter| filter.starts_with(prefix))
    }

    /// The trials that match, and the number of those that do not.
    pub(super) fn apply(&self, trials: Vec<Trial>, exact: bool) -> (Vec<Trial>, u64) {
        if self.0.is_empty() {
            return (trials, 0);
        }
        let before = trials.len();
        let kept: Vec<_> = trials
            .into_iter()
            .filter(|trial| self.matches(&trial.name(), exact))
            .collect();
        let out = u64::try_from(before - kept.len()).unwrap_or(u64::MAX);
        (kept, out)
    }

    fn matches(&self, name: &str, exact: bool) -> bool {
        self.0.iter().any(|filter| {
            if exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &[&str]) -> (Vec<String>, Filters) {
        Filters::split(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn one_filter_stays_where_it_is() {
        let (words, filters) = split(&["--test-threads", "4", "i01"]);
        assert_eq!(words, ["--test-threads", "4", "i01"]);
        assert_eq!(filters, Filters::default());
    }

    #[test]
    fn several_filters_are_taken_out_and_values_are_none() {
        let (words, filters) = split(&[
            "i01",
            "--skip",
            "erased",
            "--exact",
            "t02",
            "--format=pretty",
        ]);
        assert_eq!(words, ["--skip", "erased", "--exact", "--format=pretty"]);
        assert_eq!(filters, Filters(vec!["i01".into(), "t02".into()]));
        assert!(filters.matches("typed::i01_first", false));
        assert!(filters.matches("typed::t02_second", false));
        assert!(!filters.matches("typed::i02_other", false));
        assert!(!filters.matches("typed::i01_first", true));
    }
}

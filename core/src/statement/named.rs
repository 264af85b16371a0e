//! Finds the names of parameters in a text, as the scanners of PostgreSQL and SQLite would: not in
//! quotes, comments or casts.

/// A text with numbers in the place of its names.
pub(super) struct Found {
    pub(super) text: String,
    /// In the order in which they first appear.
    pub(super) names: Vec<String>,
    /// Whether it has numbered parameters of its own.
    pub(super) numbered: bool,
}

pub(super) fn read(text: &str) -> Found {
    let mut reader = Reader {
        rest: text,
        before: ' ',
        found: Found {
            text: String::with_capacity(text.len()),
            names: Vec::new(),
            numbered: false,
        },
    };
    while reader.step() {}
    reader.found
}

struct Reader<'a> {
    rest: &'a str,
    /// The letter before `rest`.
    before: char,
    found: Found,
}

fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$')
}

fn begins_name(letter: char) -> bool {
    letter.is_alphabetic() || letter == '_'
}

impl Reader<'_> {
    /// Goes on by one token; `false` at the end.
    fn step(&mut self) -> bool {
        let mut letters = self.rest.chars();
        let Some(first) = letters.next() else {
            return false;
        };
        let second = letters.next();
        let length = match (first, second) {
            ('\'', _) => quoted(self.rest, '\'', self.escapes()),
            ('"' | '`', _) => quoted(self.rest, first, false),
            ('-', Some('-')) => self.rest.find('\n').unwrap_or(self.rest.len()),
            ('/', Some('*')) => comment(self.rest),
            (':', Some(':' | '=')) => 2,
            (':', Some(next)) if begins_name(next) && !in_word(self.before) => {
                self.name();
                return true;
            }
            ('$', Some(next)) if next.is_ascii_digit() && !in_word(self.before) => {
                self.found.numbered = true;
                1
            }
            ('?', _) => {
                self.found.numbered |= second.is_some_and(|next| next.is_ascii_digit());
                1
            }
            ('$', _) if !in_word(self.before) => dollar_quoted(self.rest).unwrap_or(1),
            (first, _) => first.len_utf8(),
        };
        self.copy(length);
        true
    }

    /// Whether a backslash escapes in the quotes that begin here: `E'…'`.
    fn escapes(&self) -> bool {
        let mut before = self.found.text.chars().rev();
        matches!(before.next(), Some('e' | 'E')) && !before.next().is_some_and(in_word)
    }

    fn copy(&mut self, length: usize) {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .unwrap_or((self.rest, ""));
        self.found.text.push_str(taken);
        self.before = taken.chars().next_back().unwrap_or(self.before);
        self.rest = rest;
    }

    fn name(&mut self) {
        let after = self.rest.get(1..).unwrap_or_default();
        let end = after
            .find(|letter| !(in_word(letter) && letter != '$'))
            .unwrap_or(after.len());
        let (name, rest) = after.split_at_checked(end).unwrap_or((after, ""));
        let known = self.found.names.iter().position(|known| known == name);
        let at = known.unwrap_or_else(|| {
            self.found.names.push(name.to_owned());
            self.found.names.len() - 1
        });
        self.found.text.push_str(&format!("${}", at + 1));
        self.before = '_';
        self.rest = rest;
    }
}

/// How long the quoted text is that begins here; all of it, where it is not closed.
fn quoted(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote {
            match letters.peek() {
                // Doubled, it is one of the text's own.
                Some((_, next)) if *next == quote => drop(letters.next()),
                _ => return at + letter.len_utf8(),
            }
        }
    }
    text.len()
}

/// Comments nest in PostgreSQL.
fn comment(text: &str) -> usize {
    let (mut open, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..) {
        if rest.starts_with("/*") {
            open += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            open -= 1;
            at += 2;
            if open == 0 {
                return at;
            }
        } else {
            match rest.chars().next() {
                Some(letter) => at += letter.len_utf8(),
                None => break,
            }
        }
    }
    text.len()
}

/// `$$…$$` or `$tag$…$tag$`.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag = text.get(1..)?;
    let end = tag.find('$')?;
    let tag = tag.get(..end)?;
    let is_tag = tag.chars().all(|letter| in_word(letter) && letter != '$')
        && !tag.starts_with(|letter: char| letter.is_ascii_digit());
    is_tag.then_some(())?;
    let quote = text.get(..end + 2)?;
    let body = text.get(quote.len()..)?;
    match body.find(quote) {
        Some(at) => Some(2 * quote.len() + at),
        None => Some(text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> (String, Vec<String>) {
        let found = read(text);
        (found.text, found.names)
    }

    #[test]
    fn names_become_numbers_where_they_first_appear() {
        for (text, sent, expected) in [
            ("VALUES (:b, :a, :b)", "VALUES ($1, $2, $1)", vec!["b", "a"]),
            (":a::text||:b", "$1::text||$2", vec!["a", "b"]),
            ("a=:a_1,b>:b2;", "a=$1,b>$2;", vec!["a_1", "b2"]),
            ("SET user:1 :value", "SET user:1 $1", vec!["value"]),
            ("SELECT :größe", "SELECT $1", vec!["größe"]),
            (":a:b", "$1:b", vec!["a"]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(names(text), (sent.to_owned(), expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_left_as_it_is_written() {
        for text in [
            "SELECT 'it''s :a', \":b\"\"\", `:c`",
            r"SELECT E'\':a', e'\\', 'x\' -- :b",
            "SELECT 1 -- :a",
            "/* :a /* :b */ :c */ SELECT 1",
            "SELECT x::int, y :: text, a[1:2], a[x:y]",
            "SELECT $$ :a $$, $q$ :b $$ $q$, a$b",
            "SELECT a := 1, 12:30, ':",
            "SELECT $x$ :a",
            "/* :a",
            "\"é:a",
            ": a",
            ":1",
        ] {
            assert_eq!(names(text), (text.to_owned(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn numbers_beside_names_are_seen() {
        for (text, numbered) in [
            ("VALUES (:a, $1)", true),
            ("VALUES (:a, ?2)", true),
            ("VALUES (:a, '$1', a$1, j ? 'x')", false),
        ] {
            assert_eq!(read(text).numbered, numbered, "{text}");
        }
    }
}

//! What can be known of a user's SQL before it is sent: how many statements a text holds, how each
//! begins, and which parameters it names. Everything else is the server's to say.

/// What a text holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SqlText {
    /// The first word of each statement, in lower case; empty where it begins with no word.
    pub(super) words: Vec<String>,
    /// The highest number of a parameter; 0 for none.
    pub(super) parameters: usize,
    /// Where the first statement ends: at its semicolon, or with the text.
    end: usize,
    /// Where the first statement begins that is no `WITH` of its own: after its common table
    /// expressions.
    main: usize,
    /// Whether it says what it returns.
    returning: bool,
}

/// What follows the common table expressions of a `WITH`.
const MAIN: [&str; 7] = [
    "delete", "insert", "merge", "select", "table", "update", "values",
];

/// Statements that begin or end a transaction, or that change which prepared statements there are.
const CONTROL: [&str; 11] = [
    "abort",
    "begin",
    "commit",
    "deallocate",
    "discard",
    "end",
    "prepare",
    "release",
    "rollback",
    "savepoint",
    "start",
];

impl SqlText {
    /// Reads a text as the server's own scanner does. `escapes` says whether a backslash escapes in
    /// plain quotes (`standard_conforming_strings` is off).
    ///
    /// # Errors
    /// What is not closed: appended to it, a statement of the store would be read as part of it.
    pub(super) fn read(text: &str, escapes: bool) -> Result<Self, &'static str> {
        let mut reader = Reader {
            text: text.as_bytes(),
            at: 0,
            escapes,
            words: Vec::new(),
            open: false,
            parameters: 0,
            depth: 0,
            names: false,
            end: None,
            main: None,
            returning: false,
        };
        reader.run()?;
        Ok(Self {
            words: reader.words,
            parameters: reader.parameters,
            end: reader.end.unwrap_or(text.len()),
            main: reader.main.unwrap_or(0),
            returning: reader.returning,
        })
    }

    /// Whether the text, which is one statement, changes rows and returns none.
    pub(super) fn changes_silently(&self, text: &str) -> bool {
        let first = match self.words.first().map(String::as_str) {
            Some("with") => {
                let (_, main) = self.parts(text);
                let end = main.find(|letter: char| !letter.is_ascii_alphabetic());
                main.get(..end.unwrap_or(main.len())).unwrap_or_default()
            }
            first => first.unwrap_or_default(),
        };
        let changes = ["insert", "update", "delete", "merge"];
        changes.iter().any(|word| word.eq_ignore_ascii_case(first)) && !self.returning
    }

    /// The text, which is one statement, in two parts: its common table expressions, and what they are
    /// for.
    pub(super) fn parts<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let statement = text.get(..self.end).unwrap_or(text);
        statement
            .split_at_checked(self.main)
            .unwrap_or(("", statement))
    }

    /// Why this can't be one statement of an effect with so many values.
    pub(super) fn refuse(&self, values: usize) -> Option<String> {
        let [word] = self.words.as_slice() else {
            return Some(match self.words.len() {
                0 => "is empty".to_owned(),
                count => format!("holds {count} statements; give each its own `Statement`"),
            });
        };
        if CONTROL.contains(&word.as_str()) {
            return Some(format!(
                "begins with {}: the store begins and ends the transaction",
                word.to_uppercase()
            ));
        }
        (self.parameters != values).then(|| {
            format!(
                "names parameters up to ${} and has {values} values bound",
                self.parameters
            )
        })
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    escapes: bool,
    words: Vec<String>,
    /// Whether the current statement has begun.
    open: bool,
    parameters: usize,
    /// How many parentheses are open.
    depth: usize,
    /// Whether the next word names a common table expression.
    names: bool,
    end: Option<usize>,
    main: Option<usize>,
    returning: bool,
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn begin(&mut self, word: &str) {
        if !self.open {
            self.open = true;
            self.words.push(word.to_ascii_lowercase());
        }
    }

    fn run(&mut self) -> Result<(), &'static str> {
        while let Some(byte) = self.peek(0) {
            match byte {
                b';' => {
                    self.open = false;
                    self.end.get_or_insert(self.at);
                    self.at += 1;
                }
                b'-' if self.peek(1) == Some(b'-') => self.line(),
                b'/' if self.peek(1) == Some(b'*') => self.block()?,
                b'\'' => {
                    self.begin("");
                    self.quoted(b'\'', self.escapes)?;
                }
                b'"' => {
                    self.begin("");
                    self.quoted(b'"', false)?;
                }
                b'$' => {
                    self.begin("");
                    self.dollar()?;
                }
                byte if begins_word(byte) => self.word()?,
                byte if byte.is_ascii_whitespace() || byte == 0x0b => self.at += 1,
                byte if byte.is_ascii_digit() => {
                    self.begin("");
                    // A number, and what is glued to it.
                    while self
                        .peek(0)
                        .is_some_and(|byte| in_word(byte) && byte != b'$')
                    {
                        self.at += 1;
                    }
                }
                _ => {
                    self.begin("");
                    match byte {
                        b'(' => self.depth += 1,
                        b')' => self.depth = self.depth.saturating_sub(1),
                        b',' if self.depth == 0 => self.names = true,
                        _ => {}
                    }
                    self.at += 1;
                }
            }
        }
        Ok(())
    }

    fn line(&mut self) {
        while self
            .peek(0)
            .is_some_and(|byte| byte != b'\n' && byte != b'\r')
        {
            self.at += 1;
        }
    }

    fn block(&mut self) -> Result<(), &'static str> {
        let mut depth = 0_u32;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'/'), Some(b'*')) => {
                    depth += 1;
                    self.at += 2;
                }
                (Some(b'*'), Some(b'/')) => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                (Some(_), _) => self.at += 1,
                (None, _) => return Err("has a comment that is not closed"),
            }
        }
    }

    fn quoted(&mut self, quote: u8, escapes: bool) -> Result<(), &'static str> {
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(b'\\') if escapes => self.at += 2,
                Some(byte) if byte == quote => {
                    self.at += 1;
                    // A doubled quote opens it again.
                    if self.peek(0) != Some(quote) {
                        return Ok(());
                    }
                    self.at += 1;
                }
                Some(_) => self.at += 1,
                None => return Err("has a quote that is not closed"),
            }
        }
    }

    fn word(&mut self) -> Result<(), &'static str> {
        let start = self.at;
        while self.peek(0).is_some_and(in_word) {
            self.at += 1;
        }
        let word = self.text.get(start..self.at).unwrap_or_default();
        let text = String::from_utf8_lossy(word);
        let with = self.words.first().is_some_and(|first| first == "with");
        let is_main = || MAIN.iter().any(|main| main.eq_ignore_ascii_case(&text));
        let named = std::mem::take(&mut self.names);
        self.names = (!self.open && text.eq_ignore_ascii_case("with"))
            || (named && text.eq_ignore_ascii_case("recursive"));
        if !named && self.end.is_none() && self.open && self.depth == 0 && with && is_main() {
            self.main.get_or_insert(start);
        }
        self.returning |= self.depth == 0 && text.eq_ignore_ascii_case("returning");
        self.begin(&text);
        if self.peek(0) == Some(b'\'') && matches!(word, b"e" | b"E") {
            return self.quoted(b'\'', true);
        }
        Ok(())
    }

    /// A parameter, or a text in dollar quotes.
    fn dollar(&mut self) -> Result<(), &'static str> {
        let rest = self.text.get(self.at + 1..).unwrap_or_default();
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            let number = rest.get(..digits).unwrap_or_default();
            let number = String::from_utf8_lossy(number)
                .parse()
                .unwrap_or(usize::MAX);
            self.parameters = self.parameters.max(number);
            self.at += 1 + digits;
            return Ok(());
        }
        let tag = rest
            .iter()
            .take_while(|byte| in_word(**byte) && **byte != b'$')
            .count();
        if rest.get(tag) != Some(&b'$') {
            self.at += 1;
            return Ok(());
        }
        let quote = self
            .text
            .get(self.at..self.at + tag + 2)
            .unwrap_or_default();
        let body = self.text.get(self.at + quote.len()..).unwrap_or_default();
        let end = body.windows(quote.len()).position(|part| part == quote);
        let end = end.ok_or("has a dollar quote that is not closed")?;
        self.at += 2 * quote.len() + end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, values: usize) -> Option<String> {
        match SqlText::read(text, false) {
            Ok(read) => read.refuse(values),
            Err(open) => Some(open.to_owned()),
        }
    }

    #[test]
    fn one_statement_is_taken_whatever_is_in_its_literals() {
        for (text, values) in [
            ("INSERT INTO t VALUES ($1, $2)", 2),
            (
                "  -- COMMIT;\n/* ; /* ; */ ; */ UPDATE t SET a = ';' WHERE b = $1;",
                1,
            ),
            (
                "INSERT INTO t VALUES ('it''s; $3', $$; $4$$, $q$; $$ $q$, $1) ; -- ;",
                1,
            ),
            ("SELECT a$1 FROM \"x;\"\"$2\"", 0),
            (r"INSERT INTO t VALUES (E'\'; $2', 'C:\', $1)", 1),
            (
                "WITH x AS (SELECT $2::int) INSERT INTO t SELECT $1 FROM x",
                2,
            ),
            ("SELECT 1$", 0),
        ] {
            assert_eq!(refused(text, values), None, "{text}");
        }
    }

    #[test]
    fn whatever_could_reach_beyond_it_is_refused() {
        for (text, values) in [
            ("", 0),
            (" ; -- nothing", 0),
            ("COMMIT", 0),
            ("/* x */ rollback to savepoint a", 0),
            ("Begin", 0),
            ("PREPARE TRANSACTION 'x'", 0),
            ("DEALLOCATE ALL", 0),
            ("INSERT INTO t VALUES (1); COMMIT", 0),
            ("INSERT INTO t VALUES ($1); UPDATE t SET a = 1", 1),
            ("INSERT INTO t VALUES ('\\'; COMMIT; --')", 0),
            ("UPDATE t SET a = $1 WHERE b = $2", 1),
            ("UPDATE t SET a = $1", 2),
            ("INSERT INTO t VALUES ('", 0),
            ("INSERT INTO t VALUES (1) /* x", 0),
            ("INSERT INTO t VALUES ($x$ $$)", 0),
            ("INSERT INTO \"t", 0),
        ] {
            assert!(refused(text, values).is_some(), "{text}");
        }
    }

    #[test]
    fn a_statement_is_parted_from_its_common_table_expressions() {
        for (text, with, main) in [
            (
                "INSERT INTO t SELECT 1 ; -- x",
                "",
                "INSERT INTO t SELECT 1 ",
            ),
            ("-- x;\nSELECT ';'", "", "-- x;\nSELECT ';'"),
            (
                "WITH a AS (SELECT 1), b(select_) AS (DELETE FROM t RETURNING 1) -- select\n\
                 INSERT INTO t SELECT * FROM a;",
                "WITH a AS (SELECT 1), b(select_) AS (DELETE FROM t RETURNING 1) -- select\n",
                "INSERT INTO t SELECT * FROM a",
            ),
            (
                "with recursive \"insert\" as (values (1)) select 1",
                "with recursive \"insert\" as (values (1)) ",
                "select 1",
            ),
            (
                "WITH delete AS (DELETE FROM t RETURNING 1), Insert AS (SELECT 1, 2) SELECT 3",
                "WITH delete AS (DELETE FROM t RETURNING 1), Insert AS (SELECT 1, 2) ",
                "SELECT 3",
            ),
            (
                "WITH RECURSIVE merge AS (SELECT 1) INSERT INTO t SELECT 1",
                "WITH RECURSIVE merge AS (SELECT 1) ",
                "INSERT INTO t SELECT 1",
            ),
            (
                "UPDATE t SET a = (SELECT 1)",
                "",
                "UPDATE t SET a = (SELECT 1)",
            ),
        ] {
            let read = SqlText::read(text, false).unwrap();
            assert_eq!(read.parts(text), (with, main), "{text}");
        }
    }

    #[test]
    fn a_statement_that_changes_rows_says_whether_it_returns_some() {
        for (text, silent) in [
            ("INSERT INTO t VALUES (1)", true),
            ("INSERT INTO t VALUES (1) RETURNING id", false),
            ("INSERT INTO t VALUES ('RETURNING') -- RETURNING", true),
            (
                "WITH a AS (DELETE FROM t RETURNING 1) INSERT INTO u SELECT 1",
                true,
            ),
            (
                "WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a",
                false,
            ),
            ("SELECT 1", false),
        ] {
            let read = SqlText::read(text, false).unwrap();
            assert_eq!(read.changes_silently(text), silent, "{text}");
        }
    }

    #[test]
    fn a_backslash_escapes_where_the_server_says_so() {
        let text = r"INSERT INTO t VALUES ('\' || $1 || '; COMMIT; --')";
        assert_eq!(
            SqlText::read(text, false).map(|read| read.words.len()),
            Ok(1)
        );
        assert_eq!(
            SqlText::read(text, true).map(|read| read.words.len()),
            Ok(2)
        );
    }
}

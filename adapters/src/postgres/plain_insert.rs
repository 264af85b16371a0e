//! A plain `INSERT INTO table (columns) VALUES (…)` of one row, whose rows of many callers can be one
//! statement: `INSERT … VALUES (…), (…)`.
//!
//! Each value is a parameter or a constant and nothing around it, so the server converts it to the type
//! of its column as the table is now, whether it stands in one row, in one of many, or is the
//! parameter of a prepared statement. Every other text is executed for each caller as it is written.

/// The text before the row, and what the row is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PlainInsert {
    head: String,
    table: String,
    /// As they are written; none where the text names none.
    columns: Vec<String>,
    items: Vec<Item>,
}

#[derive(Debug, PartialEq, Eq)]
enum Item {
    /// The value of a parameter, by its place.
    Parameter(usize),
    /// As it is written.
    Constant(String),
}

impl PlainInsert {
    /// Reads a text with this many parameters, each of which has to stand in exactly one place. A
    /// backslash within quotes makes it no plain one: whether it escapes is a setting.
    pub(super) fn read(text: &str, parameters: usize) -> Option<Self> {
        let mut reader = Reader { rest: text };
        reader.keyword("insert")?;
        reader.keyword("into")?;
        let table = reader.table()?;
        let mut columns = Vec::new();
        if reader.sign('(') {
            columns.push(reader.identifier()?.to_owned());
            while reader.sign(',') {
                columns.push(reader.identifier()?.to_owned());
            }
            reader.sign(')').then_some(())?;
        }
        reader.keyword("values")?;
        let head = text
            .get(..text.len() - reader.rest.len())?
            .trim()
            .to_owned();
        reader.sign('(').then_some(())?;
        let mut items = vec![reader.item()?];
        while reader.sign(',') {
            items.push(reader.item()?);
        }
        reader.sign(')').then_some(())?;
        reader.space();
        let read = Self {
            head,
            table,
            columns,
            items,
        };
        (reader.rest.is_empty() && read.names_each_once(parameters)).then_some(read)
    }

    fn names_each_once(&self, parameters: usize) -> bool {
        let mut named: Vec<usize> = self
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Parameter(place) => Some(*place),
                Item::Constant(_) => None,
            })
            .collect();
        named.sort_unstable();
        named.into_iter().eq(0..parameters)
    }

    /// The table as the text names it.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// The table and the columns, as they stand behind `INSERT INTO`.
    pub(super) fn target(&self) -> String {
        format!("{} ({})", self.table, self.columns.join(", "))
    }

    /// The column of each parameter, in the order of the parameters. `None` where the text does not
    /// say which columns it is for, or where nothing is bound; and where it has a quoted constant, which is
    /// converted when a statement is prepared: `'now'` would stay what it was then.
    pub(super) fn bound_columns(&self) -> Option<Vec<&str>> {
        let quoted = |item: &Item| matches!(item, Item::Constant(text) if text.contains('\''));
        if self.columns.len() != self.items.len() || self.items.iter().any(quoted) {
            return None;
        }
        let mut bound: Vec<(usize, &str)> = self
            .items
            .iter()
            .zip(&self.columns)
            .filter_map(|(item, column)| match item {
                Item::Parameter(place) => Some((*place, column.as_str())),
                Item::Constant(_) => None,
            })
            .collect();
        bound.sort_unstable();
        (!bound.is_empty()).then(|| bound.into_iter().map(|(_, column)| column).collect())
    }

    /// The row as a list of expressions, with one in place of each parameter.
    pub(super) fn row(&self, parameter: impl Fn(usize) -> String) -> String {
        let items = self.items.iter().map(|item| match item {
            Item::Parameter(place) => parameter(*place),
            Item::Constant(written) => written.clone(),
        });
        items.collect::<Vec<_>>().join(", ")
    }

    /// One statement for these rows, each given by its parameters as SQL.
    pub(super) fn of_rows(&self, rows: impl Iterator<Item = Vec<String>>) -> String {
        let mut sql = self.head.clone();
        for (at, values) in rows.enumerate() {
            sql.push_str(if at == 0 { " (" } else { ", (" });
            // As many as are named: see `read`.
            let value = |place: usize| values.get(place).map_or("NULL", String::as_str).to_owned();
            sql.push_str(&self.row(value));
            sql.push(')');
        }
        sql
    }
}

/// What is left to read.
struct Reader<'a> {
    rest: &'a str,
}

fn begins_name(letter: char) -> bool {
    letter.is_alphabetic() || letter == '_'
}

fn in_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$')
}

impl<'a> Reader<'a> {
    fn space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    fn sign(&mut self, sign: char) -> bool {
        self.space();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name without quotes.
    fn name(&mut self) -> Option<&'a str> {
        self.space();
        self.rest.starts_with(begins_name).then_some(())?;
        let length = self
            .rest
            .find(|letter| !in_name(letter))
            .unwrap_or(self.rest.len());
        self.take(length)
    }

    fn keyword(&mut self, word: &str) -> Option<()> {
        self.name()?.eq_ignore_ascii_case(word).then_some(())
    }

    fn identifier(&mut self) -> Option<&'a str> {
        self.space();
        if !self.rest.starts_with('"') {
            return self.name();
        }
        let inner = self.rest.get(1..)?;
        let length = closing(inner, '"')?;
        self.take(length + 2)
    }

    /// Of one part, or of two.
    fn table(&mut self) -> Option<String> {
        let mut table = self.identifier()?.to_owned();
        if self.sign('.') {
            table.push('.');
            table.push_str(self.identifier()?);
        }
        Some(table)
    }

    fn item(&mut self) -> Option<Item> {
        self.space();
        let first = self.rest.chars().next()?;
        if first == '$' {
            self.take(1)?;
            let number: usize = self.digits()?.parse().ok()?;
            return Some(Item::Parameter(number.checked_sub(1)?));
        }
        let written = match first {
            '\'' => {
                let length = closing(self.rest.get(1..)?, '\'')?;
                let text = self.take(length + 2)?;
                (!text.contains('\\')).then_some(text)?.to_owned()
            }
            '-' => {
                self.take(1)?;
                format!("-{}", self.number()?)
            }
            first if first.is_ascii_digit() => self.number()?,
            _ => {
                let word = self.name()?;
                let known = ["null", "true", "false"];
                let known = known.iter().any(|known| word.eq_ignore_ascii_case(known));
                known.then_some(word)?.to_owned()
            }
        };
        Some(Item::Constant(written))
    }

    fn digits(&mut self) -> Option<&'a str> {
        let length = self
            .rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(self.rest.len());
        (length > 0).then_some(())?;
        self.take(length)
    }

    /// Digits, with a point among them or without.
    fn number(&mut self) -> Option<String> {
        let mut number = self.digits()?.to_owned();
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            number.push('.');
            number.push_str(self.digits()?);
        }
        // Glued to it, `1e3` or `0x1f`: not read here.
        (!self.rest.starts_with(in_name)).then_some(number)
    }
}

/// Where the quote closes that was opened before this text.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            continue;
        }
        match letters.peek() {
            // Doubled, it is one of the text's own.
            Some((_, next)) if *next == quote => {
                letters.next();
            }
            _ => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_take_the_place_of_the_row() {
        for (text, parameters, table, sql) in [
            (
                "INSERT INTO payments (id, cents) VALUES ($1, $2)",
                2,
                "payments",
                "INSERT INTO payments (id, cents) VALUES (a, b), (c, d)",
            ),
            (
                " insert\ninto shop.\"Pay; \"\"x\" values($2,'it''s',-1.5,NULL,True,$1) ",
                2,
                "shop.\"Pay; \"\"x\"",
                "insert\ninto shop.\"Pay; \"\"x\" values (b, 'it''s', -1.5, NULL, True, a), \
                 (d, 'it''s', -1.5, NULL, True, c)",
            ),
        ] {
            let read = PlainInsert::read(text, parameters).unwrap();
            let rows = [["a", "b"], ["c", "d"]].map(|row| row.map(str::to_owned).to_vec());
            assert_eq!(read.table(), table);
            assert_eq!(read.of_rows(rows.into_iter()), sql);
        }
    }

    #[test]
    fn a_parameter_has_a_column_where_columns_are_named() {
        let read = |text, parameters| PlainInsert::read(text, parameters).unwrap();
        let named = read("INSERT INTO s.t (a, \"B\", c) VALUES ($2, 7, $1)", 2);
        assert_eq!(named.bound_columns(), Some(vec!["c", "a"]));
        assert_eq!(named.target(), "s.t (a, \"B\", c)");
        assert_eq!(named.row(|place| format!("v{place}")), "v1, 7, v0");
        for (text, parameters) in [
            ("INSERT INTO t VALUES ($1)", 1),
            ("INSERT INTO t (a) VALUES (5)", 0),
            ("INSERT INTO t (a, b) VALUES ($1)", 1),
            ("INSERT INTO t (a, at) VALUES ($1, 'now')", 1),
        ] {
            assert_eq!(read(text, parameters).bound_columns(), None, "{text}");
        }
    }

    #[test]
    fn everything_else_is_left_as_it_is_written() {
        for (text, parameters) in [
            ("INSERT INTO t VALUES ($1, $1)", 1),
            ("INSERT INTO t VALUES ($1)", 2),
            ("INSERT INTO t VALUES ($2)", 1),
            ("INSERT INTO t VALUES ($1::int8)", 1),
            ("INSERT INTO t VALUES (lower($1))", 1),
            ("INSERT INTO t VALUES ($1 + 1)", 1),
            ("INSERT INTO t VALUES ($1), ($2)", 2),
            ("INSERT INTO t VALUES ($1) ON CONFLICT DO NOTHING", 1),
            ("INSERT INTO t VALUES ($1) RETURNING id", 1),
            ("INSERT INTO t AS x VALUES ($1)", 1),
            ("INSERT INTO t (a[1]) VALUES ($1)", 1),
            ("INSERT INTO t (a.b) VALUES ($1)", 1),
            ("INSERT INTO t OVERRIDING SYSTEM VALUE VALUES ($1)", 1),
            ("INSERT INTO a.b.c VALUES ($1)", 1),
            ("INSERT INTO t VALUES (DEFAULT, $1)", 1),
            ("INSERT INTO t VALUES (now(), $1)", 1),
            (r"INSERT INTO t VALUES ('\', $1)", 1),
            ("INSERT INTO t VALUES (E'x', $1)", 1),
            ("INSERT INTO t VALUES ('x'::text, $1)", 1),
            ("INSERT INTO t VALUES (1e3, $1)", 1),
            ("INSERT INTO t VALUES ('x, $1)", 1),
            ("INSERT INTO t VALUES ($1) -- x", 1),
            ("INSERT INTO t /* x */ VALUES ($1)", 1),
            ("INSERT INTO t VALUES ($1", 1),
            ("INSERT INTO t SELECT $1", 1),
            ("INSERT INTO t DEFAULT VALUES", 0),
            ("UPDATE t SET a = $1", 1),
        ] {
            assert_eq!(PlainInsert::read(text, parameters), None, "{text}");
        }
    }
}

//! Answers: lines and tables for people, JSON for programs; the same content.

use std::io::{BufRead, IsTerminal, Write};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Map, Value, json};

use super::escape;
use crate::{Error, ErrorKind, Timestamp};

/// One value of an answer.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    Number(i64),
    Time(Timestamp),
    Flag(bool),
    Nothing,
}

impl Cell {
    pub(super) fn or_nothing<T: Into<Self>>(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }

    fn plain(&self) -> String {
        match self {
            Self::Text(text) => escape::plain(text),
            Self::Number(number) => number.to_string(),
            Self::Time(time) => time.to_string(),
            Self::Flag(true) => "yes".to_owned(),
            Self::Flag(false) => "no".to_owned(),
            Self::Nothing => String::new(),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Time(time) => json!(time.to_string()),
            Self::Flag(flag) => json!(flag),
            Self::Nothing => Value::Null,
        }
    }
}

macro_rules! cell {
    ($($type:ty => $value:ident => $cell:expr),* $(,)?) => {
        $(impl From<$type> for Cell {
            fn from($value: $type) -> Self {
                $cell
            }
        })*
    };
}

cell! {
    String => text => Self::Text(text),
    &str => text => Self::Text(text.to_owned()),
    i64 => number => Self::Number(number),
    u16 => number => Self::Number(number.into()),
    u64 => number => Self::Number(i64::try_from(number).unwrap_or(i64::MAX)),
    usize => number => Self::Number(i64::try_from(number).unwrap_or(i64::MAX)),
    Timestamp => time => Self::Time(time),
    bool => flag => Self::Flag(flag),
}

/// What a command found or did.
#[derive(Debug, Default)]
pub(super) struct Answer {
    facts: Vec<(&'static str, Cell)>,
    columns: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<String>,
    /// A text that is printed as it is, for a file.
    text: Option<String>,
    /// Whether something needs an operator, or is not there.
    attention: bool,
}

impl Answer {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn table(columns: &[&'static str], rows: Vec<Vec<Cell>>) -> Self {
        Self::new().with_table(columns, rows)
    }

    pub(super) fn with_table(mut self, columns: &[&'static str], rows: Vec<Vec<Cell>>) -> Self {
        columns.clone_into(&mut self.columns);
        self.rows = rows;
        self
    }

    /// One sentence.
    pub(super) fn said(text: impl Into<String>) -> Self {
        Self::new().note(text)
    }

    /// A text that a file is made of.
    #[cfg(feature = "serve")]
    pub(super) fn text(text: String) -> Self {
        Self {
            text: Some(text),
            ..Self::default()
        }
    }

    /// One sentence about what is missing.
    pub(super) fn not_there(text: impl Into<String>) -> Self {
        Self::said(text).needs_attention(true)
    }

    pub(super) fn fact(mut self, name: &'static str, value: impl Into<Cell>) -> Self {
        self.facts.push((name, value.into()));
        self
    }

    pub(super) fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub(super) fn needs_attention(mut self, needs: bool) -> Self {
        self.attention |= needs;
        self
    }

    pub(super) fn exit_code(&self) -> u8 {
        u8::from(self.attention)
    }

    fn json(&self) -> Value {
        let key = |name: &str| name.replace(' ', "_");
        let mut value = Map::new();
        value.insert("fine".to_owned(), json!(!self.attention));
        for (name, cell) in &self.facts {
            value.insert(key(name), cell.json());
        }
        if !self.columns.is_empty() {
            let rows = self.rows.iter().map(|row| {
                let cells = self.columns.iter().zip(row);
                let cells = cells.map(|(column, cell)| (key(column), cell.json()));
                Value::Object(cells.collect())
            });
            value.insert("rows".to_owned(), rows.collect());
        }
        if let Some(text) = &self.text {
            value.insert("text".to_owned(), json!(text));
        }
        value.insert("notes".to_owned(), json!(self.notes));
        Value::Object(value)
    }

    fn plain(&self) -> String {
        let mut parts: Vec<String> = self.text.clone().into_iter().collect();
        for (name, cell) in &self.facts {
            if !matches!(cell, Cell::Nothing) {
                parts.push(format!("{name}: {}", cell.plain()));
            }
        }
        if !self.columns.is_empty() && self.rows.is_empty() {
            parts.push("nothing".to_owned());
        } else if !self.columns.is_empty() {
            let mut table = Table::new();
            table
                .load_style(UTF8_FULL_CONDENSED)
                .set_header(&self.columns);
            table.add_rows(self.rows.iter().map(|row| row.iter().map(Cell::plain)));
            parts.push(table.to_string());
        }
        parts.extend(self.notes.iter().map(|note| escape::plain(note)));
        parts.join("\n")
    }
}

pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn print(&self, answer: &Answer) {
        if self.json {
            self.print_json(&answer.json());
        } else {
            // A reader that has gone (`| head`) is no reason to fail.
            let _ = writeln!(std::io::stdout(), "{}", answer.plain());
        }
    }

    pub(super) fn fail(&self, error: &Error) {
        if self.json {
            self.print_error(error.kind().as_str(), &error.to_string());
        } else {
            let text = escape::plain(&error.to_string());
            let _ = writeln!(std::io::stderr(), "exactly-once: {text}");
        }
    }

    pub(super) fn print_error(&self, kind: &str, message: &str) {
        self.print_json(&json!({ "error": { "kind": kind, "message": message } }));
    }

    fn print_json(&self, value: &Value) {
        let _ = writeln!(std::io::stdout(), "{}", escape::json(&value.to_string()));
    }
}

/// A refusal of the command itself.
pub(super) fn refuse(kind: ErrorKind, operation: &'static str, why: impl Into<String>) -> Error {
    Error::new(kind, operation, "cli").with_message(why)
}

/// Asks before what can't be undone. Without a terminal to ask at, only `--yes` will do.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    let mut input = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        let why = format!("this can't be undone. {question} Add --yes, or run it at a terminal");
        return Err(refuse(ErrorKind::Invalid, "confirm", why));
    }
    let question = escape::plain(question);
    let _ = write!(std::io::stderr(), "{question} Type yes to go on: ");
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(_) if line.trim() == "yes" => Ok(()),
        _ => Err(refuse(
            ErrorKind::Invalid,
            "confirm",
            "not confirmed; nothing was done",
        )),
    }
}

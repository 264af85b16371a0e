//! Tables for people, JSON for programs; the same content.

use std::io::{BufRead, IsTerminal, Write};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Map, Value, json};

use crate::{Error, ErrorKind};

/// What a command found.
pub(super) struct Answer {
    columns: Vec<&'static str>,
    rows: Vec<Vec<String>>,
    /// Whether nothing needs a person.
    pub(super) fine: bool,
}

impl Answer {
    pub(super) fn table(columns: &[&'static str], rows: Vec<Vec<String>>, fine: bool) -> Self {
        Self {
            columns: columns.to_vec(),
            rows,
            fine,
        }
    }

    pub(super) fn said(text: impl Into<String>) -> Self {
        Self::table(&["result"], vec![vec![text.into()]], true)
    }

    pub(super) fn not_there(text: impl Into<String>) -> Self {
        Self {
            fine: false,
            ..Self::said(text)
        }
    }

    fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let cells = self.columns.iter().zip(row);
            let cells = cells.map(|(column, cell)| (column.replace(' ', "_"), json!(cell)));
            Value::Object(cells.collect::<Map<_, _>>())
        });
        json!({ "fine": self.fine, "rows": rows.collect::<Vec<_>>() })
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
        let text = if self.json {
            answer.json().to_string()
        } else if answer.rows.is_empty() {
            "nothing".to_owned()
        } else {
            let mut table = Table::new();
            table
                .load_style(UTF8_FULL_CONDENSED)
                .set_header(&answer.columns);
            table.add_rows(&answer.rows);
            table.to_string()
        };
        // A reader that has gone (`| head`) is no reason to fail.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    pub(super) fn fail(&self, error: &Error) {
        let text = if self.json {
            json!({ "error": error.kind().as_str(), "message": error.to_string() }).to_string()
        } else {
            format!("exactly-once: {error}")
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Asks before what can't be undone. Without a terminal to ask at, only `--yes` will do.
pub(super) fn confirm(question: &str, yes: bool) -> Result<(), Error> {
    if yes {
        return Ok(());
    }
    let refuse =
        |message: &str| Err(Error::new(ErrorKind::Invalid, "confirm", "cli").with_message(message));
    let mut input = std::io::stdin().lock();
    if !std::io::stdin().is_terminal() {
        return refuse("this can't be undone: say --yes, or run it at a terminal");
    }
    let _ = write!(std::io::stderr(), "{question} Type yes to go on: ");
    let mut line = String::new();
    match input.read_line(&mut line) {
        Ok(_) if line.trim() == "yes" => Ok(()),
        _ => refuse("not confirmed; nothing was done"),
    }
}

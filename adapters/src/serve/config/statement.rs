//! One statement of a file, with what it takes and returns.

use toml::Spanned;

use super::{
    Field, Returns, Template,
    file::{Named, Statement as InFile, Text},
    read::Reader,
};
use crate::{Statement, ValueType};

/// How many rows a statement may return, if not said.
const MAX_ROWS: u32 = 100;
/// The most that may be said: an answer goes through two journals.
const MOST_ROWS: u32 = 10_000;

/// A statement as it is written, of an effect or of a query.
pub(super) struct Written {
    pub(super) sql: Text,
    pub(super) rows: Option<u64>,
    pub(super) returns: Option<Spanned<Named<Text>>>,
    pub(super) max_rows: Option<Spanned<u32>>,
}

impl From<InFile> for Written {
    fn from(written: InFile) -> Self {
        Self {
            sql: written.sql,
            rows: written.rows,
            returns: written.returns,
            max_rows: written.max_rows,
        }
    }
}

pub(super) fn template(reader: &mut Reader, parameters: &[Field], written: Written) -> Template {
    let names = Statement::named(written.sql.get_ref().as_str())
        .names()
        .to_vec();
    for name in &names {
        if !parameters.iter().any(|parameter| parameter.name == *name) {
            let text = format!("the statement has `:{name}`, which is not among the parameters");
            reader.problem(&written.sql, text);
        }
    }
    let max_rows = written.max_rows.as_ref();
    if let Some(max) = max_rows
        && !(1..=MOST_ROWS).contains(max.get_ref())
    {
        let text = format!("max_rows is {}; it must be 1 to {MOST_ROWS}", max.get_ref());
        reader.problem(max, text);
    }
    let limit = max_rows.map_or(MAX_ROWS, |max| *max.get_ref());
    let returns = written.returns.map(|columns| {
        if columns.get_ref().is_empty() {
            let text = "returns is empty: name the columns, each with its type";
            reader.problem(&columns, text);
        }
        Returns {
            line: reader.line(&columns),
            columns: fields(reader, "column", columns.get_ref()),
            max_rows: limit,
        }
    });
    if let (Some(max), None) = (max_rows, &returns) {
        reader.problem(max, "max_rows is of a statement with `returns`");
    }
    Template {
        line: reader.line(&written.sql),
        sql: written.sql.into_inner(),
        names,
        rows: written.rows,
        returns,
    }
}

/// `order = "text"`, `note = "text?"`.
pub(super) fn fields(reader: &mut Reader, what: &str, written: &Named<Text>) -> Vec<Field> {
    let mut fields = Vec::new();
    for (name, of) in written {
        reader.identifier(&format!("{what} name"), name);
        let word = of.get_ref();
        let (word, optional) = match word.strip_suffix('?') {
            Some(word) => (word, true),
            None => (word.as_str(), false),
        };
        match word.parse::<ValueType>() {
            Ok(of) => fields.push(Field {
                name: name.get_ref().clone(),
                of,
                optional,
            }),
            Err(error) => {
                let text = format!("the {what} `{}`: {error}", name.get_ref());
                reader.problem(of, text);
            }
        }
    }
    fields
}

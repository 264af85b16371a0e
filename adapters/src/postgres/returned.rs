//! Statements that return rows: the server writes the rows as JSON, so that they are one value, with all
//! digits and the names of the columns, on either driver and under any settings of the session.

use std::{fmt::Write as _, sync::LazyLock};

use exactly_once_core::{Ran, Receipt, Result, Returning, Rows, Statement, adapter::refusals};

use super::{STORE, driver::Reply, error::garbled, sql_text::SqlText};

/// What the form of a value depends on: the setting, the value that the rows are written under, and
/// those that write the same. They hold for the writing only: the user's statement means what it means
/// under the session's own.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("TimeZone", "UTC", "'UTC', 'Etc/UTC', 'GMT'"),
    ("bytea_output", "hex", "'hex'"),
    (
        "DateStyle",
        "ISO, MDY",
        "'ISO, MDY', 'ISO, DMY', 'ISO, YMD'",
    ),
    ("IntervalStyle", "postgres", "'postgres'"),
    ("extra_float_digits", "1", "'1', '2', '3'"),
];

/// The statement as one whose result is the number of its rows and, within its limits, the rows as
/// JSON.
pub(super) fn as_json(statement: &Statement, limits: Returning, escapes: bool) -> String {
    format!(
        "{} SELECT rows, json FROM exactly_once_json",
        written(statement, limits, escapes)
    )
}

/// What is bound after the parameters of a statement [`in_receipt`].
pub(super) struct Binding<'a> {
    /// Namespace and key, as SQL.
    pub(super) key: [String; 2],
    /// What stands in the receipt before the rows and after them.
    pub(super) around: [&'a str; 2],
    /// How many rows there have to be.
    pub(super) expected: Option<u64>,
}

impl Binding<'_> {
    /// As SQL, in the order of the parameters.
    pub(super) fn values(self) -> Vec<String> {
        let mut values = Vec::from(self.key);
        values.extend(self.around.map(|part| format!("'{part}'")));
        values.extend(self.expected.map(|rows| format!("'{rows}'")));
        values
    }
}

/// The statement as one that also adds its rows to the receipt in the key's row, and gives the receipt.
/// It divides by zero where they are not within their limits, or not as many as they must be: no
/// message has to come back before the commit.
pub(super) fn in_receipt(
    statement: &Statement,
    limits: Returning,
    receipt_limit: usize,
    keys: &str,
    escapes: bool,
) -> String {
    let bound = statement.parameters().len();
    let parameter = |number: usize, kind: &str| format!("${}::{kind}", bound + number);
    let added = format!(
        "pg_catalog.concat({}, j.json, {})",
        parameter(3, "text"),
        parameter(4, "text")
    );
    let expected = match statement.expected_rows() {
        Some(_) => format!(" AND j.rows = {}", parameter(5, "int8")),
        None => String::new(),
    };
    // JSON that is not within its limits is NULL.
    format!(
        "{written}, \
         exactly_once_kept AS (UPDATE {keys} k \
         SET body = k.body || pg_catalog.convert_to({added}, 'UTF8') \
         FROM exactly_once_json j WHERE k.namespace = {namespace} AND k.key = {key} \
         AND j.json IS NOT NULL \
         AND pg_catalog.octet_length(k.body) + pg_catalog.octet_length({added}) <= {receipt_limit}\
         {expected} RETURNING k.body) \
         SELECT 1 / (SELECT pg_catalog.count(*) FROM exactly_once_kept), \
         (SELECT pg_catalog.convert_from(body, 'UTF8') FROM exactly_once_kept)",
        written = written(statement, limits, escapes),
        namespace = parameter(1, "bytea"),
        key = parameter(2, "bytea"),
    )
}

/// The receipt in the answer to [`in_receipt`].
pub(super) fn receipt(reply: &Reply) -> Option<Receipt> {
    let row = reply.rows.first()?;
    let body = row.get(1)?.clone()?;
    Some(Receipt::from_bytes(body))
}

/// Whether the text changes rows and returns none.
pub(super) fn has_none(statement: &Statement, escapes: bool) -> bool {
    let text = statement.text();
    SqlText::read(text, escapes).is_ok_and(|read| read.changes_silently(text))
}

/// `WITH … exactly_once_rows AS (…)`: the user's statement, whose own `WITH` goes before it, because one
/// that changes rows has to be at the top.
fn rows_of(text: &str, escapes: bool) -> String {
    let read = SqlText::read(text, escapes);
    let (with, main) = read.map_or(("", text), |read| read.parts(text));
    match with {
        "" => format!("WITH exactly_once_rows AS (\n{main}\n)"),
        with => format!("{with}\n, exactly_once_rows AS (\n{main}\n)"),
    }
}

/// `WITH … exactly_once_json AS (…)`: one row with the number of `rows` and, within their limits, the rows
/// in their order as `json`.
///
/// `row_to_json` has every type in a form that does not depend on how the client reads it, and a number
/// with the digits that the server has. Each part reads the one before it, so they run in this order:
/// all rows are made, then the settings change, the JSON is written, and the settings are as before. An
/// error in between undoes the settings too, with its transaction or savepoint.
fn written(statement: &Statement, limits: Returning, escapes: bool) -> String {
    static SETTING: LazyLock<[String; 3]> = LazyLock::new(setting);
    let [before, set, back] = &*SETTING;
    format!(
        "{rows_of}, \
         exactly_once_made AS MATERIALIZED (SELECT pg_catalog.count(*) AS rows{before} \
         FROM exactly_once_rows), \
         exactly_once_set AS MATERIALIZED (SELECT r.*{set} FROM exactly_once_made r), \
         exactly_once_text AS MATERIALIZED (SELECT s.*, CASE WHEN s.rows <= {most_rows}::int8 THEN \
         (SELECT pg_catalog.concat('[', \
         pg_catalog.string_agg(pg_catalog.row_to_json(r.*)::text, ','), ']') \
         FROM exactly_once_rows r WHERE s.rows > 0) END AS json FROM exactly_once_set s), \
         exactly_once_json AS MATERIALIZED (SELECT r.rows, \
         CASE WHEN pg_catalog.octet_length(r.json) <= {most_bytes}::int8 THEN r.json END AS json{back} \
         FROM exactly_once_text r)",
        rows_of = rows_of(statement.text(), escapes),
        most_rows = limits.max_rows(),
        most_bytes = limits.max_bytes(),
    )
}

/// The columns that read the settings, change them where they are not fine, and change them back.
fn setting() -> [String; 3] {
    let [mut before, mut set, mut back] = [const { String::new() }; 3];
    for (number, (name, value, fine)) in SETTINGS.iter().enumerate() {
        let column = format!("was_{number}");
        let _ = write!(before, ", pg_catalog.current_setting('{name}') AS {column}");
        let change = |to: &str| {
            format!(
                ", CASE WHEN r.{column} NOT IN ({fine}) \
                 THEN pg_catalog.set_config('{name}', {to}, true) END"
            )
        };
        set.push_str(&change(&format!("'{value}'")));
        back.push_str(&change(&format!("r.{column}")));
    }
    [before, set, back]
}

/// What the answer to [`as_json`] says; `at` is the number of the statement.
pub(super) fn read(
    reply: &Reply,
    at: usize,
    limits: Returning,
    operation: &'static str,
) -> Result<Ran> {
    let Some([Some(count), json]) = reply.rows.first().map(Vec::as_slice) else {
        return Err(garbled(operation));
    };
    let count: u64 = count.parse().map_err(|_| garbled(operation))?;
    match json {
        Some(json) => Ok(Ran::returned(Rows::from_json(json.as_str())?)),
        None if count > u64::from(limits.max_rows()) => {
            Err(refusals::too_many_rows(at, limits, operation, STORE))
        }
        None => Err(refusals::rows_too_large(at, limits, operation, STORE)),
    }
}

//! Statements that return rows: the server writes the rows as JSON, so that they are one value, with all
//! digits and the names of the columns, on either driver.

use exactly_once_core::{Ran, Receipt, Result, Returning, Rows, Statement, adapter::refusals};

use super::{STORE, driver::Reply, error::garbled, sql_text::SqlText};

/// The statement as one whose result is the number of its rows and, within its limits, the rows as
/// JSON.
///
/// `row_to_json` has every type in a form that does not depend on how the client reads it, and a number
/// with the digits that the server has.
pub(super) fn as_json(statement: &Statement, limits: Returning, escapes: bool) -> String {
    format!(
        "{} SELECT pg_catalog.count(*), CASE WHEN {within} THEN {json} END \
         FROM exactly_once_rows r",
        rows_of(statement.text(), escapes),
        within = within(limits),
        json = json(),
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
    format!(
        "{rows_of}, exactly_once_json AS (SELECT pg_catalog.count(*) AS rows, {json} AS json \
         FROM exactly_once_rows r), \
         exactly_once_kept AS (UPDATE {keys} k \
         SET body = k.body || pg_catalog.convert_to({added}, 'UTF8') \
         FROM exactly_once_json j WHERE k.namespace = {namespace} AND k.key = {key} \
         AND j.rows <= {most_rows} AND pg_catalog.octet_length(j.json) <= {most_bytes} \
         AND pg_catalog.octet_length(k.body) + pg_catalog.octet_length({added}) <= {receipt_limit}\
         {expected} RETURNING k.body) \
         SELECT 1 / (SELECT pg_catalog.count(*) FROM exactly_once_kept), \
         (SELECT pg_catalog.convert_from(body, 'UTF8') FROM exactly_once_kept)",
        rows_of = rows_of(statement.text(), escapes),
        json = json(),
        namespace = parameter(1, "bytea"),
        key = parameter(2, "bytea"),
        most_rows = limits.max_rows(),
        most_bytes = limits.max_bytes(),
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

/// All rows, in their order.
fn json() -> &'static str {
    "pg_catalog.concat('[', pg_catalog.string_agg(pg_catalog.row_to_json(r)::text, ','), ']')"
}

/// Whether they are within their limits.
fn within(limits: Returning) -> String {
    // The commas and the two brackets count as well.
    format!(
        "pg_catalog.count(*) <= {rows}::int8 AND COALESCE(pg_catalog.sum(\
         pg_catalog.octet_length(pg_catalog.row_to_json(r)::text) + 1), 1) + 1 <= {bytes}::int8",
        rows = limits.max_rows(),
        bytes = limits.max_bytes(),
    )
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

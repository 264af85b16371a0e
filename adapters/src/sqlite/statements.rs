//! The user's statements that are known up front: in an effect, in a transaction, in a participant's work.

use exactly_once_core::{
    ErrorKind, Ran, Result, Rows, Statement, StatementTransaction, Value,
    adapter::{RowsWriter, refusals},
};
use rusqlite::{
    CachedStatement, ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    SqliteStore,
    error::{STORE, error},
    guard::{ONE_STATEMENT, Scope},
    queue::Bench,
    transaction::{SqliteTx, explain, user_work},
};

/// Whether a statement may read the row id that was inserted last.
pub(super) fn reads_row_id(text: &str) -> bool {
    const FUNCTION: &[u8] = b"last_insert_rowid";
    let mut windows = text.as_bytes().windows(FUNCTION.len());
    windows.any(|window| window.eq_ignore_ascii_case(FUNCTION))
}

impl StatementTransaction for SqliteStore {
    async fn run_in(&self, tx: &mut SqliteTx, statement: &Statement) -> Result<Ran> {
        const OPERATION: &str = "run_in";
        statement.check(OPERATION, STORE)?;
        self.check_home(tx, OPERATION)?;
        let (statement, staged) = (statement.clone(), tx.is_staged());
        tx.step(OPERATION, move |bench| {
            bench.savepoint(OPERATION, || apply(bench, OPERATION, staged, 1, &statement))
        })
        .await
    }
}

/// Runs statements of the user's in order, and gives the rows of those that return some; `staged` in
/// work that is to be prepared.
pub(super) fn apply_all(
    bench: &Bench<'_>,
    operation: &'static str,
    staged: bool,
    statements: &[Statement],
) -> Result<Vec<Rows>> {
    let mut rows = Vec::new();
    for (at, statement) in (1..).zip(statements) {
        let ran = apply(bench, operation, staged, at, statement)?;
        if statement.returns().is_some() {
            rows.push(ran.rows);
        }
    }
    Ok(rows)
}

/// What a statement turned out to be.
enum Kind {
    /// It controls the transaction, and was not run.
    Control,
    /// It has no columns, though it is to return rows.
    WithoutRows,
    /// It ran to its end.
    Ran(Option<Result<Rows>>),
}

/// Runs one statement, the `at`th.
fn apply(
    bench: &Bench<'_>,
    operation: &'static str,
    staged: bool,
    at: usize,
    step: &Statement,
) -> Result<Ran> {
    if step.text().trim().is_empty() {
        return Err(error(
            ErrorKind::Invalid,
            operation,
            "the statement is empty",
        ));
    }
    let is_nan = |value: &Value| matches!(value, Value::Float(number) if number.is_nan());
    if step.parameters().iter().any(is_nan) {
        return Err(error(
            ErrorKind::Invalid,
            operation,
            "NaN is bound, which SQLite would store as NULL",
        ));
    }
    let before = bench.connection.total_changes();
    let scope = Scope::Statement { staged };
    let rows = || {
        step.returns()
            .map(|limits| RowsWriter::new(at, limits, operation, STORE))
    };
    let kind = user_work(bench, scope, |connection| {
        run(connection.prepare_cached(step.text())?, step, rows())
    })
    .map_err(|source| explain(bench, operation, source))?;
    let ran = match kind {
        Kind::Control => return Err(error(ErrorKind::Refused, operation, ONE_STATEMENT)),
        Kind::WithoutRows => return Err(refusals::returns_nothing(at, operation, STORE)),
        Kind::Ran(Some(rows)) => Ran::returned(rows?),
        Kind::Ran(None) if bench.connection.total_changes() == before => Ran::changed(0),
        // Of the statement itself, without what its triggers changed.
        Kind::Ran(None) => Ran::changed(bench.connection.changes()),
    };
    match step.expected_rows() {
        Some(expected) if expected != ran.changed => {
            let changed = ran.changed;
            Err(refusals::rows(at, changed, expected, operation, STORE))
        }
        _ => Ok(ran),
    }
}

/// Steps through a statement to its end, so that one with RETURNING is done as a whole.
fn run(
    mut prepared: CachedStatement<'_>,
    step: &Statement,
    mut writer: Option<RowsWriter>,
) -> rusqlite::Result<Kind> {
    // What a closure compiled before comes from the driver's cache, and the fences are not asked: a
    // statement that neither writes nor gives rows controls the transaction.
    if prepared.column_count() == 0 {
        if prepared.readonly() {
            return Ok(Kind::Control);
        }
        if writer.is_some() {
            return Ok(Kind::WithoutRows);
        }
    }
    let names: Vec<String> = match writer {
        Some(_) => prepared
            .column_names()
            .into_iter()
            .map(str::to_owned)
            .collect(),
        None => Vec::new(),
    };
    let parameters = step.parameters().iter().map(Bound);
    let mut rows = prepared.query(params_from_iter(parameters))?;
    let mut refused = None;
    while let Some(row) = rows.next()? {
        let Some(writer) = writer.as_mut().filter(|_| refused.is_none()) else {
            continue;
        };
        let columns = names.iter().enumerate().map(|(column, name)| {
            let value = row.get_ref(column).map_or(Value::Null, value_of);
            (name.as_str(), value)
        });
        refused = writer.row(columns).err();
    }
    Ok(Kind::Ran(match (writer, refused) {
        (_, Some(refused)) => Some(Err(refused)),
        (Some(writer), None) => Some(writer.finish()),
        (None, None) => None,
    }))
}

/// A value as SQLite has stored it. Text that is no UTF-8 is given as its bytes.
fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Float(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::from(text),
            Err(_) => Value::from(text.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::from(bytes.to_vec()),
    }
}

/// A parameter as SQLite stores it.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self.0 {
            Value::Null => ValueRef::Null,
            Value::Bool(flag) => ValueRef::Integer(i64::from(*flag)),
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Float(number) => ValueRef::Real(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
            other => match other.as_text() {
                Some(text) => return Ok(ToSqlOutput::from(text)),
                None => {
                    return Err(rusqlite::Error::ToSqlConversionFailure(
                        "a value that has no form in SQLite".into(),
                    ));
                }
            },
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

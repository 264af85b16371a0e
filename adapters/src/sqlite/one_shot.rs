//! Effects that are known up front, as statements with parameters: one commit for many callers.

use std::sync::atomic::Ordering;

use exactly_once_core::{
    ErrorKind, OneShot, OneShotDone, OneShotStore, Outcome, Result, Statement, Value,
    adapter::{refusals, refused_up_front, rules::keys::Standing, settle_one_shot},
};
use rusqlite::{
    ToSql, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    SqliteStore,
    error::{STORE, error, statement},
    guard::{ONE_STATEMENT, Scope},
    key_row::KeyDone,
    queue::{Bench, Undo},
    transaction::{explain, user_work},
};

const OPERATION: &str = "execute_one_shot";

impl OneShotStore for SqliteStore {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let limit = self.settings.max_receipt_bytes;
        if let Err(refusal) = effect.receipt.check_size(limit, OPERATION, STORE) {
            return refused_up_front(self, OPERATION, &effect.claim, refusal).await;
        }
        let answer = self.attempt_one_shot(effect).await;
        settle_one_shot(self, OPERATION, &effect.claim, answer).await
    }
}

impl SqliteStore {
    async fn attempt_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        if self.writer.is_held()
            && let Standing::Completed(outcome) = self.standing(OPERATION, &effect.claim).await?
        {
            return Ok(OneShotDone {
                outcome,
                replayed: true,
            });
        }
        let key = Some(self.key_in_use(&effect.claim));
        let (store, effect) = (self.clone(), effect.clone());
        self.write(OPERATION, Undo::Savepoint, key, move |bench| {
            store.apply(bench, &effect)
        })
        .await
    }

    fn apply(&self, bench: &Bench<'_>, effect: &OneShot) -> Result<OneShotDone> {
        let (connection, claim) = (bench.connection, &effect.claim);
        if effect.statements.iter().any(|one| reads_row_id(one.text())) {
            bench.forget_row_id().map_err(statement(OPERATION))?;
        }
        let outcome = Outcome::Applied(effect.receipt.clone());
        let done = KeyDone {
            namespace: &self.namespace,
            claim,
            outcome: &outcome,
            token: None,
            now: bench.settings.now(),
        };
        // What is likely is what was met last: a replay is only looked up, and a new key's row is
        // written without a look. It goes with the effect, whether that is kept or undone.
        let replays = self.replays.load(Ordering::Relaxed);
        if replays || !done.insert(connection, OPERATION)? {
            let standing = self.standing_in(bench, OPERATION, claim)?;
            self.replays.store(
                matches!(standing, Standing::Completed(_)),
                Ordering::Relaxed,
            );
            if let Some(outcome) = standing.outcome(OPERATION, STORE)? {
                return Ok(OneShotDone {
                    outcome,
                    replayed: true,
                });
            }
            done.write(connection, OPERATION)?;
        }
        for (at, statement) in (1..).zip(&effect.statements) {
            apply_statement(bench, OPERATION, false, at, statement)?;
        }
        Ok(OneShotDone {
            outcome,
            replayed: false,
        })
    }
}

/// Whether a statement may read the row id that was inserted last.
pub(super) fn reads_row_id(text: &str) -> bool {
    const FUNCTION: &[u8] = b"last_insert_rowid";
    let mut windows = text.as_bytes().windows(FUNCTION.len());
    windows.any(|window| window.eq_ignore_ascii_case(FUNCTION))
}

/// Runs one statement of the user's, the `at`th; `staged` in work that is to be prepared.
pub(super) fn apply_statement(
    bench: &Bench<'_>,
    operation: &'static str,
    staged: bool,
    at: usize,
    step: &Statement,
) -> Result<()> {
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
    let parameters = step.parameters().iter().map(Bound);
    let before = bench.connection.total_changes();
    let scope = Scope::Statement { staged };
    let mut control = false;
    user_work(bench, scope, |connection| {
        let mut prepared = connection.prepare_cached(step.text())?;
        // What a closure compiled before comes from the driver's cache, and the fences are not
        // asked: a statement that neither writes nor gives rows controls the transaction.
        control = prepared.readonly() && prepared.column_count() == 0;
        if control {
            return Ok(());
        }
        let mut rows = prepared.query(params_from_iter(parameters))?;
        // To the end, so that a statement with RETURNING is done as a whole.
        while rows.next()?.is_some() {}
        Ok(())
    })
    .map_err(|source| explain(bench, operation, source))?;
    if control {
        return Err(error(ErrorKind::Refused, operation, ONE_STATEMENT));
    }
    let changed = if bench.connection.total_changes() == before {
        0
    } else {
        // Of the statement itself, without what its triggers changed.
        bench.connection.changes()
    };
    match step.expected_rows() {
        Some(expected) if expected != changed => {
            Err(refusals::rows(at, changed, expected, operation, STORE))
        }
        _ => Ok(()),
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
            other => {
                return Err(rusqlite::Error::ToSqlConversionFailure(
                    format!("{other:?} has no form in SQLite").into(),
                ));
            }
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

//! Effects known up front, as commands.

use bytes::Bytes;
use exactly_once_core::{
    Claim, Claimed, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Outcome, Ran, Result,
    Rows, Settled, Statement, StatementTransaction, Store, Value,
    adapter::{RowsWriter, Word, refusals, refused_up_front, settle_one_shot},
};

use super::{MemoryStore, error::BACKEND, transaction::MemoryTx};

/// Statements are commands on the user's rows; the arguments are bound.
///
/// | text | bound | rows changed | returns |
/// |---|---|---|---|
/// | `put` | row, value | 1 | `value`, as it is then |
/// | `append` | row, value | 1 | the same |
/// | `add` | row, whole number | 1 | the same; the value is a number |
/// | `delete` | row | 1, or 0 where there was none | what was deleted |
/// | `get` | row | 0 | the row, if there is one |
///
/// A value is text, bytes, a whole number in decimal digits, or one that has a
/// [text](Value::as_text). Anything else is [refused](exactly_once_core::ErrorKind::Refused).
impl OneShotStore for MemoryStore {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let limit = self.capabilities().max_receipt_bytes;
        if let Err(refusal) = effect.check(limit, OPERATION, BACKEND) {
            return refused_up_front(self, OPERATION, &effect.claim, refusal).await;
        }
        let answer = self.attempt(effect, limit).await;
        settle_one_shot(self, OPERATION, &effect.claim, answer).await
    }
}

/// Statements are the commands of [`OneShotStore`].
impl StatementTransaction for MemoryStore {
    async fn run_in(&self, tx: &mut MemoryTx, statement: &Statement) -> Result<Ran> {
        const OPERATION: &str = "run_in";
        statement.check(OPERATION, BACKEND)?;
        tx.check_home(self, OPERATION)?;
        run(tx, 1, statement, OPERATION)
    }
}

impl MemoryStore {
    async fn attempt(&self, effect: &OneShot, limit: usize) -> Result<OneShotDone> {
        let claim: &Claim = &effect.claim;
        let mut tx = match self.claim(claim).await? {
            Claimed::Fresh(tx) => tx,
            Claimed::Completed(outcome) => {
                return Ok(OneShotDone {
                    outcome,
                    replayed: true,
                });
            }
            Claimed::InProgress { retry_after } => {
                return Err(refusals::in_progress(retry_after, OPERATION, BACKEND));
            }
            Claimed::Mismatch => return Err(refusals::mismatch(OPERATION, BACKEND)),
        };
        let rows = apply(&mut tx, &effect.statements, OPERATION)?;
        let receipt = effect.receipt_with(&rows, limit, OPERATION, BACKEND)?;
        Ok(match self.complete(tx, claim, &receipt).await? {
            Settled::Recorded => OneShotDone {
                outcome: Outcome::Applied(receipt),
                replayed: false,
            },
            Settled::Superseded(outcome) => OneShotDone {
                outcome,
                replayed: true,
            },
        })
    }
}

const OPERATION: &str = "execute_one_shot";

/// Runs the statements, and gives the rows of those that return some. A transaction in which one was
/// refused can't be committed.
pub(super) fn apply(
    tx: &mut MemoryTx,
    statements: &[Statement],
    operation: &'static str,
) -> Result<Vec<Rows>> {
    let mut rows = Vec::new();
    for (at, statement) in (1..).zip(statements) {
        let ran = run(tx, at, statement, operation)?;
        if statement.returns().is_some() {
            rows.push(ran.rows);
        }
    }
    Ok(rows)
}

/// Runs a statement, and looks at what it changed and returned.
fn run(
    tx: &mut MemoryTx,
    at: usize,
    statement: &Statement,
    operation: &'static str,
) -> Result<Ran> {
    let Done { changed, row } = command(tx, statement, operation)?;
    let ran = match statement.returns() {
        None => Ran::changed(changed),
        Some(limits) => {
            let mut rows = RowsWriter::new(at, limits, operation, BACKEND);
            let written = match row {
                Some((_, value)) => rows.row([("value", value)]),
                None => Ok(()),
            };
            let rows = written.and_then(|()| rows.finish());
            Ran::returned(rows.map_err(|refused| tx.failed_with(refused))?)
        }
    };
    match statement.expected_rows() {
        Some(expected) if expected != ran.changed => Err(tx.failed_with(refusals::rows(
            at,
            ran.changed,
            expected,
            operation,
            BACKEND,
        ))),
        _ => Ok(ran),
    }
}

/// What a command did.
struct Done {
    changed: u64,
    row: Option<(String, Value)>,
}

/// Runs one command.
fn command(tx: &mut MemoryTx, statement: &Statement, operation: &'static str) -> Result<Done> {
    let mut words = statement.words();
    let name = match words.next() {
        Some(Word::Written(name)) => name,
        _ => "",
    };
    let values: Vec<Value> = words
        .map(|word| match word {
            Word::Written(text) => Value::from(text),
            Word::Bound(value) => value.clone(),
        })
        .collect();
    let (changed, row) = match (name, values.as_slice()) {
        ("put", [Value::Text(row), value]) => {
            let value = bytes_of(tx, value, operation)?;
            tx.put(row.as_str(), value);
            (1, row)
        }
        ("append", [Value::Text(row), value]) => {
            let value = bytes_of(tx, value, operation)?;
            tx.append(row.as_str(), value);
            (1, row)
        }
        ("add", [Value::Text(row), Value::Integer(delta)]) => {
            let sum = Value::Integer(tx.add(row, *delta)?);
            return Ok(Done {
                changed: 1,
                row: Some((row.clone(), sum)),
            });
        }
        ("delete", [Value::Text(row)]) => {
            let before = tx.get(row);
            let changed = u64::from(tx.delete(row));
            return Ok(Done {
                changed,
                row: before.map(|value| (row.clone(), value_of(value))),
            });
        }
        ("get", [Value::Text(row)]) => (0, row),
        _ => {
            return Err(tx.refuse(
                operation,
                "no such command, or not its parameters; there are: put row value, append row \
                 value, add row number, delete row, get row",
            ));
        }
    };
    // A read is checked at the commit: only where it is asked for.
    let value = match statement.returns() {
        Some(_) => tx.get(row),
        None => None,
    };
    Ok(Done {
        changed,
        row: value.map(|value| (row.clone(), value_of(value))),
    })
}

fn value_of(bytes: Bytes) -> Value {
    match std::str::from_utf8(&bytes) {
        Ok(text) => Value::from(text),
        Err(_) => Value::Bytes(bytes),
    }
}

fn bytes_of(tx: &mut MemoryTx, value: &Value, operation: &'static str) -> Result<Bytes> {
    match value {
        Value::Text(text) => Ok(text.clone().into()),
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Integer(number) => Ok(number.to_string().into()),
        value => match value.as_text() {
            Some(text) => Ok(text.into()),
            None => Err(tx.refuse(operation, "a value is text, bytes or a whole number")),
        },
    }
}

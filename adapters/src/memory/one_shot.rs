//! Effects known up front, as commands.

use bytes::Bytes;
use exactly_once_core::{
    Claim, Claimed, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Outcome, Receipt, Result,
    Settled, Statement, Store, Value,
    adapter::{refusals, refused_up_front, settle_one_shot},
};

use super::{MemoryStore, error::BACKEND, transaction::MemoryTx};

/// Statements are commands on the user's rows; the arguments are bound.
///
/// | text | bound | rows changed |
/// |---|---|---|
/// | `put` | row, value | 1 |
/// | `append` | row, value | 1 |
/// | `add` | row, whole number | 1 |
/// | `delete` | row | 1, or 0 where there was none |
///
/// A value is text, bytes, or a whole number in decimal digits. Anything else is
/// [refused](exactly_once_core::ErrorKind::Refused).
impl OneShotStore for MemoryStore {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let OneShot {
            claim,
            statements,
            receipt,
        } = effect;
        let limit = self.capabilities().max_receipt_bytes;
        if let Err(refusal) = receipt.check_size(limit, OPERATION, BACKEND) {
            return refused_up_front(self, OPERATION, claim, refusal).await;
        }
        let answer = self.attempt(claim, statements, receipt).await;
        settle_one_shot(self, OPERATION, claim, answer).await
    }
}

impl MemoryStore {
    async fn attempt(
        &self,
        claim: &Claim,
        statements: &[Statement],
        receipt: &Receipt,
    ) -> Result<OneShotDone> {
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
        apply(&mut tx, statements, OPERATION)?;
        Ok(match self.complete(tx, claim, receipt).await? {
            Settled::Recorded => OneShotDone {
                outcome: Outcome::Applied(receipt.clone()),
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

/// Runs the statements. A transaction in which one was refused can't be committed.
pub(super) fn apply(
    tx: &mut MemoryTx,
    statements: &[Statement],
    operation: &'static str,
) -> Result<()> {
    for (at, statement) in (1..).zip(statements) {
        let rows = run(tx, statement, operation)?;
        if let Some(expected) = statement.expected_rows().filter(|it| *it != rows) {
            let refused = refusals::rows(at, rows, expected, operation, BACKEND);
            return Err(tx.refuse(operation, refused.message().unwrap_or_default()));
        }
    }
    Ok(())
}

/// Runs one command; gives the number of rows that it changed.
fn run(tx: &mut MemoryTx, statement: &Statement, operation: &'static str) -> Result<u64> {
    match (statement.text(), statement.parameters()) {
        ("put", [Value::Text(row), value]) => {
            let value = bytes_of(tx, value, operation)?;
            tx.put(row.as_str(), value);
        }
        ("append", [Value::Text(row), value]) => {
            let value = bytes_of(tx, value, operation)?;
            tx.append(row.as_str(), value);
        }
        ("add", [Value::Text(row), Value::Integer(delta)]) => {
            tx.add(row, *delta)?;
        }
        ("delete", [Value::Text(row)]) => return Ok(u64::from(tx.delete(row))),
        _ => {
            return Err(tx.refuse(
                operation,
                "no such command, or not its parameters; there are: put row value, append row \
                 value, add row number, delete row",
            ));
        }
    }
    Ok(1)
}

fn bytes_of(tx: &mut MemoryTx, value: &Value, operation: &'static str) -> Result<Bytes> {
    match value {
        Value::Text(text) => Ok(text.clone().into()),
        Value::Bytes(bytes) => Ok(bytes.clone()),
        Value::Integer(number) => Ok(number.to_string().into()),
        _ => Err(tx.refuse(operation, "a value is text, bytes or a whole number")),
    }
}

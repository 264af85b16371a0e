//! Effects that are known up front: claim, statements, receipt and commit.

use exactly_once_core::{
    Claimed, ErrorKind, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Outcome, Result,
    Settled, Value,
};

use super::{
    STORE,
    driver::Driver,
    error::{convert, error, mismatch},
    sqlstate::Stage,
    store::PostgresStore,
};

const ONE_SHOT: &str = "execute_one_shot";

/// Before any I/O: the server would refuse a NUL in text.
fn check(effect: &OneShot) -> Result<()> {
    for (at, statement) in effect.statements.iter().enumerate() {
        let nul = |value: &Value| matches!(value, Value::Text(text) if text.contains('\0'));
        if statement.text().contains('\0') || statement.parameters().iter().any(nul) {
            return Err(error(
                ErrorKind::Invalid,
                ONE_SHOT,
                format!("statement {at} holds a NUL byte in text; bind it as bytes"),
            ));
        }
    }
    Ok(())
}

impl<D: Driver> OneShotStore for PostgresStore<D> {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        check(effect)?;
        effect
            .receipt
            .check_size(self.max_receipt_bytes(), ONE_SHOT, STORE)?;
        let mut tx = match self.claim(&effect.claim).await? {
            Claimed::Fresh(tx) => tx,
            Claimed::Completed(outcome) => {
                return Ok(OneShotDone {
                    outcome,
                    replayed: true,
                });
            }
            Claimed::InProgress { retry_after } => {
                return Err(error(
                    ErrorKind::InProgress { retry_after },
                    ONE_SHOT,
                    "another attempt holds the key",
                ));
            }
            Claimed::Mismatch => return Err(mismatch(ONE_SHOT)),
        };
        let changed = match tx.session().execute(&effect.statements).await {
            Ok(changed) => changed,
            Err(failed) => {
                tx.abandon().await;
                return Err(convert(failed, ONE_SHOT, Stage::Before));
            }
        };
        for (at, (statement, rows)) in effect.statements.iter().zip(&changed).enumerate() {
            if let Some(expected) = statement.expected_rows()
                && expected != *rows
            {
                tx.abandon().await;
                return Err(error(
                    ErrorKind::Refused,
                    ONE_SHOT,
                    format!("statement {at} changed {rows} rows; it must change {expected}"),
                ));
            }
        }
        match self.complete(tx, &effect.claim, &effect.receipt).await? {
            Settled::Recorded => Ok(OneShotDone {
                outcome: Outcome::Applied(effect.receipt.clone()),
                replayed: false,
            }),
            Settled::Superseded(outcome) => Ok(OneShotDone {
                outcome,
                replayed: true,
            }),
        }
    }
}

//! Effects known up front: one script, one trip.

use exactly_once_core::{
    OneShot, OneShotDone, OneShotStore, Outcome, Receipt, Result, Statement,
    adapter::{refusals, refused_up_front, returned::head, settle_one_shot},
};

use super::{
    commands::Work,
    error::BACKEND,
    idempotency::{Recorded, Rows},
    schema::Shard,
    statements::writes_of,
    store::RedisStore,
    transaction::{RedisTx, check_user_key},
};

const OPERATION: &str = "execute_one_shot";

/// Statements are commands. One that [returns](Statement::returning) rows returns one, with one column,
/// `value`: of `INCR`, `DECR`, `INCRBY`, `DECRBY` and `HINCRBY` the new number, of each other command how
/// many keys, fields or members it changed.
impl OneShotStore for RedisStore {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let limit = self.shared.max_receipt_bytes;
        if let Err(refusal) = effect.check(limit, OPERATION, BACKEND) {
            return refused_up_front(self, OPERATION, &effect.claim, refusal).await;
        }
        let answer = self.attempt_one_shot(effect).await;
        settle_one_shot(self, OPERATION, &effect.claim, answer).await
    }
}

/// Refuses what the one row of a command can't be.
pub(super) fn check_row(at: usize, statement: &Statement, operation: &'static str) -> Result<()> {
    let Some(limits) = statement.returns() else {
        return Ok(());
    };
    if limits.max_rows() == 0 {
        return Err(refusals::too_many_rows(at, limits, operation, BACKEND));
    }
    match statement.expected_rows() {
        Some(expected) if expected != 1 => Err(refusals::rows(at, 1, expected, operation, BACKEND)),
        _ => Ok(()),
    }
}

impl RedisStore {
    async fn attempt_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let work = Work {
            guards: Vec::new(),
            writes: writes_of(&effect.statements, OPERATION)?,
        };
        let shard = self
            .layout()
            .shard_of_key(&self.namespace, effect.claim.key());
        let mut slot = RedisTx::new(self.clone(), Some(shard));
        for write in &work.writes {
            check_user_key(self, OPERATION, &write.key)?;
            slot.enter(OPERATION, Shard::of_key(&write.key))?;
        }
        for (at, statement) in (1..).zip(&effect.statements) {
            check_row(at, statement, OPERATION)?;
        }
        let returns = effect.returns_rows();
        let receipt = match returns {
            true => Receipt::from_bytes(head(&effect.receipt)?),
            false => effect.receipt.clone(),
        };
        let outcome = Outcome::Applied(receipt);
        let (claim, rows) = (&effect.claim, self.rows_of(effect));
        let recorded = self
            .record_counted(OPERATION, claim, &outcome, &work, &rows)
            .await?;
        Ok(match recorded {
            Recorded::Now(stored) => OneShotDone {
                outcome: match returns {
                    true => Outcome::Applied(Receipt::from_bytes(stored)),
                    false => outcome,
                },
                replayed: false,
            },
            Recorded::Before(outcome) => OneShotDone {
                outcome,
                replayed: true,
            },
        })
    }

    /// What is asked of the rows of an effect.
    fn rows_of(&self, effect: &OneShot) -> Rows {
        let (mut required, mut returned) = (Vec::new(), String::new());
        for (at, statement) in (1..).zip(&effect.statements) {
            match (statement.returns(), statement.expected_rows()) {
                (Some(limits), _) => {
                    returned.push_str(&format!("<{at}={}", limits.max_bytes()));
                }
                (None, Some(rows)) => required.push(format!("{at}={rows}")),
                (None, None) => {}
            }
        }
        if !returned.is_empty() {
            returned.insert_str(0, &self.shared.max_receipt_bytes.to_string());
        }
        Rows {
            required: required.join(","),
            returned,
        }
    }
}

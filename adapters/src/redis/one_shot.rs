//! Effects known up front: one script, one trip.

use exactly_once_core::{
    Error, ErrorKind, OneShot, OneShotDone, OneShotStore, Outcome, Result, Settled,
    adapter::{refused_up_front, settle_one_shot},
};

use super::{
    commands::Work,
    error::{BACKEND, error},
    schema::Shard,
    statements::writes_of,
    store::RedisStore,
    transaction::{RedisTx, check_user_key},
};

const OPERATION: &str = "execute_one_shot";

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

/// Commands have no rows.
pub(super) fn no_rows(operation: &'static str) -> Error {
    error(ErrorKind::Unsupported, operation)
        .with_message("a command of Redis returns no rows here: leave out `returning`")
}

impl RedisStore {
    async fn attempt_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        if effect.returns_rows() {
            return Err(no_rows(OPERATION));
        }
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
        let required: Vec<String> = (1..)
            .zip(&effect.statements)
            .filter_map(|(at, statement)| {
                statement.expected_rows().map(|rows| format!("{at}={rows}"))
            })
            .collect();
        let outcome = Outcome::Applied(effect.receipt.clone());
        let claim = &effect.claim;
        let settled = self
            .record(OPERATION, claim, &outcome, &work, &required.join(","))
            .await?;
        Ok(match settled {
            Settled::Recorded => OneShotDone {
                outcome,
                replayed: false,
            },
            Settled::Superseded(outcome) => OneShotDone {
                outcome,
                replayed: true,
            },
        })
    }
}

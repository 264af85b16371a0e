//! Effects that are known up front, as statements with parameters: one commit for many callers.

use std::sync::atomic::Ordering;

use exactly_once_core::{
    OneShot, OneShotDone, OneShotStore, Outcome, Result,
    adapter::{refused_up_front, rules::keys::Standing, settle_one_shot},
};

use super::{
    SqliteStore,
    error::{STORE, statement},
    key_row::KeyDone,
    queue::{Bench, Undo},
    statements::{apply_all, reads_row_id},
};

const OPERATION: &str = "execute_one_shot";

impl OneShotStore for SqliteStore {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let limit = self.settings.max_receipt_bytes;
        if let Err(refusal) = effect.check(limit, OPERATION, STORE) {
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
        let rows = apply_all(bench, OPERATION, false, &effect.statements)?;
        if !effect.returns_rows() {
            return Ok(OneShotDone {
                outcome,
                replayed: false,
            });
        }
        let limit = self.settings.max_receipt_bytes;
        let receipt = effect.receipt_with(&rows, limit, OPERATION, STORE)?;
        done.update_receipt(connection, OPERATION, &receipt)?;
        Ok(OneShotDone {
            outcome: Outcome::Applied(receipt),
            replayed: false,
        })
    }
}

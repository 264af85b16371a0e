//! Idempotency keys beside the user's own writes, in one transaction.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyKey, IdempotencyStore, KeyRecord, Outcome, Receipt,
    Rejection, Result, Settled,
    adapter::{
        check_limit, refusals,
        rules::keys::{self, Standing},
    },
};
use rusqlite::params;

use super::{
    SqliteStore,
    connection::Purpose,
    error::{STORE, statement},
    key_row::{self, KeyDone},
    queue::{Bench, KeyInUse, Opening, Ticket, Undo},
    transaction::{Intent, SqliteTx, end_work, mark_work},
};

impl SqliteStore {
    pub(super) fn key_in_use(&self, claim: &Claim) -> KeyInUse {
        KeyInUse {
            namespace: self.namespace.clone(),
            key: claim.key().clone(),
            fingerprint: *claim.fingerprint(),
        }
    }

    /// What the readers see of a key: the answer to a replay, without waiting for the writer.
    pub(super) async fn standing(
        &self,
        operation: &'static str,
        claim: &Claim,
    ) -> Result<Standing> {
        let (store, claim) = (self.clone(), claim.clone());
        self.readers
            .read(operation, move |connection| {
                let row = key_row::read(connection, operation, &store.namespace, claim.key())?;
                Ok(keys::standing(row, &claim, store.settings.now()))
            })
            .await
    }

    /// The same in the writer's transaction, where it can't change any more.
    pub(super) fn standing_in(
        &self,
        bench: &Bench<'_>,
        operation: &'static str,
        claim: &Claim,
    ) -> Result<Standing> {
        let row = key_row::read(bench.connection, operation, &self.namespace, claim.key())?;
        Ok(keys::standing(row, claim, bench.settings.now()))
    }

    async fn settle(
        &self,
        operation: &'static str,
        tx: SqliteTx,
        claim: &Claim,
        outcome: Outcome,
    ) -> Result<Settled> {
        self.check_home(&tx, operation)?;
        let Intent::Key(begun_for) = &tx.intent else {
            return Err(refusals::foreign(operation, STORE));
        };
        if begun_for.key() != claim.key() || begun_for.fingerprint() != claim.fingerprint() {
            return Err(refusals::foreign(operation, STORE));
        }
        let (store, claim) = (self.clone(), claim.clone());
        let keep = matches!(outcome, Outcome::Applied(_));
        let record = move |bench: &Bench<'_>| {
            end_work(bench, operation, keep)?;
            // SQLite may have ended the transaction by itself, and with it the claim.
            if !keep {
                let standing = store.standing_in(bench, operation, &claim)?;
                if let Some(outcome) = standing.outcome(operation, STORE)? {
                    return Ok(Settled::Superseded(outcome));
                }
            }
            let now = bench.settings.now();
            let done = KeyDone {
                namespace: &store.namespace,
                claim: &claim,
                token: None,
                outcome: &outcome,
                now,
            };
            done.write(bench.connection, operation)?;
            Ok(Settled::Recorded)
        };
        if keep {
            tx.finish(operation, record).await
        } else {
            tx.finish_without_work(operation, record).await
        }
    }
}

fn remove(bench: &Bench<'_>, store: &SqliteStore, key: &IdempotencyKey) -> Result<()> {
    bench
        .connection
        .execute(
            "DELETE FROM exactly_once_key WHERE namespace = ?1 AND key = ?2",
            params![store.namespace.as_str(), key.as_str()],
        )
        .map(drop)
        .map_err(statement("forget"))
}

/// What has expired, the oldest first.
pub(super) const EXPIRE: &str = "DELETE FROM exactly_once_key WHERE (namespace, key) IN (SELECT \
     namespace, key FROM exactly_once_key WHERE namespace = ?1 AND expires_at <= ?2 AND state <> \
     'leased' ORDER BY expires_at LIMIT ?3)";

impl IdempotencyStore for SqliteStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<SqliteTx>> {
        // A replay must not wait for the writer, and must not stop it.
        let standing = self.standing("claim", claim).await?;
        if let Some(answer) = standing.claimed("claim", STORE)? {
            return Ok(answer);
        }
        let ticket = Ticket {
            key: Some(self.key_in_use(claim)),
            ..self.ticket("claim", Purpose::Write, Undo::Own)
        };
        let (store, asked) = (self.clone(), claim.clone());
        let opened = self
            .open_session(ticket, Intent::Key(claim.clone()), move |bench| match store
                .standing_in(bench, "claim", &asked)?
            {
                Standing::Free => {
                    mark_work(bench, "claim")?;
                    Ok(Opening::Fresh)
                }
                taken => Ok(Opening::Answer(taken)),
            })
            .await;
        match opened {
            Ok(Ok(tx)) => Ok(Claimed::Fresh(tx)),
            Ok(Err(taken)) => {
                let answer = taken.claimed("claim", STORE)?;
                answer.ok_or_else(|| refusals::foreign("claim", STORE))
            }
            Err(failure) => match failure.kind() {
                ErrorKind::InProgress { retry_after } => Ok(Claimed::InProgress { retry_after }),
                ErrorKind::Mismatch => Ok(Claimed::Mismatch),
                _ => Err(failure),
            },
        }
    }

    async fn complete(&self, tx: SqliteTx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        if let Err(too_large) =
            receipt.check_size(self.settings.max_receipt_bytes, "complete", STORE)
        {
            // Dropping rolls back.
            drop(tx);
            return Err(too_large);
        }
        self.settle("complete", tx, claim, Outcome::Applied(receipt.clone()))
            .await
    }

    async fn reject(&self, tx: SqliteTx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        self.settle("reject", tx, claim, Outcome::Rejected(rejection.clone()))
            .await
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let (store, key) = (self.clone(), key.clone());
        self.readers
            .read("lookup", move |connection| {
                let row = key_row::read(connection, "lookup", &store.namespace, &key)?;
                Ok(keys::record(row, store.settings.now()))
            })
            .await
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let (store, key) = (self.clone(), key.clone());
        self.write("forget", Undo::Nothing, None, move |bench| {
            let row = key_row::read(bench.connection, "forget", &store.namespace, &key)?;
            let there = keys::forget(row.as_ref(), bench.settings.now(), STORE)?;
            if there {
                remove(bench, &store, &key)?;
            }
            Ok(there)
        })
        .await
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        check_limit(limit, "expire", STORE)?;
        let store = self.clone();
        self.write("expire", Undo::Nothing, None, move |bench| {
            bench
                .connection
                .prepare_cached(EXPIRE)
                .and_then(|mut delete| {
                    delete.execute(params![
                        store.namespace.as_str(),
                        bench.settings.now().as_micros(),
                        limit
                    ])
                })
                .map(|removed| removed as u64)
                .map_err(statement("expire"))
        })
        .await
    }
}

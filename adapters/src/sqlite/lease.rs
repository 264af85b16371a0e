//! Leased keys, for effects outside the database: tokens from a durable counter, deadlines by this
//! machine's clock.

use std::time::Duration;

use exactly_once_core::{
    Claim, Error, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Timestamp,
    refusals, time::check_duration,
};
use rusqlite::params;

use super::{
    SqliteStore,
    error::{STORE, error, statement},
    key_row::{self, KeyDone, KeyRow, RowState, Standing},
    queue::{Bench, Undo},
};

fn deadline(now: Timestamp, ttl: Duration, operation: &'static str) -> Result<Timestamp> {
    now.checked_add(ttl).ok_or_else(|| {
        error(
            ErrorKind::Invalid,
            operation,
            "the lease would end after the end of time",
        )
    })
}

fn fenced(operation: &'static str) -> Error {
    refusals::fenced(operation, STORE)
}

fn mismatch(operation: &'static str) -> Error {
    refusals::mismatch(operation, STORE)
}

fn answer(standing: Standing) -> Option<Leased> {
    match standing {
        Standing::Free => None,
        Standing::Done(outcome) => Some(Leased::Completed(outcome)),
        Standing::Held { retry_after } => Some(Leased::InProgress { retry_after }),
        Standing::Mismatch => Some(Leased::Mismatch),
    }
}

impl SqliteStore {
    fn grant(&self, bench: &Bench<'_>, claim: &Claim, ttl: Duration) -> Result<Leased> {
        if let Some(answer) = answer(self.standing_in(bench, "lease", claim)?) {
            return Ok(answer);
        }
        let deadline = deadline(bench.settings.now(), ttl, "lease")?;
        let token: i64 = bench
            .connection
            .prepare_cached("UPDATE exactly_once_meta SET token = token + 1 RETURNING token")
            .and_then(|mut update| update.query_row([], |row| row.get(0)))
            .map_err(statement("lease"))?;
        bench
            .connection
            .prepare_cached(
                "INSERT OR REPLACE INTO exactly_once_key (namespace, key, fingerprint, state, \
                 token, deadline) VALUES (?1, ?2, ?3, 'leased', ?4, ?5)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    self.namespace.as_str(),
                    claim.key().as_str(),
                    claim.fingerprint().as_bytes(),
                    token,
                    deadline.as_micros()
                ])
            })
            .map_err(statement("lease"))?;
        Ok(Leased::Granted(Lease {
            token: FencingToken::new(token),
            deadline,
        }))
    }

    /// Fails unless the token is the one that holds the key.
    fn check_holder(
        &self,
        bench: &Bench<'_>,
        operation: &'static str,
        claim: &Claim,
        token: FencingToken,
    ) -> Result<()> {
        let row = key_row::read(bench.connection, operation, &self.namespace, claim.key())?;
        match row {
            Some(KeyRow {
                fingerprint,
                state: RowState::Leased { token: holder, .. },
            }) if holder == token.get() && fingerprint == *claim.fingerprint() => Ok(()),
            _ => Err(fenced(operation)),
        }
    }

    fn extend(
        &self,
        bench: &Bench<'_>,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        self.check_holder(bench, "renew", claim, token)?;
        let deadline = deadline(bench.settings.now(), ttl, "renew")?;
        bench
            .connection
            .execute(
                "UPDATE exactly_once_key SET deadline = ?3 WHERE namespace = ?1 AND key = ?2",
                params![
                    self.namespace.as_str(),
                    claim.key().as_str(),
                    deadline.as_micros()
                ],
            )
            .map_err(statement("renew"))?;
        Ok(Lease { token, deadline })
    }

    fn record(
        &self,
        bench: &Bench<'_>,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let row = key_row::read(bench.connection, "finalize", &self.namespace, claim.key())?;
        let Some(row) = row else {
            return Err(fenced("finalize"));
        };
        let same_request = row.fingerprint == *claim.fingerprint();
        match row.state {
            RowState::Leased { token: holder, .. } if holder == token.get() && same_request => {}
            RowState::Done {
                token: Some(holder),
                outcome: recorded,
                ..
            } if holder == token.get() && same_request => {
                return if recorded == *outcome {
                    Ok(())
                } else {
                    let kind = ErrorKind::Conflict { current: None };
                    Err(error(
                        kind,
                        "finalize",
                        "another outcome was recorded first; it stands",
                    ))
                };
            }
            _ if !same_request => return Err(mismatch("finalize")),
            _ => return Err(fenced("finalize")),
        }
        let now = bench.settings.now();
        let done = KeyDone {
            namespace: &self.namespace,
            claim,
            token: Some(token.get()),
            outcome,
            now,
        };
        done.write(bench.connection, "finalize")
    }

    fn give_back(&self, bench: &Bench<'_>, claim: &Claim, token: FencingToken) -> Result<()> {
        let row = key_row::read(bench.connection, "release", &self.namespace, claim.key())?;
        if row.is_none() {
            return Ok(());
        }
        self.check_holder(bench, "release", claim, token)?;
        bench
            .connection
            .execute(
                "DELETE FROM exactly_once_key WHERE namespace = ?1 AND key = ?2",
                params![self.namespace.as_str(), claim.key().as_str()],
            )
            .map(drop)
            .map_err(statement("release"))
    }
}

impl LeaseStore for SqliteStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        check_duration("lease", ttl)?;
        if let Some(answer) = answer(self.standing("lease", claim).await?) {
            return Ok(answer);
        }
        let (store, asked) = (self.clone(), claim.clone());
        let key = Some(self.key_in_use(claim));
        let leased = self
            .write("lease", Undo::Savepoint, key, move |bench| {
                store.grant(bench, &asked, ttl)
            })
            .await;
        match leased {
            Err(failure) => match failure.kind() {
                ErrorKind::InProgress { retry_after } => Ok(Leased::InProgress { retry_after }),
                ErrorKind::Mismatch => Ok(Leased::Mismatch),
                _ => Err(failure),
            },
            leased => leased,
        }
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        check_duration("lease", ttl)?;
        let (store, claim) = (self.clone(), claim.clone());
        self.write("renew", Undo::Nothing, None, move |bench| {
            store.extend(bench, &claim, token, ttl)
        })
        .await
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.settings.max_receipt_bytes, "finalize", STORE)?;
        }
        let (store, claim, outcome) = (self.clone(), claim.clone(), outcome.clone());
        self.write("finalize", Undo::Nothing, None, move |bench| {
            store.record(bench, &claim, token, &outcome)
        })
        .await
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let (store, claim) = (self.clone(), claim.clone());
        self.write("release", Undo::Nothing, None, move |bench| {
            store.give_back(bench, &claim, token)
        })
        .await
    }
}

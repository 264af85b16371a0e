//! Leased keys, for effects outside the database: tokens from a durable counter, deadlines by this
//! machine's clock.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result,
    adapter::{
        check_duration,
        rules::keys::{self, Finalize},
    },
};
use rusqlite::params;

use super::{
    SqliteStore,
    error::{STORE, statement},
    key_row::{self, KeyDone},
    queue::{Bench, Undo},
};

impl SqliteStore {
    fn grant(&self, bench: &Bench<'_>, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let standing = self.standing_in(bench, "lease", claim)?;
        if let Some(answer) = standing.leased("lease", STORE)? {
            return Ok(answer);
        }
        let deadline = keys::deadline(bench.settings.now(), ttl, "lease", STORE)?;
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

    fn extend(
        &self,
        bench: &Bench<'_>,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        let row = key_row::read(bench.connection, "renew", &self.namespace, claim.key())?;
        let now = bench.settings.now();
        keys::renew(row.as_ref(), claim, token, now, STORE)?;
        let deadline = keys::deadline(now, ttl, "renew", STORE)?;
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
        let now = bench.settings.now();
        match keys::finalize(row.as_ref(), claim, token, outcome, now, STORE)? {
            Finalize::Stands => return Ok(()),
            Finalize::Record => {}
        }
        let done = KeyDone {
            namespace: &self.namespace,
            claim,
            token: Some(token),
            outcome,
            now,
        };
        done.write(bench.connection, "finalize")
    }

    fn give_back(&self, bench: &Bench<'_>, claim: &Claim, token: FencingToken) -> Result<()> {
        let row = key_row::read(bench.connection, "release", &self.namespace, claim.key())?;
        if !keys::release(row.as_ref(), claim, token, bench.settings.now(), STORE)? {
            return Ok(());
        }
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
        let standing = self.standing("lease", claim).await?;
        if let Some(answer) = standing.leased("lease", STORE)? {
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

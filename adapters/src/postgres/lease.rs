//! Keys held by a lease, for effects outside of the database. Each call is one round trip.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Timestamp,
    adapter::{
        check_duration,
        rules::keys::{self, Finalize, KeyRow},
    },
};

use super::{
    STORE,
    driver::{Driver, Reply},
    error::{convert, error, garbled},
    key_row::{RETRY_AFTER, Seen, set_outcome},
    literal,
    sqlstate::{LOCK_NOT_AVAILABLE, Stage},
    statements::{NOW, number},
    store::PostgresStore,
};

/// How often to start again when the row that was met is gone the next moment.
const ROUNDS: usize = 16;

fn micros(ttl: Duration, what: &'static str) -> Result<String> {
    let ttl = check_duration(what, ttl)?;
    let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX / 4);
    Ok(literal::int(micros))
}

fn granted(reply: Option<&Reply>) -> Option<Lease> {
    Some(Lease {
        token: FencingToken::new(number(reply, 0)?),
        deadline: Timestamp::from_micros(number(reply, 1)?),
    })
}

/// The rule allows what the condition of the statement just did not: the row has changed between.
fn changing(operation: &'static str) -> exactly_once_core::Error {
    error(ErrorKind::Busy, operation, "the key's row keeps changing")
}

impl<D: Driver> PostgresStore<D> {
    /// Inserts the row, or takes over one that is free, and reads what is there.
    ///
    /// Tokens come from one sequence, so they grow over release, expiry and forgetting. It is only
    /// asked where a lease is granted: a replay writes nothing.
    fn lease_sql(&self, claim: &Claim, ttl: &str) -> String {
        let (keys, key_is) = (&self.tables().keys, self.key_is(claim.key()));
        let token = format!(
            "pg_catalog.nextval({}::regclass)",
            literal::text(&self.tables().fencing)
        );
        let print = literal::bytes(claim.fingerprint().as_bytes());
        format!(
            "SELECT pg_catalog.pg_advisory_xact_lock_shared({lock}); \
             INSERT INTO {keys} (namespace, key, fingerprint, token, lease_until) \
             SELECT {namespace}, {key}, {print}, {token}, {NOW} + {ttl} \
             WHERE NOT EXISTS (SELECT FROM {keys} WHERE {key_is}) \
             ON CONFLICT DO NOTHING RETURNING token, lease_until; \
             UPDATE {keys} SET fingerprint = {print}, outcome = NULL, body = NULL, status = NULL, \
             completed_at = NULL, expires_at = NULL, token = {token}, lease_until = {NOW} + {ttl} \
             WHERE {key_is} AND {free} RETURNING token, lease_until; {select}",
            lock = literal::int(self.claim_lock(claim)),
            namespace = self.namespace_sql(),
            key = literal::bytes(claim.key().as_str().as_bytes()),
            free = self.is_free(claim),
            select = self.select_key(claim.key()),
        )
    }

    /// Changes the row of this token in force, and reads what is there now.
    async fn change_lease(
        &self,
        claim: &Claim,
        token: FencingToken,
        change: &str,
        operation: &'static str,
    ) -> Result<(Reply, Option<Seen>)> {
        let sql = format!(
            "{change} WHERE {} AND token = {} AND token <> 0 AND outcome IS NULL \
             AND fingerprint = {} RETURNING token, lease_until; {}",
            self.key_is(claim.key()),
            literal::int(token.get()),
            literal::bytes(claim.fingerprint().as_bytes()),
            self.select_key(claim.key()),
        );
        let mut replies = self
            .try_transact(&sql)
            .await
            .map_err(|failed| convert(failed, operation, Stage::Durable))?;
        let row = Seen::read(replies.get(1), operation)?;
        if replies.is_empty() {
            return Err(garbled(operation));
        }
        Ok((replies.swap_remove(0), row))
    }
}

/// The row and the clock, for the rules; without a row nothing depends on the clock.
fn facts(seen: Option<&Seen>) -> (Option<&KeyRow>, Timestamp) {
    match seen {
        Some(seen) => (Some(&seen.row), seen.now),
        None => (None, Timestamp::from_micros(0)),
    }
}

impl<D: Driver> LeaseStore for PostgresStore<D> {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let sql = self.lease_sql(claim, &micros(ttl, "lease")?);
        for _ in 0..ROUNDS {
            let replies = match self.try_transact(&sql).await {
                Ok(replies) => replies,
                Err(failed) if failed.code() == Some(LOCK_NOT_AVAILABLE) => {
                    if self.rival_differs(claim, "lease").await? {
                        return Ok(Leased::Mismatch);
                    }
                    return Ok(Leased::InProgress {
                        retry_after: RETRY_AFTER,
                    });
                }
                Err(failed) => return Err(convert(failed, "lease", Stage::Durable)),
            };
            if let Some(lease) = granted(replies.get(2)).or_else(|| granted(replies.get(1))) {
                return Ok(Leased::Granted(lease));
            }
            let Some(row) = Seen::read(replies.get(3), "lease")? else {
                continue;
            };
            if let Some(answer) = row.standing(claim).leased("lease", STORE)? {
                if matches!(answer, Leased::Completed(_)) {
                    self.vouch("lease").await?;
                }
                return Ok(answer);
            }
            // It became free between the two statements.
        }
        Ok(Leased::InProgress {
            retry_after: RETRY_AFTER,
        })
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let change = format!(
            "UPDATE {} SET lease_until = {NOW} + {}",
            self.tables().keys,
            micros(ttl, "lease")?
        );
        let (reply, seen) = self.change_lease(claim, token, &change, "renew").await?;
        if let Some(lease) = granted(Some(&reply)) {
            return Ok(lease);
        }
        let (row, now) = facts(seen.as_ref());
        keys::renew(row, claim, token, now, STORE)?;
        Err(changing("renew"))
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.max_receipt_bytes(), "finalize", STORE)?;
        }
        // The token stays, so that the same call again is known.
        let change = format!(
            "UPDATE {} SET {}",
            self.tables().keys,
            set_outcome(outcome, claim.retention())
        );
        let (reply, seen) = self.change_lease(claim, token, &change, "finalize").await?;
        if reply.affected == 1 {
            return Ok(());
        }
        let (row, now) = facts(seen.as_ref());
        match keys::finalize(row, claim, token, outcome, now, STORE)? {
            Finalize::Stands => Ok(()),
            Finalize::Record => Err(changing("finalize")),
        }
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let change = format!("DELETE FROM {}", self.tables().keys);
        let (reply, seen) = self.change_lease(claim, token, &change, "release").await?;
        let (row, now) = facts(seen.as_ref());
        if reply.affected == 0 && keys::release(row, claim, token, now, STORE)? {
            return Err(changing("release"));
        }
        Ok(())
    }
}

//! Keys and receipts in the user's transaction: the key is claimed before the work runs.

use std::time::Duration;

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyKey, IdempotencyStore, KeyRecord, Outcome, Receipt,
    Rejection, Result, Settled,
    adapter::{check_limit, rules::keys},
};

use super::{
    PostgresTx, STORE,
    driver::{Driver, DriverError},
    error::{convert, error},
    expiry::Over,
    group::UNKNOWN_STATEMENT,
    key_row::{RETRY_AFTER, Seen, set_outcome},
    literal,
    options::Timeouts,
    rivals::{Rival, Turn},
    sqlstate::{LOCK_NOT_AVAILABLE, Stage},
    statements::{self, NOW, Preamble},
    store::PostgresStore,
    transaction::end_error,
};

/// Before the work; a rejection rolls back to it, so the key stays claimed while the work's writes
/// are undone.
const SAVEPOINT: &str = "SAVEPOINT exactly_once_work";
const UNDO: &str = "ROLLBACK TO SAVEPOINT exactly_once_work";

/// How often a claim starts again when what it met is gone the next moment.
const ROUNDS: usize = 16;

/// How long to wait for a rival's row where the answer only decides between two refusals.
const BRIEFLY: Duration = Duration::from_millis(25);

impl<D: Driver> PostgresStore<D> {
    /// One round of a claim; `None` where what it met is gone.
    pub(super) async fn claim_round(
        &self,
        claim: &Claim,
        operation: &'static str,
    ) -> Result<Option<Claimed<PostgresTx<D::Connection>>>> {
        let begun = match self.open_claim(claim, SAVEPOINT).await {
            Ok(begun) => begun,
            Err(failed) => return self.claim_failed(failed, claim, operation).await,
        };
        let claimed = begun
            .replies
            .first()
            .is_some_and(|reply| reply.affected == 1);
        let mut tx = PostgresTx::new(begun.session, begun.identity);
        if claimed {
            self.key_was(false);
            return Ok(Some(Claimed::Fresh(self.lent(tx, operation).await?)));
        }
        // A new statement sees what the claim has met, also if that was committed just now.
        let replies = match tx.session().batch(&self.select_key(claim.key())).await {
            Ok(replies) => replies,
            Err(failed) => return Err(convert(failed, operation, Stage::Ours)),
        };
        let Some(seen) = Seen::read(replies.first(), operation)? else {
            tx.abandon().await;
            return Ok(None);
        };
        let answer = seen.standing(claim).claimed(operation, STORE);
        if matches!(answer, Ok(None)) {
            return self.take_over(tx, claim, operation).await;
        }
        self.key_was(matches!(answer, Ok(Some(Claimed::Completed(_)))));
        tx.abandon().await;
        answer
    }

    /// Takes a row whose lease or retention has expired, unless a rival was faster.
    async fn take_over(
        &self,
        mut tx: PostgresTx<D::Connection>,
        claim: &Claim,
        operation: &'static str,
    ) -> Result<Option<Claimed<PostgresTx<D::Connection>>>> {
        let sql = format!(
            "UPDATE {} SET fingerprint = {}, outcome = NULL, body = NULL, status = NULL, \
             token = 0, lease_until = 0, completed_at = NULL, expires_at = NULL \
             WHERE {} AND {}; {SAVEPOINT}",
            self.tables().keys,
            literal::bytes(claim.fingerprint().as_bytes()),
            self.key_is(claim.key()),
            self.is_free(claim),
        );
        match tx.session().batch(&sql).await {
            Ok(replies) if replies.first().is_some_and(|reply| reply.affected == 1) => {
                Ok(Some(Claimed::Fresh(self.lent(tx, operation).await?)))
            }
            Ok(_) => {
                tx.abandon().await;
                Ok(None)
            }
            Err(failed) => {
                let held = failed.code() == Some(LOCK_NOT_AVAILABLE);
                if failed.code().is_some() {
                    tx.abandon().await;
                }
                if held {
                    return Ok(Some(Claimed::InProgress {
                        retry_after: RETRY_AFTER,
                    }));
                }
                Err(convert(failed, operation, Stage::Ours))
            }
        }
    }

    /// The claim waited in vain: a live attempt holds the key, of this request or of another.
    async fn claim_failed(
        &self,
        failed: DriverError,
        claim: &Claim,
        operation: &'static str,
    ) -> Result<Option<Claimed<PostgresTx<D::Connection>>>> {
        if failed.code() != Some(LOCK_NOT_AVAILABLE) {
            return Err(convert(failed, operation, Stage::Ours));
        }
        if self.rival_differs(claim, operation).await? {
            return Ok(Some(Claimed::Mismatch));
        }
        Ok(Some(Claimed::InProgress {
            retry_after: RETRY_AFTER,
        }))
    }

    /// Whether the transaction that holds the key's row is for another request. The row can't be
    /// seen, but its transaction shares [`Self::claim_lock`] first and until the very end: if we
    /// get that lock for ourselves, and the row is still held, the holder's request is another. A
    /// batch does not share that lock but [`Self::batch_lock`], so while there is one nothing is known.
    ///
    /// A row that can be seen is not one that is being inserted: then this says nothing.
    pub(super) async fn rival_differs(
        &self,
        claim: &Claim,
        operation: &'static str,
    ) -> Result<bool> {
        let alone = format!(
            "pg_catalog.pg_try_advisory_xact_lock({}) AND pg_catalog.pg_try_advisory_xact_lock({})",
            literal::int(self.batch_lock()),
            literal::int(self.claim_lock(claim)),
        );
        let (keys, key_is) = (&self.tables().keys, self.key_is(claim.key()));
        let sql = format!(
            "SELECT {alone}; INSERT INTO {keys} (namespace, key, fingerprint) SELECT {namespace}, {key}, {print} \
             WHERE {alone} AND NOT EXISTS (SELECT FROM {keys} WHERE {key_is}) ON CONFLICT DO NOTHING",
            namespace = self.namespace_sql(),
            key = literal::bytes(claim.key().as_str().as_bytes()),
            print = literal::bytes(claim.fingerprint().as_bytes()),
        );
        let brief = Preamble::new(
            &Timeouts {
                lock: BRIEFLY.min(self.timeouts().lock),
                ..*self.timeouts()
            },
            false,
        );
        match self.try_open(&brief, &sql).await {
            Ok(begun) => {
                // Whatever it was, it has ended, or it is for the same request.
                let _ = begun.session.roll_back().await;
                Ok(false)
            }
            Err(failed) if failed.code() == Some(LOCK_NOT_AVAILABLE) => Ok(true),
            Err(failed) => Err(convert(failed, operation, Stage::Ours)),
        }
    }

    /// Records an outcome on the claimed row.
    ///
    /// The division is guard and probe in one: it fails where the transaction is aborted, is not
    /// the one that claimed the key, or does not hold the key any more.
    pub(super) fn settle_sql(&self, claim: &Claim, outcome: &Outcome, here: &str) -> String {
        format!(
            "WITH done AS (UPDATE {keys} SET {set}, token = 0, lease_until = 0 \
             WHERE {key_is} AND fingerprint = {print} AND outcome IS NULL AND {here} RETURNING 1) \
             SELECT 1 / pg_catalog.count(*) FROM done",
            print = literal::bytes(claim.fingerprint().as_bytes()),
            keys = self.tables().keys,
            set = set_outcome(outcome, claim.retention()),
            key_is = self.key_is(claim.key()),
        )
    }

    async fn settle(
        &self,
        tx: PostgresTx<D::Connection>,
        claim: &Claim,
        outcome: &Outcome,
        before: &str,
        operation: &'static str,
    ) -> Result<Settled> {
        let settle = if self.groups().settles_by_text() {
            let here = statements::same(tx.identity());
            format!("{}; ", self.settle_sql(claim, outcome, &here))
        } else {
            self.settle_by_name(claim, outcome, tx.identity())
        };
        let sql = format!("{before}{settle}COMMIT");
        match tx.end(&sql).await {
            Ok(()) => Ok(Settled::Recorded),
            Err(failed) if failed.code() == Some(UNKNOWN_STATEMENT) => {
                self.groups().settle_by_text();
                Err(error(
                    ErrorKind::WorkFailed,
                    operation,
                    "the work removed the prepared statements of its connection (DEALLOCATE ALL or \
                     DISCARD ALL), the store's own among them; rolled back, and the next attempt \
                     does without them",
                ))
            }
            Err(failed) => Err(end_error(failed, operation)),
        }
    }
}

impl<D: Driver> PostgresStore<D> {
    /// This caller's turn with the key, among those of this process.
    pub(super) async fn turn(&self, claim: &Claim) -> Result<Turn, Rival> {
        let namespace = exactly_once_core::Store::namespace(self).as_str();
        let patience = self.timeouts().lock;
        self.rivals().turn(namespace, claim, patience).await
    }

    /// Whether another caller of this process is busy with the key.
    pub(super) fn has_rivals(&self, claim: &Claim) -> bool {
        let namespace = exactly_once_core::Store::namespace(self).as_str();
        self.rivals().are_there(namespace, claim)
    }

    async fn claim_in_turn(&self, claim: &Claim) -> Result<Claimed<PostgresTx<D::Connection>>> {
        if self.replays_expected()
            && let Some(seen) = self.look(claim, "claim").await?
            && let Some(claimed) = seen.standing(claim).claimed("claim", STORE)?
        {
            self.key_was(matches!(claimed, Claimed::Completed(_)));
            return Ok(claimed);
        }
        let turn = match self.turn(claim).await {
            Ok(turn) => turn,
            Err(Rival::OfAnotherRequest) => return Ok(Claimed::Mismatch),
            Err(Rival::OfThisRequest) => {
                // It may be done by now, and many wait for their turn.
                let claimed = match self.look(claim, "claim").await? {
                    Some(seen) => seen.standing(claim).claimed("claim", STORE)?,
                    None => None,
                };
                return Ok(claimed.unwrap_or(Claimed::InProgress {
                    retry_after: RETRY_AFTER,
                }));
            }
        };
        Ok(match self.claim_now(claim).await? {
            Claimed::Fresh(mut tx) => {
                turn.holds(claim);
                tx.keep(turn);
                Claimed::Fresh(tx)
            }
            claimed => claimed,
        })
    }

    /// Claims a key whose turn the caller has.
    pub(super) async fn claim_now(
        &self,
        claim: &Claim,
    ) -> Result<Claimed<PostgresTx<D::Connection>>> {
        for _ in 0..ROUNDS {
            if let Some(claimed) = self.claim_round(claim, "claim").await? {
                return Ok(claimed);
            }
        }
        Ok(Claimed::InProgress {
            retry_after: RETRY_AFTER,
        })
    }
}

impl<D: Driver> IdempotencyStore for PostgresStore<D> {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<Self::Tx>> {
        // Dropped, it is rolled back.
        let claimed = self
            .within("claim", ErrorKind::Busy, self.claim_in_turn(claim))
            .await?;
        if matches!(claimed, Claimed::Completed(_)) {
            self.vouch("claim").await?;
        }
        Ok(claimed)
    }

    async fn complete(&self, tx: Self::Tx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        let tx = self.at_home(tx, "complete").await?;
        if let Err(error) = receipt.check_size(self.max_receipt_bytes(), "complete", STORE) {
            tx.abandon().await;
            return Err(error);
        }
        let outcome = Outcome::Applied(receipt.clone());
        self.settle(tx, claim, &outcome, "", "complete").await
    }

    async fn reject(&self, tx: Self::Tx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        let tx = self.at_home(tx, "reject").await?;
        let outcome = Outcome::Rejected(rejection.clone());
        let undo = format!("{UNDO}; ");
        self.settle(tx, claim, &outcome, &undo, "reject").await
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let replies = self.read("lookup", &self.select_key(key)).await?;
        let seen = Seen::read(replies.first(), "lookup")?;
        let record = seen.and_then(|seen| keys::record(Some(seen.row), seen.now));
        if record.is_some() {
            self.await_standbys("lookup").await?;
        }
        Ok(record)
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        // What has expired is as good as absent: expiry removes it. A claim whose work ended its own
        // transaction is removed by hand only, once it is clear what the work did.
        let sql = format!(
            "DELETE FROM {} WHERE {} AND (outcome IS NULL AND token = 0 OR outcome IS NOT NULL \
             AND (expires_at IS NULL OR expires_at > {NOW})); {}",
            self.tables().keys,
            self.key_is(key),
            self.select_key(key)
        );
        let replies = match self.try_transact(&sql).await {
            Ok(replies) => replies,
            Err(failed) => return Err(convert(failed, "forget", Stage::Durable)),
        };
        if replies.first().is_some_and(|reply| reply.affected > 0) {
            return Ok(true);
        }
        if let Some(seen) = Seen::read(replies.get(1), "forget")? {
            keys::forget(Some(&seen.row), seen.now, STORE)?;
        }
        Ok(false)
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        let limit = check_limit(limit, "expire", STORE)?;
        let over = Over {
            table: &self.tables().keys,
            moment: "expires_at",
            is: "<=",
            and: "outcome IS NOT NULL",
        };
        self.remove_over("expire", &over, limit).await
    }
}

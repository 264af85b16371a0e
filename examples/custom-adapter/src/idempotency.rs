//! Keys and receipts, committed with the user's own writes.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyKey, IdempotencyStore, KeyRecord, KeyState, Outcome,
    Receipt, Rejection, Result, Settled, Store, register::check_limit,
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During, error},
    key_row::{KeyRow, NO_TOKEN, Standing, State, standing},
    schema::{ENDS, KEYS},
    store::{RedbStore, Then, blocking, now},
    transaction::RedbTx,
};

/// Where the key stands, seen from inside a transaction that may write.
pub(crate) fn standing_in(
    tx: &WriteTransaction,
    namespace: &str,
    claim: &Claim,
    operation: &'static str,
) -> Result<Standing> {
    let (keys, now) = (tx.open_table(KEYS).during(operation)?, now());
    let row = KeyRow::read(&keys, namespace, claim.key().as_str(), now, operation)?;
    Ok(standing(row, claim, now))
}

/// The answer to a claim that can't have the key.
fn answered(standing: Standing) -> Option<Claimed<RedbTx>> {
    match standing {
        Standing::Free => None,
        Standing::Completed(outcome) => Some(Claimed::Completed(outcome)),
        Standing::InProgress(retry_after) => Some(Claimed::InProgress { retry_after }),
        Standing::Mismatch => Some(Claimed::Mismatch),
    }
}

impl RedbStore {
    /// Where the key stands by what is committed.
    async fn standing(&self, claim: &Claim, operation: &'static str) -> Result<Standing> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        self.read(operation, move |tx| {
            let (keys, now) = (tx.open_table(KEYS).during(operation)?, now());
            let key = claim.key().as_str();
            let row = KeyRow::read(&keys, namespace.as_str(), key, now, operation)?;
            Ok(standing(row, &claim, now))
        })
        .await
    }

    /// Commits the outcome with whatever the transaction has written.
    async fn settle(
        &self,
        tx: RedbTx,
        claim: &Claim,
        outcome: Outcome,
        operation: &'static str,
    ) -> Result<Settled> {
        let row = KeyRow::completed(claim, NO_TOKEN, outcome, now());
        let (namespace, key) = (self.namespace.clone(), claim.key().clone());
        blocking(operation, move || {
            row.write(
                tx.transaction(),
                namespace.as_str(),
                key.as_str(),
                operation,
            )?;
            tx.commit_now(operation)?;
            Ok(Settled::Recorded)
        })
        .await?
    }
}

impl IdempotencyStore for RedbStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<RedbTx>> {
        // A replay need not wait for the one who is writing.
        if let Some(answer) = answered(self.standing(claim, "claim").await?) {
            return Ok(answer);
        }
        let mut tx = self.begin_write("claim").await?;
        tx.claimed = Some((self.namespace.clone(), claim.clone()));
        // What was free a moment ago may be taken by now; from here on nobody else writes.
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        blocking("claim", move || {
            let standing = standing_in(tx.transaction(), namespace.as_str(), &claim, "claim")?;
            Ok(answered(standing).unwrap_or(Claimed::Fresh(tx)))
        })
        .await?
    }

    async fn complete(&self, tx: RedbTx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        tx.check(self, Some(claim), "complete")?;
        receipt.check_size(self.capabilities().max_receipt_bytes, "complete", BACKEND)?;
        self.settle(tx, claim, Outcome::Applied(receipt.clone()), "complete")
            .await
    }

    async fn reject(&self, tx: RedbTx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        tx.check(self, Some(claim), "reject")?;
        // The work's writes must go, and the rejection stay: so it has a transaction of its own,
        // and between the two another process may have been first.
        let tx = self.begin_again("reject", tx).await?;
        match standing_in(tx.transaction(), self.namespace.as_str(), claim, "reject")? {
            Standing::Free => {
                let outcome = Outcome::Rejected(rejection.clone());
                self.settle(tx, claim, outcome, "reject").await
            }
            Standing::Completed(outcome) => Ok(Settled::Superseded(outcome)),
            Standing::InProgress(retry_after) => {
                let kind = ErrorKind::InProgress { retry_after };
                Err(error(kind, "reject", "another attempt has taken the key"))
            }
            Standing::Mismatch => {
                let message = "another request has taken the key";
                Err(error(ErrorKind::Mismatch, "reject", message))
            }
        }
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let (namespace, key) = (self.namespace.clone(), key.clone());
        let read = self.read("lookup", move |tx| {
            let keys = tx.open_table(KEYS).during("lookup")?;
            KeyRow::read(&keys, namespace.as_str(), key.as_str(), now(), "lookup")
        });
        Ok(read.await?.map(|row| {
            let state = match row.state {
                State::Leased { deadline } => KeyState::Leased {
                    token: row.token,
                    deadline,
                },
                State::Completed { outcome, at, end } => KeyState::Completed {
                    outcome,
                    completed_at: at,
                    expires_at: end,
                },
            };
            KeyRecord::new(row.fingerprint, state)
        }))
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let (namespace, key) = (self.namespace.clone(), key.clone());
        self.write("forget", move |tx| {
            let (namespace, key, now) = (namespace.as_str(), key.as_str(), now());
            let row = {
                let keys = tx.open_table(KEYS).during("forget")?;
                KeyRow::read(&keys, namespace, key, now, "forget")?
            };
            match row.map(|row| row.state) {
                Some(State::Completed { .. }) => {
                    KeyRow::remove(tx, namespace, key, "forget")?;
                    Ok(Then::Commit(true))
                }
                Some(State::Leased { deadline }) if now < deadline => {
                    let kind = ErrorKind::InProgress {
                        retry_after: deadline.since(now),
                    };
                    Err(error(kind, "forget", "a lease holds the key"))
                }
                _ => Ok(Then::Leave(false)),
            }
        })
        .await
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        check_limit(limit, "expire", BACKEND)?;
        let namespace = self.namespace.clone();
        self.write("expire", move |tx| {
            let namespace = namespace.as_str();
            // The retention is over *at* its end, so the range is up to the next microsecond.
            let until = now().as_micros().saturating_add(1);
            let mut over = Vec::new();
            {
                let ends = tx.open_table(ENDS).during("expire")?;
                let range = (namespace, i64::MIN, "")..(namespace, until, "");
                for entry in ends.range(range).during("expire")?.take(limit as usize) {
                    let (end, _) = entry.during("expire")?;
                    over.push(end.value().2.to_owned());
                }
            }
            for key in &over {
                KeyRow::remove(tx, namespace, key, "expire")?;
            }
            let removed = over.len() as u64;
            Ok(if over.is_empty() {
                Then::Leave(removed)
            } else {
                Then::Commit(removed)
            })
        })
        .await
    }
}

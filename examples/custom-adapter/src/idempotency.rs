//! Keys and receipts, committed with the user's own writes.

use exactly_once_core::{
    Claim, Claimed, IdempotencyKey, IdempotencyStore, KeyRecord, Outcome, Receipt, Rejection,
    Result, Settled, Store,
    adapter::{
        check_limit,
        rules::keys::{self, Standing},
    },
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During},
    key_row,
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
    let table = tx.open_table(KEYS).during(operation)?;
    let row = key_row::read(&table, namespace, claim.key().as_str(), operation)?;
    Ok(keys::standing(row, claim, now()))
}

impl RedbStore {
    /// Where the key stands by what is committed.
    async fn standing(&self, claim: &Claim, operation: &'static str) -> Result<Standing> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        self.read(operation, move |tx| {
            let table = tx.open_table(KEYS).during(operation)?;
            let key = claim.key().as_str();
            let row = key_row::read(&table, namespace.as_str(), key, operation)?;
            Ok(keys::standing(row, &claim, now()))
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
        let row = key_row::completed(claim, None, outcome, now());
        let (namespace, key) = (self.namespace.clone(), claim.key().clone());
        blocking(operation, move || {
            let (namespace, key) = (namespace.as_str(), key.as_str());
            key_row::write(&row, tx.transaction(), namespace, key, operation)?;
            tx.commit_now(operation)?;
            Ok(Settled::Recorded)
        })
        .await?
    }
}

impl IdempotencyStore for RedbStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<RedbTx>> {
        // A replay need not wait for the one who is writing.
        let standing = self.standing(claim, "claim").await?;
        if let Some(answer) = standing.claimed("claim", BACKEND)? {
            return Ok(answer);
        }
        let mut tx = self.begin_write("claim").await?;
        tx.claimed = Some((self.namespace.clone(), claim.clone()));
        // What was free a moment ago may be taken by now; from here on no other writes.
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        blocking("claim", move || {
            let standing = standing_in(tx.transaction(), namespace.as_str(), &claim, "claim")?;
            let answer = standing.claimed("claim", BACKEND)?;
            Ok(answer.unwrap_or(Claimed::Fresh(tx)))
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
        let standing = standing_in(tx.transaction(), self.namespace.as_str(), claim, "reject")?;
        match standing.outcome("reject", BACKEND)? {
            Some(outcome) => Ok(Settled::Superseded(outcome)),
            None => {
                let outcome = Outcome::Rejected(rejection.clone());
                self.settle(tx, claim, outcome, "reject").await
            }
        }
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let (namespace, key) = (self.namespace.clone(), key.clone());
        let read = self.read("lookup", move |tx| {
            let table = tx.open_table(KEYS).during("lookup")?;
            key_row::read(&table, namespace.as_str(), key.as_str(), "lookup")
        });
        Ok(keys::record(read.await?, now()))
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let (namespace, key) = (self.namespace.clone(), key.clone());
        self.write("forget", move |tx| {
            let (namespace, key) = (namespace.as_str(), key.as_str());
            let row = {
                let table = tx.open_table(KEYS).during("forget")?;
                key_row::read(&table, namespace, key, "forget")?
            };
            if !keys::forget(row.as_ref(), now(), BACKEND)? {
                return Ok(Then::Leave(false));
            }
            key_row::remove(tx, namespace, key, "forget")?;
            Ok(Then::Commit(true))
        })
        .await
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        check_limit(limit, "expire", BACKEND)?;
        let namespace = self.namespace.clone();
        self.write("expire", move |tx| {
            let namespace = namespace.as_str();
            // The retention has passed *at* its end, so the range is up to the next microsecond.
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
                key_row::remove(tx, namespace, key, "expire")?;
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

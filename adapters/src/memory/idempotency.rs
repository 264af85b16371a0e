//! Keys and receipts, committed with the transaction's writes.

use std::time::Duration;

use exactly_once_core::{
    Claim, Claimed, FencingToken, IdempotencyKey, IdempotencyStore, KeyRecord, Outcome, Receipt,
    Rejection, Result, Settled, Store, Timestamp,
    adapter::{
        check_limit, refusals,
        rules::keys::{self, KeyRow, RowState, Standing},
    },
};

use super::{
    MemoryStore,
    error::BACKEND,
    state::Space,
    transaction::{MemoryTx, Purpose},
};

/// When to try again a key that an open transaction holds: when that ends is not known.
pub(super) const CLAIMED_RETRY: Duration = Duration::from_millis(5);

/// What is known of a key, and what an open transaction says of it.
pub(super) fn standing(space: &Space, claim: &Claim, now: Timestamp) -> Standing {
    match space.claims.get(claim.key()) {
        Some(request) => keys::rival(request, claim, CLAIMED_RETRY),
        None => keys::standing(space.keys.get(claim.key()).cloned(), claim, now),
    }
}

/// The row of a key that is done.
pub(super) fn completed(
    claim: &Claim,
    outcome: Outcome,
    token: Option<FencingToken>,
    now: Timestamp,
) -> KeyRow {
    KeyRow {
        fingerprint: *claim.fingerprint(),
        state: RowState::Completed {
            outcome,
            completed_at: now,
            expires_at: claim.retention().expires_at(now),
            token,
        },
    }
}

impl MemoryStore {
    /// Commits the outcome with the writes, or nothing at all.
    fn settle(
        &self,
        tx: &mut MemoryTx,
        claim: &Claim,
        outcome: Outcome,
        operation: &'static str,
    ) -> Result<Settled> {
        tx.check_home(self, operation)?;
        if !matches!(&tx.purpose, Purpose::Claimed(own)
            if own.key() == claim.key() && own.fingerprint() == claim.fingerprint())
        {
            return Err(refusals::foreign(operation, BACKEND));
        }
        let mut state = self.state(operation)?;
        if matches!(outcome, Outcome::Applied(_)) {
            tx.check(&state, operation)?;
            std::mem::take(&mut tx.writes).apply(&mut state, &self.namespace);
        }
        let now = self.shared.clock.now();
        let entry = completed(claim, outcome, None, now);
        state
            .space(&self.namespace)
            .keys
            .insert(claim.key().clone(), entry);
        Ok(Settled::Recorded)
    }
}

impl IdempotencyStore for MemoryStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let mut state = self.state("claim")?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        if let Some(answer) = standing(space, claim, now).claimed("claim", BACKEND)? {
            return Ok(answer);
        }
        space
            .claims
            .insert(claim.key().clone(), *claim.fingerprint());
        let purpose = Purpose::Claimed(claim.clone());
        Ok(Claimed::Fresh(MemoryTx::open(self, &mut state, purpose)))
    }

    async fn complete(
        &self,
        mut tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        receipt.check_size(self.capabilities().max_receipt_bytes, "complete", BACKEND)?;
        self.settle(
            &mut tx,
            claim,
            Outcome::Applied(receipt.clone()),
            "complete",
        )
    }

    async fn reject(
        &self,
        mut tx: MemoryTx,
        claim: &Claim,
        rejection: &Rejection,
    ) -> Result<Settled> {
        self.settle(
            &mut tx,
            claim,
            Outcome::Rejected(rejection.clone()),
            "reject",
        )
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let mut state = self.state("lookup")?;
        let now = self.shared.clock.now();
        let row = state.space(&self.namespace).keys.get(key).cloned();
        Ok(keys::record(row, now))
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let mut state = self.state("forget")?;
        let now = self.shared.clock.now();
        let rows = &mut state.space(&self.namespace).keys;
        let there = keys::forget(rows.get(key), now, BACKEND)?;
        if there {
            rows.remove(key);
        }
        Ok(there)
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        check_limit(limit, "expire", BACKEND)?;
        let mut state = self.state("expire")?;
        let now = self.shared.clock.now();
        let rows = &mut state.space(&self.namespace).keys;
        let over: Vec<_> = rows
            .iter()
            .filter(|(_, row)| row.is_expired(now))
            .map(|(key, _)| key.clone())
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        for key in &over {
            rows.remove(key);
        }
        Ok(over.len() as u64)
    }
}

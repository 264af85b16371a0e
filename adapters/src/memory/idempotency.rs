//! Keys and receipts, committed with the transaction's writes.

use std::time::Duration;

use exactly_once_core::{
    Claim, Claimed, ErrorKind, IdempotencyKey, IdempotencyStore, KeyRecord, KeyState, Outcome,
    Receipt, Rejection, Result, Settled, Store, Timestamp, register::check_limit,
};

use super::{
    MemoryStore,
    error::{BACKEND, error, foreign},
    state::{EntryState, KeyEntry, Space},
    transaction::{MemoryTx, Purpose},
};

/// When to try again a key that an open transaction holds: nobody knows when that will end.
const CLAIMED_RETRY: Duration = Duration::from_millis(5);

/// Where a key stands for somebody who wants it.
pub(super) enum Standing {
    Free,
    Completed(Outcome),
    InProgress(Duration),
    Mismatch,
}

/// The one place that says who may have a key. The fingerprint is compared in every state.
pub(super) fn standing(space: &Space, claim: &Claim, now: Timestamp) -> Standing {
    if let Some(fingerprint) = space.claims.get(claim.key()) {
        return if fingerprint == claim.fingerprint() {
            Standing::InProgress(CLAIMED_RETRY)
        } else {
            Standing::Mismatch
        };
    }
    match space.keys.get(claim.key()) {
        None => Standing::Free,
        Some(entry) if entry.expired(now) => Standing::Free,
        Some(entry) if entry.fingerprint != *claim.fingerprint() => Standing::Mismatch,
        Some(KeyEntry {
            state: EntryState::Completed { outcome, .. },
            ..
        }) => Standing::Completed(outcome.clone()),
        Some(KeyEntry {
            state: EntryState::Leased { deadline, .. },
            ..
        }) if now < *deadline => Standing::InProgress(deadline.since(now)),
        Some(_) => Standing::Free,
    }
}

/// The entry of a key that is done.
pub(super) fn completed(
    claim: &Claim,
    outcome: Outcome,
    token: Option<exactly_once_core::FencingToken>,
    now: Timestamp,
) -> KeyEntry {
    KeyEntry {
        fingerprint: *claim.fingerprint(),
        state: EntryState::Completed {
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
            return Err(foreign(operation));
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
        Ok(match standing(space, claim, now) {
            Standing::Completed(outcome) => Claimed::Completed(outcome),
            Standing::InProgress(retry_after) => Claimed::InProgress { retry_after },
            Standing::Mismatch => Claimed::Mismatch,
            Standing::Free => {
                space
                    .claims
                    .insert(claim.key().clone(), *claim.fingerprint());
                let purpose = Purpose::Claimed(claim.clone());
                Claimed::Fresh(MemoryTx::open(self, &mut state, purpose))
            }
        })
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
        let entry = state.space(&self.namespace).keys.get(key);
        Ok(entry.filter(|entry| !entry.expired(now)).map(|entry| {
            let state = match entry.state.clone() {
                EntryState::Leased { token, deadline } => KeyState::Leased { token, deadline },
                EntryState::Completed {
                    outcome,
                    completed_at,
                    expires_at,
                    ..
                } => KeyState::Completed {
                    outcome,
                    completed_at,
                    expires_at,
                },
            };
            KeyRecord::new(entry.fingerprint, state)
        }))
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let mut state = self.state("forget")?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        match space.keys.get(key).map(|entry| &entry.state) {
            Some(EntryState::Leased { deadline, .. }) if now < *deadline => {
                let retry_after = deadline.since(now);
                let kind = ErrorKind::InProgress { retry_after };
                Err(error(kind, "forget", "a lease holds the key"))
            }
            Some(EntryState::Completed { .. }) => Ok(space
                .keys
                .remove(key)
                .is_some_and(|entry| !entry.expired(now))),
            _ => Ok(false),
        }
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        check_limit(limit, "expire", BACKEND)?;
        let mut state = self.state("expire")?;
        let now = self.shared.clock.now();
        let keys = &mut state.space(&self.namespace).keys;
        let over: Vec<_> = keys
            .iter()
            .filter(|(_, entry)| entry.expired(now))
            .map(|(key, _)| key.clone())
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        for key in &over {
            keys.remove(key);
        }
        Ok(over.len() as u64)
    }
}

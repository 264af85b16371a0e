//! Mutants that mistake whose a key is: a first request's for ever, or the token holder's.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once::{
    Claim, Claimed, FencingToken, Fingerprint, IdempotencyKey, IdempotencyStore, KeyState, Lease,
    LeaseStore, Leased, Outcome, Receipt, Rejection, Result, Settled, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// The row of a key that has expired is updated, and the first request's fingerprint stays in it.
#[derive(Clone, Default)]
struct KeepsTheFirstRequest(Arc<Mutex<HashMap<IdempotencyKey, Fingerprint>>>);

impl KeepsTheFirstRequest {
    fn first(&self, claim: &Claim) -> Fingerprint {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *first
            .entry(claim.key().clone())
            .or_insert(*claim.fingerprint())
    }

    /// What stands, by the fingerprint in the row; `None` where there is no row.
    async fn stands(&self, right: &MemoryStore, claim: &Claim) -> Result<Option<Option<Outcome>>> {
        let Some(record) = right.lookup(claim.key()).await? else {
            return Ok(None);
        };
        Ok(match record.state {
            KeyState::Completed { outcome, .. } => {
                Some((self.first(claim) == *claim.fingerprint()).then_some(outcome))
            }
            _ => None,
        })
    }
}

impl Patch for KeepsTheFirstRequest {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match self.stands(right, claim).await? {
            None => right.claim(claim).await?,
            Some(Some(outcome)) => Claimed::Completed(outcome),
            Some(None) => Claimed::Mismatch,
        })
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        self.first(claim);
        right.complete(tx, claim, receipt).await
    }
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        Ok(match self.stands(right, claim).await? {
            None => right.lease(claim, ttl).await?,
            Some(Some(outcome)) => Leased::Completed(outcome),
            Some(None) => Leased::Mismatch,
        })
    }
}

#[test]
fn a_key_that_is_over_keeps_its_first_request() {
    assert_killed::<KeepsTheFirstRequest>("idempotency::retention::i26_over_is_anyones");
    assert_killed::<KeepsTheFirstRequest>("keys::forms::i26_over_is_anyones_to_lease");
}

/// Forgets rows, also those that are over, and says whether there was a row.
#[derive(Clone, Default)]
struct CountsRows(Arc<Mutex<HashSet<IdempotencyKey>>>);

impl Patch for CountsRows {
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        {
            let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rows.insert(claim.key().clone());
        }
        right.complete(tx, claim, receipt).await
    }
    async fn forget(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<bool> {
        let there = right.forget(key).await?;
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rows.remove(key) || there)
    }
}

#[test]
fn what_is_over_is_forgotten_as_if_it_were_there() {
    assert_killed::<CountsRows>("idempotency::retention::i17_forgetting_tells");
}

/// Commits whatever transaction it is given with the key.
#[derive(Clone, Default)]
struct TakesAnyTransaction;

impl Patch for TakesAnyTransaction {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(match right.claim(claim).await? {
            Claimed::Fresh(_) => Claimed::Fresh(right.begin().await?),
            answer => answer,
        })
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        match right.claim(claim).await? {
            Claimed::Fresh(tx) => right.complete(tx, claim, receipt).await,
            _ => Ok(Settled::Recorded),
        }
    }
    async fn reject(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        rejection: &Rejection,
    ) -> Result<Settled> {
        right.rollback(tx).await?;
        match right.claim(claim).await? {
            Claimed::Fresh(tx) => right.reject(tx, claim, rejection).await,
            _ => Ok(Settled::Recorded),
        }
    }
}

#[test]
fn any_transaction_is_committed_with_the_key() {
    assert_killed::<TakesAnyTransaction>("idempotency::basic::i18_foreign_transaction");
}

/// Completes by the key alone, whatever the request that claimed it.
#[derive(Clone, Default)]
struct CompletesByKey(Arc<Mutex<HashMap<IdempotencyKey, Claim>>>);

impl CompletesByKey {
    fn holder(&self, claim: &Claim) -> Claim {
        let claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.get(claim.key()).unwrap_or(claim).clone()
    }
}

impl Patch for CompletesByKey {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let answer = right.claim(claim).await?;
        if matches!(answer, Claimed::Fresh(_)) {
            let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            claimed.insert(claim.key().clone(), claim.clone());
        }
        Ok(answer)
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> Result<Settled> {
        right.complete(tx, &self.holder(claim), receipt).await
    }
}

#[test]
fn a_key_is_completed_for_whatever_request() {
    assert_killed::<CompletesByKey>("idempotency::basic::i18_foreign_transaction");
}

/// Finds the lease by key and token: who has the token may change it, whatever the request.
#[derive(Clone, Default)]
struct ByToken<const RENEWS: bool>(Arc<Mutex<Vec<(Claim, FencingToken)>>>);

impl<const RENEWS: bool> ByToken<RENEWS> {
    fn holder(&self, claim: &Claim, token: FencingToken) -> Claim {
        let granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut granted = granted.iter();
        let holder = granted.find(|(own, given)| own.key() == claim.key() && *given == token);
        holder.map_or_else(|| claim.clone(), |(own, _)| own.clone())
    }
}

impl<const RENEWS: bool> Patch for ByToken<RENEWS> {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let answer = right.lease(claim, ttl).await?;
        if let Leased::Granted(lease) = &answer {
            let mut granted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            granted.push((claim.clone(), lease.token));
        }
        Ok(answer)
    }
    async fn renew(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        if RENEWS {
            return right.renew(&self.holder(claim, token), token, ttl).await;
        }
        right.renew(claim, token, ttl).await
    }
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        if RENEWS {
            return right.release(claim, token).await;
        }
        right.release(&self.holder(claim, token), token).await
    }
}

#[test]
fn who_has_the_token_has_the_lease() {
    const CASE: &str = "lease::basic::i22l_other_request_with_the_token";
    assert_killed::<ByToken<true>>(CASE);
    assert_killed::<ByToken<false>>(CASE);
}

/// Reports to a waiting caller the time that it asked for.
#[derive(Clone, Default)]
struct WaitsAsAsked;

impl Patch for WaitsAsAsked {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        Ok(match right.lease(claim, ttl).await? {
            Leased::InProgress { .. } => Leased::InProgress { retry_after: ttl },
            answer => answer,
        })
    }
}

#[test]
fn the_wait_is_not_the_holders() {
    assert_killed::<WaitsAsAsked>("lease::fence::i60_in_progress_while_held");
}

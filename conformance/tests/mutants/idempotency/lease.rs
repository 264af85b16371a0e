//! Mutants of leases: no fence, or one with a hole.

use std::time::Duration;

use exactly_once::{
    Claim, Claimed, FencingToken, IdempotencyStore, KeyState, Lease, LeaseStore, Leased, Outcome,
    Result, memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

/// The token of the present holder.
async fn current(right: &MemoryStore, claim: &Claim, given: FencingToken) -> FencingToken {
    match right.lookup(claim.key()).await {
        Ok(Some(record)) => match record.state {
            KeyState::Leased { token, .. } => token,
            _ => given,
        },
        _ => given,
    }
}

/// Compares no token at all.
#[derive(Clone, Default)]
struct NoFence;

impl Patch for NoFence {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let token = current(right, claim, token).await;
        right.finalize(claim, token, outcome).await
    }
    async fn renew(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        let token = current(right, claim, token).await;
        right.renew(claim, token, ttl).await
    }
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        let token = current(right, claim, token).await;
        right.release(claim, token).await
    }
}

#[test]
fn lease_without_fence() {
    assert_killed::<NoFence>("lease::fence::i62_zombie_finalizes");
    assert_killed::<NoFence>("lease::fence::i63_zombie_renews");
    assert_killed::<NoFence>("lease::fence::i64_zombie_releases");
    assert_killed::<NoFence>("lease::basic::i04l_unknown_lease");
}

/// Counts tokens from one for each holder, as one does whose row is deleted by a release.
#[derive(Clone, Default)]
struct TokensStartAgain;

impl Patch for TokensStartAgain {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        Ok(match right.lease(claim, ttl).await? {
            Leased::Granted(Lease { deadline, .. }) => {
                let token = FencingToken::new(1);
                Leased::Granted(Lease { token, deadline })
            }
            other => other,
        })
    }
    async fn release(&self, right: &MemoryStore, claim: &Claim, token: FencingToken) -> Result<()> {
        let token = current(right, claim, token).await;
        right.release(claim, token).await
    }
}

#[test]
fn tokens_that_start_again() {
    assert_killed::<TokensStartAgain>("lease::basic::i05l_released_key_is_free");
    assert_killed::<TokensStartAgain>("lease::fence::i61_takeover_grows_the_token");
}

/// Lets a rival in while the lease is in force.
#[derive(Clone, Default)]
struct IgnoresTheLease;

impl Patch for IgnoresTheLease {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        if let Leased::InProgress { .. } = right.lease(claim, ttl).await? {
            let holder = current(right, claim, FencingToken::new(0)).await;
            right.release(claim, holder).await?;
        }
        right.lease(claim, ttl).await
    }
}

#[test]
fn lease_in_force_ignored() {
    assert_killed::<IgnoresTheLease>("lease::fence::i60_in_progress_while_held");
    assert_killed::<IgnoresTheLease>("lease::basic::i30l_racers_for_a_lease");
}

/// Lets the last outcome win.
#[derive(Clone, Default)]
struct LastOutcomeWins;

impl Patch for LastOutcomeWins {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let answer = right.finalize(claim, token, outcome).await;
        if answer.is_err() && right.forget(claim.key()).await? {
            if let (Claimed::Fresh(tx), Outcome::Applied(receipt)) =
                (right.claim(claim).await?, outcome)
            {
                let _ = right.complete(tx, claim, receipt).await?;
            }
            return Ok(());
        }
        answer
    }
}

#[test]
fn last_outcome_wins() {
    assert_killed::<LastOutcomeWins>("lease::basic::i15l_other_outcome");
}

/// Answers a renewal, and does nothing.
#[derive(Clone, Default)]
struct RenewsNothing;

impl Patch for RenewsNothing {
    async fn renew(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> Result<Lease> {
        let held = right.lookup(claim.key()).await?.map(|record| record.state);
        let renewed = right.renew(claim, token, ttl).await?;
        if let Some(KeyState::Leased { deadline, .. }) = held {
            // Back to what it was.
            let now = exactly_once::Store::now(right).await?;
            let left = deadline.since(now).max(Duration::from_micros(1));
            right.renew(claim, token, left).await?;
        }
        Ok(renewed)
    }
}

#[test]
fn renewal_that_does_nothing() {
    assert_killed::<RenewsNothing>("lease::expiry::i56_renewal_extends");
}

/// Compares the deadline where it should compare the token.
#[derive(Clone, Default)]
struct LateIsFenced;

impl Patch for LateIsFenced {
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let now = exactly_once::Store::now(right).await?;
        if let Some(record) = right.lookup(claim.key()).await?
            && let KeyState::Leased { deadline, .. } = record.state
            && deadline <= now
        {
            right.release(claim, token).await?;
        }
        right.finalize(claim, token, outcome).await
    }
}

#[test]
fn late_holder_fenced() {
    assert_killed::<LateIsFenced>("lease::fence::i66_late_but_not_overtaken");
}

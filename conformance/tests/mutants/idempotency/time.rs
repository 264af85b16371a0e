//! Mutants that measure time wrongly.

use std::time::Duration;

use exactly_once::{
    Claim, Claimed, IdempotencyKey, IdempotencyStore, KeyRecord, KeyState, LeaseStore, Leased,
    Result, Retention, Store, Timestamp,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Compares with the client's clock.
#[derive(Clone, Default)]
struct ClientClock(i64);

impl ClientClock {
    async fn client_now(&self, right: &MemoryStore) -> Result<Timestamp> {
        let now = right.now().await?.as_micros();
        Ok(Timestamp::from_micros(now + self.0 * 1_000_000))
    }

    /// Removes the key if the client thinks that it has expired.
    async fn expire_key(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<()> {
        let now = self.client_now(right).await?;
        if let Some(record) = right.lookup(key).await? {
            match record.state {
                KeyState::Completed {
                    expires_at: Some(end),
                    ..
                } if end <= now => {
                    right.forget(key).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Patch for ClientClock {
    fn skewed(&self, seconds: i64) -> Self {
        Self(seconds)
    }
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        self.expire_key(right, claim.key()).await?;
        right.claim(claim).await
    }
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let now = self.client_now(right).await?;
        if let Some(record) = right.lookup(claim.key()).await?
            && let KeyState::Leased { token, deadline } = record.state
            && deadline <= now
        {
            right.release(claim, token).await?;
        }
        right.lease(claim, ttl).await
    }
}

#[test]
fn client_clock_expiry() {
    assert_killed::<ClientClock>("idempotency::expiry::i52_client_clock");
    assert_killed::<ClientClock>("idempotency::expiry::i58_clock_going_backwards");
    assert_killed::<ClientClock>("lease::expiry::i52l_client_clock");
}

/// Ends a retention only when the expiry job comes by.
#[derive(Clone, Default)]
struct OnlyTheJobExpires;

impl Patch for OnlyTheJobExpires {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        right
            .claim(&claim.clone().with_retention(Retention::FOREVER))
            .await
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        receipt: &exactly_once::Receipt,
    ) -> Result<exactly_once::Settled> {
        right
            .complete(
                tx,
                &claim.clone().with_retention(Retention::FOREVER),
                receipt,
            )
            .await
    }
}

#[test]
fn only_the_job_ends_a_retention() {
    assert_killed::<OnlyTheJobExpires>("idempotency::basic::i07_lookup_tells_the_record");
    assert_killed::<OnlyTheJobExpires>("idempotency::expiry::i53_odd_durations");
}

/// Removes as much as there is, whatever the limit.
#[derive(Clone, Default)]
struct IgnoresTheLimit;

impl Patch for IgnoresTheLimit {
    async fn expire(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        right.expire(if limit == 0 { 0 } else { u32::MAX }).await
    }
}

#[test]
fn expiry_ignores_the_limit() {
    assert_killed::<IgnoresTheLimit>("idempotency::expiry::i54_only_what_is_over");
}

/// Takes a limit of zero for fine.
#[derive(Clone, Default)]
struct ZeroIsFine;

impl Patch for ZeroIsFine {
    async fn expire(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        if limit == 0 {
            Ok(0)
        } else {
            right.expire(limit).await
        }
    }
}

#[test]
fn limit_of_zero_taken() {
    assert_killed::<ZeroIsFine>("idempotency::expiry::i53_odd_durations");
}

/// Shows records over their time until they are removed.
#[derive(Clone, Default)]
struct ShowsWhatIsOver(std::sync::Arc<std::sync::Mutex<Vec<(IdempotencyKey, KeyRecord)>>>);

impl Patch for ShowsWhatIsOver {
    async fn lookup(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let found = right.lookup(key).await?;
        let mut seen = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(match found {
            Some(record) => {
                seen.push((key.clone(), record.clone()));
                Some(record)
            }
            None => {
                let last = seen.iter().rev().find(|(known, _)| known == key);
                last.map(|(_, record)| record.clone())
            }
        })
    }
}

#[test]
fn records_over_their_time_shown() {
    assert_killed::<ShowsWhatIsOver>("idempotency::expiry::i57_at_the_boundary");
}

/// Takes any duration.
#[derive(Clone, Default)]
struct AnyDuration;

impl Patch for AnyDuration {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let ttl = ttl.clamp(Duration::from_micros(1), exactly_once::MAX_DURATION);
        right.lease(claim, ttl).await
    }
}

#[test]
fn odd_durations_taken() {
    assert_killed::<AnyDuration>("lease::expiry::i53l_odd_durations");
}

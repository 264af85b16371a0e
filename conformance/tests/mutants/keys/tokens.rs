//! Mutants whose tokens start again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once::{
    Claim, FencingToken, IdempotencyKey, IdempotencyStore, Lease, LeaseStore, Leased, Outcome,
    Result, memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

/// Keeps the token in the key's row, which goes when the key is forgotten.
#[derive(Clone, Default)]
struct TokensForgotten(Arc<Mutex<HashMap<IdempotencyKey, (i64, i64)>>>);

impl TokensForgotten {
    /// What the row says of the store's own token; the first of a row is 1.
    fn told(&self, key: &IdempotencyKey, token: FencingToken) -> FencingToken {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.entry(key.clone()).or_insert((token.get() - 1, 0));
        row.1 = token.get();
        FencingToken::new(token.get() - row.0)
    }

    fn own(&self, key: &IdempotencyKey, told: FencingToken) -> FencingToken {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = rows.get(key).map_or(0, |row| row.0);
        FencingToken::new(told.get() + before)
    }
}

impl Patch for TokensForgotten {
    async fn lease(&self, right: &MemoryStore, claim: &Claim, ttl: Duration) -> Result<Leased> {
        Ok(match right.lease(claim, ttl).await? {
            Leased::Granted(lease) => Leased::Granted(Lease {
                token: self.told(claim.key(), lease.token),
                ..lease
            }),
            answer => answer,
        })
    }
    async fn finalize(
        &self,
        right: &MemoryStore,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> Result<()> {
        let own = self.own(claim.key(), token);
        right.finalize(claim, own, outcome).await
    }
    async fn forget(&self, right: &MemoryStore, key: &IdempotencyKey) -> Result<bool> {
        let forgotten = right.forget(key).await?;
        if forgotten {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(key);
        }
        Ok(forgotten)
    }
}

#[test]
fn tokens_go_with_the_key() {
    assert_killed::<TokensForgotten>("keys::tokens::i65_tokens_grow_over_forgetting");
}

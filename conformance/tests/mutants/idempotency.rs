//! Mutants of the idempotency store.

use exactly_once::{
    Claim, Claimed, IdempotencyStore, Receipt, Result, Settled, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// No store at all: every claim is fresh, nothing is kept but the effect.
#[derive(Clone, Default)]
struct NoStore;

impl Patch for NoStore {
    async fn claim(&self, right: &MemoryStore, _claim: &Claim) -> Result<Claimed<MemoryTx>> {
        Ok(Claimed::Fresh(right.begin().await?))
    }
    async fn complete(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        _claim: &Claim,
        _receipt: &Receipt,
    ) -> Result<Settled> {
        right.commit(tx).await?;
        Ok(Settled::Recorded)
    }
}

#[test]
fn no_store_at_all() {
    assert_killed::<NoStore>("idempotency::basic::i02_completed_key_gives_the_receipt");
}

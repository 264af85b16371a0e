//! A mutant whose open transactions lie in answers that are never taken.

use std::mem::ManuallyDrop;

use exactly_once::{
    Claim, Claimed, IdempotencyStore, Result, Transactional,
    memory::{MemoryStore, MemoryTx},
};
use tokio::sync::oneshot;

use crate::{harness::assert_killed, patch::Patch};

/// Answers from a task of its own; what is answered and not taken stays open.
#[derive(Clone, Default)]
struct LeftInTheAnswer;

/// The answer of a task; it is dropped where no caller waits for it any more, and kept where one does,
/// whether he takes it or not.
async fn by_task<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, answer) = oneshot::channel();
    tokio::spawn(async move {
        if let Err(back) = sender.send(ManuallyDrop::new(work.await)) {
            drop(ManuallyDrop::into_inner(back));
        }
    });
    ManuallyDrop::into_inner(answer.await.expect("the task to answer"))
}

impl Patch for LeftInTheAnswer {
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let (right, claim) = (right.clone(), claim.clone());
        by_task(async move { right.claim(&claim).await }).await
    }
    async fn begin(&self, right: &MemoryStore) -> Result<MemoryTx> {
        let right = right.clone();
        by_task(async move { right.begin().await }).await
    }
}

#[test]
fn an_open_transaction_is_left_in_its_answer() {
    assert_killed::<LeftInTheAnswer>("idempotency::abandoned::i40_claim_dropped_with_its_answer");
    assert_killed::<LeftInTheAnswer>("idempotency::abandoned::i40_begin_dropped_with_its_answer");
}

//! What a script reports of a handler that is wrong, or of a store that is away.
#![allow(clippy::unwrap_used, clippy::panic)]

use exactly_once::{
    AccountId, Amount, BalanceStore, ErrorKind, Store,
    engine::{
        Effects,
        script::{Ended, Failure, Fault, Script, at_each_point},
    },
    memory::{MemoryStore, MemoryTx},
};

#[tokio::test]
async fn a_handler_that_makes_another_step_on_its_next_attempt_has_diverged() {
    let (store, script) = (MemoryStore::new(), Script::new());
    let pay = async |tx: &mut MemoryTx| Ok(tx.add("paid", 5)?);
    let paid = script.run(async |ctx| ctx.execute_once(&store, "pay", &5, pay).await);
    assert_eq!(paid.await, Ok(5));
    let charge = script.run(async |ctx| ctx.execute_once(&store, "charge", &5, pay).await);
    let diverged = charge.await.unwrap_err();
    let text = diverged.to_string();
    assert!(matches!(diverged, Failure::Diverged { .. }), "{text}");
    assert!(
        text.contains("`charge/key`") && text.contains("`pay/key`"),
        "{text}"
    );
    assert_eq!(store.get("paid").as_deref(), Some(&b"5"[..]));
}

#[tokio::test]
async fn a_store_that_stays_away_does_not_hang_the_test() {
    let (store, script) = (MemoryStore::new(), Script::new());
    store.close().await.unwrap();
    let alice = AccountId::new("alice").unwrap();
    let opened =
        script.run(async |ctx| ctx.open_account(&store, "open", &alice, Amount::ZERO).await);
    let unfinished = opened.await.unwrap_err();
    assert!(
        matches!(unfinished, Failure::Unfinished { .. }),
        "{unfinished}"
    );
    assert_eq!(
        script.steps(),
        ["open/key"],
        "nothing that may pass is journaled"
    );
}

#[tokio::test]
async fn a_step_beside_another_one_is_refused_and_the_first_one_is_done() {
    let (store, script) = (MemoryStore::new(), Script::new());
    let alice = AccountId::new("alice").unwrap();
    let both = script.run(async |ctx| {
        let first = ctx.open_account(&store, "open", &alice, Amount::new(5));
        let second = ctx.adjust(&store, "add", &alice, Amount::new(1));
        let (first, second) = futures_util::join!(first, second);
        first?;
        second
    });
    let Err(Failure::Refused(refusal)) = both.await else {
        panic!("the second step is refused");
    };
    assert_eq!(refusal.kind(), ErrorKind::Unsupported, "{refusal}");
    assert!(refusal.message().contains("`add`"), "{refusal}");
    let state = store.balance(&alice).await.unwrap().unwrap();
    assert_eq!(state.amount.get(), 5);
}

#[tokio::test]
async fn a_handler_sees_nothing_of_a_crash_or_a_retry_and_can_not_go_on_after_one() {
    for fault in [Fault::Crash, Fault::LostReply] {
        let points = at_each_point(fault, async |script| {
            let store = MemoryStore::new();
            let seen = std::cell::Cell::new(0);
            let ended = script.attempt(async |ctx| {
                let pay = async |tx: &mut MemoryTx| Ok(tx.add("paid", 5)?);
                let answer = ctx.execute_once(&store, "pay", &5, pay).await;
                seen.set(seen.get() + 1);
                answer
            });
            let returned = matches!(ended.await, Ended::Returned(_));
            assert_eq!(returned, seen.get() == 1, "{script:?}");
        });
        assert_eq!(points.await, 6, "two entries, three points around each");
    }
}

//! Closures for `execute_once` compile where people write them: spawned, on generic and erased
//! stores, borrowing or owning what they use.

use exactly_once_core::{
    AnyStore, Claim, ExecuteOnce, Executed, IdempotencyStore, Rejection, Result,
};

async fn generic<S: IdempotencyStore>(store: S, claim: Claim) -> Result<Executed<String>> {
    let text = String::from("owned");
    store
        .execute_once(&claim, async |_tx| {
            tokio::task::yield_now().await;
            Ok(text)
        })
        .await
}

async fn erased(store: AnyStore, claim: Claim, amount: i64) -> Result<Executed<i64>> {
    store
        .execute_once(&claim, async move |tx| {
            let _driver = tx.downcast_mut::<()>();
            if amount > 10 {
                return Err(Rejection::new(422, "too much").into());
            }
            tokio::task::yield_now().await;
            let parsed: i64 = "7".parse()?;
            Ok(amount + parsed)
        })
        .await
}

fn spawned<S: IdempotencyStore>(store: S, claim: Claim) {
    tokio::spawn(generic(store, claim));
}

#[test]
fn closures_compile_and_their_futures_are_send() {
    // Naming the functions is what compiles them; there is nothing to run without a store.
    let _ = (spawned::<AnyStore>, erased);
}

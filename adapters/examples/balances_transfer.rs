//! Amounts that change under idempotency keys: a transfer, its retry, and the history.
//! `cargo run -p exactly-once --example balances_transfer --features memory`.
#![allow(clippy::print_stdout)]

use exactly_once::{
    AccountId, Amount, BalanceStore, ErrorKind, IdempotencyKey, OpenAccount, Result, Transfer,
    memory::MemoryStore,
};

/// Any store with balances will do: this one is generic over them.
pub(crate) async fn transfers<S: BalanceStore>(store: &S) -> Result<Vec<i64>> {
    let (alice, bob) = (AccountId::new("alice")?, AccountId::new("bob")?);
    for (account, amount) in [(&alice, 100), (&bob, 0)] {
        let key = IdempotencyKey::new(format!("open/{account}"))?;
        let open = OpenAccount::new(key, account.clone()).with_amount(Amount::new(amount));
        store.open_account(&open).await?;
    }
    let transfer = |name: &str, cents| {
        let key = IdempotencyKey::new(name)?;
        Transfer::between(key, alice.clone(), bob.clone(), Amount::new(cents))
    };
    let rent = transfer("rent of May", 80)?;
    let first = store.transfer(&rent).await?;
    let retry = store.transfer(&rent).await?;
    assert_eq!(first.changes, retry.changes); // one transfer
    assert!(retry.replayed);
    // Below the floor, which is zero unless the account has another one: refused, and recorded.
    let refused = store.transfer(&transfer("rent of June", 80)?).await;
    assert!(refused.is_err_and(|error| error.kind() == ErrorKind::InsufficientFunds));
    let history = store.history(&bob, None, 10).await?;
    Ok(history
        .changes
        .iter()
        .map(|change| change.after.get())
        .collect())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<()> {
    println!(
        "balances of bob: {:?}",
        transfers(&MemoryStore::new()).await?
    );
    Ok(())
}

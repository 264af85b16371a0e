//! The backend is chosen at run time: one program for SQLite, Postgres, Redis or memory.
//! `cargo run -p exactly-once --example any_store_by_url --features memory,rusqlite,redis -- memory:`.
#![allow(clippy::print_stdout)]

use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore, ConnectByUrl, IdempotencyKey, OpenAccount,
    Result,
};

/// Counts a visit once for each `visitor`; the number of visits.
pub(crate) async fn visit(url: &str, visitor: &str) -> Result<i64> {
    let store = AnyStore::connect(url).await?;
    let visits = AccountId::new("visits")?;
    // The same key in each process that starts: the first one opens the account.
    let open = OpenAccount::new(IdempotencyKey::new("open/visits")?, visits.clone());
    store.open_account(&open).await?;
    let key = IdempotencyKey::new(format!("visit/{visitor}"))?;
    store
        .adjust(&Adjust::new(key, visits.clone(), Amount::new(1)))
        .await?;
    let state = store.balance(&visits).await?;
    Ok(state.map_or(0, |state| state.amount.get()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "memory:".to_owned());
    println!("visits: {}", visit(&url, "alice").await?);
    Ok(())
}

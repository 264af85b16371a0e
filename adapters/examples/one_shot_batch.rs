//! Statements that are known in advance: one round trip each, and concurrent callers share a commit.
//! `cargo run -p exactly-once --example one_shot_batch --features rusqlite`.
#![allow(clippy::print_stdout)]

use std::path::Path;

use exactly_once::{
    AnyStore, Claim, ConnectByUrl, Fingerprint, IdempotencyKey, OneShot, OneShotStore, Receipt,
    Result, Statement,
};
use futures_util::future::try_join_all;

/// Pays each order once, all at the same time; the number of those that were new.
pub(crate) async fn pay_all(store: &AnyStore, orders: std::ops::Range<i64>) -> Result<usize> {
    let pay = async |order: i64| {
        let key = IdempotencyKey::new(format!("pay/{order}"))?;
        let insert = "INSERT INTO payment (id, cents) VALUES ($1, $2)";
        let effect = OneShot {
            claim: Claim::new(key, Fingerprint::of("pay", &order)?),
            statements: vec![Statement::new(insert).bind(order).bind(500)],
            receipt: Receipt::of(&order)?.0,
        };
        store.execute_one_shot(&effect).await
    };
    let done = try_join_all(orders.map(pay)).await?;
    Ok(done.iter().filter(|done| !done.replayed).count())
}

/// A new file with the table of payments, through the URL that opens it.
pub(crate) fn create(file: &Path) -> rusqlite::Result<String> {
    let table = "CREATE TABLE payment (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL) STRICT";
    rusqlite::Connection::open(file)?.execute_batch(table)?;
    Ok(format!("sqlite:{}", file.display()))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = AnyStore::connect(&create(&folder.path().join("shop.db"))?).await?;
    println!("new payments: {}", pay_all(&store, 0..100).await?);
    println!("new payments: {}", pay_all(&store, 50..150).await?);
    Ok(())
}

//! An effect that returns what the database has made: every retry gets the same rows.
//! `cargo run -p exactly-once --example returning_rows --features rusqlite`.
#![allow(clippy::print_stdout)]

use std::path::Path;

use exactly_once::{
    AnyStore, Claim, ConnectByUrl, Fingerprint, IdempotencyKey, OneShot, OneShotStore, Receipt,
    Result, Returning, Statement,
};
use serde::Deserialize;

/// What the table gives a new order.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Placed {
    pub(crate) number: i64,
    pub(crate) item: String,
}

/// Places an order once for each `request`; its row, and whether an earlier call had placed it.
pub(crate) async fn place(store: &AnyStore, request: &str, item: &str) -> Result<(Placed, bool)> {
    let insert =
        Statement::named("INSERT INTO placed_order (item) VALUES (:item) RETURNING number, item")
            .bind_named("item", item)
            .returning(Returning::rows(1));
    let effect = OneShot {
        claim: Claim::new(
            IdempotencyKey::new(request)?,
            Fingerprint::of("place", item)?,
        ),
        statements: vec![insert],
        receipt: Receipt::default(),
    };
    let done = store.execute_one_shot(&effect).await?;
    Ok((done.returned()?.into_last().one()?, done.replayed))
}

/// A new file with the table of orders, through the URL that opens it.
pub(crate) fn create(file: &Path) -> rusqlite::Result<String> {
    let table = "CREATE TABLE placed_order (number INTEGER PRIMARY KEY, item TEXT NOT NULL) STRICT";
    rusqlite::Connection::open(file)?.execute_batch(table)?;
    Ok(format!("sqlite:{}", file.display()))
}

#[tokio::main]
pub(crate) async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let store = AnyStore::connect(&create(&folder.path().join("shop.db"))?).await?;
    for request in ["request-1", "request-2", "request-1"] {
        let (placed, replayed) = place(&store, request, "tea").await?;
        println!("{request}: order {}, replayed: {replayed}", placed.number);
    }
    Ok(())
}

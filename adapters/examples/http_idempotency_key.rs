//! An HTTP service whose clients send `Idempotency-Key`: the key, the response and the handler's writes
//! commit together. `cargo run -p exactly-once --example http_idempotency_key --features tower,rusqlite`,
//! then twice
//! `curl -i localhost:8080/payments -H 'Idempotency-Key: "one"' --json 500`.
#![allow(clippy::print_stdout)]

use axum::{Extension, Json, Router, response::Result, routing::post};
use exactly_once::{
    http::{IdempotencyKeyLayer, KeyedTx},
    sqlite::SqliteStore,
};

/// The service over a store. Its clients share one space of keys; a public service gives each client
/// its own by `.scope(…)`.
pub(crate) fn shop(store: SqliteStore) -> Router {
    let layer = IdempotencyKeyLayer::transactional(store).unscoped();
    Router::new().route("/payments", post(pay)).layer(layer)
}

async fn pay(
    Extension(keyed): Extension<KeyedTx<SqliteStore>>,
    Json(cents): Json<i64>,
) -> Result<String> {
    let mut tx = keyed.lock().await.map_err(|error| keyed.problem(error))?;
    let number = tx
        .run(move |db| {
            db.execute_batch("CREATE TABLE IF NOT EXISTS payment (cents INTEGER NOT NULL)")?;
            db.execute("INSERT INTO payment VALUES (?1)", [cents])?;
            Ok(db.last_insert_rowid())
        })
        .await
        .map_err(|error| keyed.problem(error))?;
    Ok(format!("payment {number}"))
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let store = SqliteStore::open("shop.db").await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, shop(store)).await?)
}

//! A Restate handler whose payment happens once, on the database that the URL names:
//! `cargo run -p exactly-once --example restate_handler --features restate,rusqlite -- sqlite:shop.db`.
//! The table is yours: `CREATE TABLE payment (cents BIGINT NOT NULL)`.
// The SDK generates a client without documentation.
#![allow(missing_docs)]

use exactly_once::{
    AnyStore, ConnectByUrl, Statement,
    engine::Effect,
    restate::{ExactlyOnce, serve, shutdown_signal},
};
use restate_sdk::prelude::*;

struct Till(AnyStore);

#[restate_sdk::service]
impl Till {
    /// Retried by the engine until its result is journaled; the row is inserted once.
    #[handler]
    async fn charge(&self, ctx: Context<'_>, cents: i64) -> Result<i64, TerminalError> {
        let insert = Statement::new("INSERT INTO payment (cents) VALUES ($1)").bind(cents);
        let charge = Effect::of_request(&cents).statement(insert).value(&cents);
        ctx.one_shot(&self.0, "charge", charge).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "sqlite:shop.db".to_owned());
    let store = AnyStore::connect(&url).await?;
    let endpoint = Endpoint::builder().bind(Till(store)).build();
    Ok(serve(endpoint, "127.0.0.1:9080".parse()?, shutdown_signal()).await?)
}

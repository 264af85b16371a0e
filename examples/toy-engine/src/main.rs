//! Runs an order, to its end: kill it anywhere, start it again, and it goes on.
//!
//! ```text
//! cargo run -p exactly-once-toy-engine -- order-17
//! ```
//!
//! The journal and the shop's database are in the folder `toy-engine` of the working directory, or
//! in the one that the second argument names.

// A program prints.
#![allow(clippy::print_stdout)]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use exactly_once::{
    engine::{Answer, Effects, Engine},
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_toy_engine::run;

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let order = arguments.next().context("name the order: order-17, say")?;
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "toy-engine".to_owned()));
    std::fs::create_dir_all(&folder)?;
    let store = SqliteStore::open(folder.join("shop.db")).await?;
    let ended = run(&folder, &order, async |ctx| {
        fulfil(ctx, &store, &order).await
    })
    .await?;
    println!("{order}: shipped as parcel {}", ended?);
    Ok(())
}

/// Three payments, and a parcel: each exactly once. It is the same handler on any engine.
fn fulfil<'a, 'run: 'a, M: 'a, E>(
    ctx: &'a E,
    store: &'a SqliteStore,
    order: &'a str,
) -> Answer<'a, i64, E::Failure>
where
    E: Engine<'run, M>,
{
    Box::pin(async move {
        for instalment in 1..=3 {
            let request = (order, instalment);
            let paid = ctx.execute_once(store, "pay", &request, insert("payment", order));
            println!("{order}: paid as row {}", paid.await?);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let shipped = ctx.execute_once(store, "ship", order, insert("parcel", order));
        shipped.await
    })
}

/// Adds a row; without a unique key, so that a second one would show.
fn insert(
    table: &'static str,
    order: &str,
) -> impl for<'t> exactly_once::Work<&'t mut SqliteTx, Result<i64, exactly_once::WorkError>> + 'static
{
    let order = order.to_owned();
    async move |tx: &mut SqliteTx| {
        let make = format!(
            "CREATE TABLE IF NOT EXISTS {table} (number INTEGER PRIMARY KEY, for_order TEXT NOT NULL)"
        );
        let insert = format!("INSERT INTO {table} (for_order) VALUES (?1) RETURNING number");
        let row = tx.run(move |db| {
            db.execute_batch(&make)?;
            db.query_row(&insert, [order], |row| row.get(0))
        });
        Ok(row.await?)
    }
}

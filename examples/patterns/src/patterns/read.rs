//! A read that later steps depend on: a price, which changes while the process is down.

use exactly_once::{
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use restate_sdk::prelude::*;
use rusqlite::{Connection, params};

use super::insert_in;
use crate::{
    control::{Control, Faults, Order, Point},
    crash_store::CrashStore,
    plain::Plain,
};

/// What the price was at first.
pub const FIRST_PRICE: i64 = 100;

/// The price.
pub const PRICE: &str = "CREATE TABLE IF NOT EXISTS price (cents INTEGER NOT NULL) STRICT;";

/// The recipe's payments can be written only once: by themselves they do not double.
pub const UNIQUE_PAYMENTS: &str = "
CREATE TABLE IF NOT EXISTS payments (name TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT;
";

fn price(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT cents FROM price", [], |row| row.get(0))
}

/// The read is no step: "reads change nothing". The write is one that can be repeated.
pub struct ReadRecipe(pub Plain, pub Control);

#[restate_sdk::service]
impl ReadRecipe {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let cents = self.0.with(|connection| Ok(price(connection)?)).await?;
        let (database, control) = (self.0.clone(), self.1.clone());
        let write = move || async move {
            let write = database.with(move |connection| {
                let transaction = connection.transaction()?;
                transaction.execute(
                    "INSERT INTO payments (name, cents) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                    params![order.name, cents],
                )?;
                control.pass(Point::BeforeCommit)?;
                transaction.commit()?;
                control.pass(Point::AfterCommit)?;
                Ok(())
            });
            Ok(write.await?)
        };
        ctx.run(write).name("insert").await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

/// What was read is journaled before it is used.
pub struct ReadOurs(pub CrashStore<SqliteStore>, pub SqliteStore, pub Control);

#[restate_sdk::service]
impl ReadOurs {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.2.arm(&order);
        let reader = self.1.clone();
        let cents = ctx
            .durable_read("price", async move || Ok(reader.read(price).await?))
            .await?;
        let row = Order {
            cents,
            ..order.clone()
        };
        let work = async move |tx: &mut SqliteTx| insert_in(tx, row).await;
        ctx.execute_once(&self.0, "insert", &order, work).await?;
        self.2.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

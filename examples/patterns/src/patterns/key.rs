//! A key of the caller's own in the transaction of the effect.

use exactly_once::{
    IdempotencyKey,
    engine::Step,
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use restate_sdk::prelude::*;

use super::{insert, insert_in};
use crate::{
    control::{Control, Faults, Order, Point},
    crash_store::CrashStore,
    plain::Plain,
};

/// The recipe's keys.
pub const KEYS: &str = "CREATE TABLE IF NOT EXISTS keys (key TEXT PRIMARY KEY) STRICT;";

/// Inserts the key first; a second insert is a unique violation, and fails the step.
pub struct KeyRecipe(pub Plain, pub Control);

#[restate_sdk::service]
impl KeyRecipe {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let (database, control) = (self.0.clone(), self.1.clone());
        let write = move || async move {
            let write = database.with(move |connection| {
                let transaction = connection.transaction()?;
                transaction.execute("INSERT INTO keys (key) VALUES (?1)", [&order.name])?;
                let cents = insert(&transaction, &order)?;
                control.pass(Point::BeforeCommit)?;
                transaction.commit()?;
                control.pass(Point::AfterCommit)?;
                Ok(cents)
            });
            Ok(write.await?)
        };
        let cents = ctx.run(write).name("insert").await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

/// The key has a receipt, and a second claim of it is answered by it.
pub struct KeyOurs(pub CrashStore<SqliteStore>, pub Control);

#[restate_sdk::service]
impl KeyOurs {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let key = IdempotencyKey::new(order.name.as_str()).map_err(TerminalError::from)?;
        let step = Step::named("insert").with_key(key);
        let row = order.clone();
        let work = async move |tx: &mut SqliteTx| insert_in(tx, row).await;
        let cents = ctx.execute_once(&self.0, step, &order, work).await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

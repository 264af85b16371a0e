//! A write in a step.

use exactly_once::{
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

/// The write is a step, and nothing else is done about it.
pub struct SimpleRecipe(pub Plain, pub Control);

#[restate_sdk::service]
impl SimpleRecipe {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let (database, control) = (self.0.clone(), self.1.clone());
        let write = move || async move {
            let write = database.with(move |connection| {
                let transaction = connection.transaction()?;
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

/// The same write, with its key in the same transaction.
pub struct SimpleOurs(pub CrashStore<SqliteStore>, pub Control);

#[restate_sdk::service]
impl SimpleOurs {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let row = order.clone();
        let work = async move |tx: &mut SqliteTx| insert_in(tx, row).await;
        let cents = ctx.execute_once(&self.0, "insert", &order, work).await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

//! Restate's own state against a database: a counter of one object.

use restate_sdk::prelude::*;

use crate::{
    control::{Control, Faults, Order, Point},
    plain::Plain,
};

/// The recipe's counters.
pub const TABLES: &str = "CREATE TABLE IF NOT EXISTS counters (
    name TEXT PRIMARY KEY,
    n INTEGER NOT NULL
) STRICT;";

/// The counter is in a database, and counted up in a step.
pub struct StateRecipe(pub Plain, pub Control);

#[restate_sdk::object]
impl StateRecipe {
    #[handler]
    async fn run(&self, ctx: ObjectContext<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let (database, control) = (self.0.clone(), self.1.clone());
        let count = move || async move {
            let count = database.with(move |connection| {
                let transaction = connection.transaction()?;
                let n = transaction.query_row(
                    "INSERT INTO counters VALUES (?1, 1) \
                     ON CONFLICT (name) DO UPDATE SET n = n + 1 RETURNING n",
                    [&order.name],
                    |row| row.get(0),
                )?;
                control.pass(Point::BeforeCommit)?;
                transaction.commit()?;
                control.pass(Point::AfterCommit)?;
                Ok(n)
            });
            Ok(count.await?)
        };
        let n = ctx.run(count).name("count").await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(n)
    }
}

/// The counter is the object's own state: it changes with the journal, so there is nothing between
/// the two. No library is needed.
pub struct StateOurs(pub Control);

#[restate_sdk::object]
impl StateOurs {
    #[handler]
    async fn run(&self, ctx: ObjectContext<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.0.arm(&order);
        let n = ctx.get::<i64>("n").await?.unwrap_or_default() + 1;
        self.0.pass(Point::BeforeCommit)?;
        ctx.set("n", n);
        self.0.pass(Point::AfterCommit)?;
        // Whatever the handler does next; the state is in the journal before it.
        ctx.run(|| async { Ok(()) }).name("later").await?;
        self.0.pass(Point::AfterJournal)?;
        Ok(n)
    }
}

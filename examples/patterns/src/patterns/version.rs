//! An update of a version that was read, in a virtual object.
//!
//! The object keeps its own callers from meeting each other; the version shows a call that writes
//! past it.

use exactly_once::{
    AccountId, Amount, BalanceStore, Expected, IdempotencyKey, Result as StoreResult, engine::Step,
    restate::ExactlyOnce, sqlite::SqliteStore,
};
use restate_sdk::prelude::*;
use rusqlite::params;

use crate::{
    control::{Control, Faults, Order, Point},
    crash_store::CrashStore,
    plain::Plain,
};

/// What an account holds at first.
pub const OPENING: i64 = 1_000_000;

/// The recipe's accounts.
pub const TABLES: &str = "CREATE TABLE IF NOT EXISTS accounts (
    name TEXT PRIMARY KEY,
    cents INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT;";

/// Reads amount and version in a step; in the next, sets the amount if the version is still that.
pub struct VersionRecipe(pub Plain, pub Control);

#[restate_sdk::object]
impl VersionRecipe {
    #[handler]
    async fn run(&self, ctx: ObjectContext<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let (database, name) = (self.0.clone(), order.name.clone());
        let read = move || async move {
            let read = database.with(move |connection| {
                connection.execute(
                    "INSERT INTO accounts VALUES (?1, ?2, 1) ON CONFLICT DO NOTHING",
                    params![name, OPENING],
                )?;
                let sql = "SELECT cents, version FROM accounts WHERE name = ?1";
                let both = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
                Ok(connection.query_row(sql, [name], both)?)
            });
            Ok(Json(read.await?))
        };
        let Json((cents, version)): Json<(i64, i64)> = ctx.run(read).name("read").await?;
        let after = cents - order.cents;
        let (database, control) = (self.0.clone(), self.1.clone());
        let set = move || async move {
            let set = database.with(move |connection| {
                let transaction = connection.transaction()?;
                let changed = transaction.execute(
                    "UPDATE accounts SET cents = ?2, version = version + 1 \
                     WHERE name = ?1 AND version = ?3",
                    params![order.name, after, version],
                )?;
                control.pass(Point::BeforeCommit)?;
                transaction.commit()?;
                control.pass(Point::AfterCommit)?;
                Ok(changed)
            });
            match set.await? {
                1 => Ok(after),
                _ => Err(TerminalError::new_with_code(409, "somebody else was first").into()),
            }
        };
        let after = ctx.run(set).name("set").await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(after)
    }
}

/// The same steps; the operation is recorded with the change, and asked for before the version.
pub struct VersionOurs(pub CrashStore<SqliteStore>, pub SqliteStore, pub Control);

#[restate_sdk::object]
impl VersionOurs {
    #[handler]
    async fn run(&self, ctx: ObjectContext<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.2.arm(&order);
        let account = AccountId::new(order.name.as_str()).map_err(TerminalError::from)?;
        // Without crash points: this pattern is about the change. The first call opens it.
        let key = IdempotencyKey::new(order.name.as_str()).map_err(TerminalError::from)?;
        let open = Step::named("open").with_key(key);
        ctx.open_account(&self.1, open, &account, Amount::new(OPENING))
            .await?;
        let (store, reader) = (self.1.clone(), account.clone());
        let seen = ctx
            .durable_read("read", async move || Ok(store.balance(&reader).await?))
            .await?;
        let seen = seen.ok_or_else(|| TerminalError::new_with_code(404, "no such account"))?;
        let expected = Expected::Version(seen.version);
        let after = Amount::new(seen.amount.get() - order.cents);
        let set = ctx.compare_and_set(&self.0, "set", &account, expected, after);
        let set = set.await?;
        self.2.pass(Point::AfterJournal)?;
        Ok(set.change.after.get())
    }
}

/// How many changes an account of ours has had after its opening, and what it holds.
///
/// # Errors
/// As the store has them.
pub async fn look(store: &SqliteStore, name: &str) -> StoreResult<(i64, i64)> {
    let state = store.balance(&AccountId::new(name)?).await?;
    Ok(state.map_or((0, 0), |state| {
        (state.version.get() - 1, state.amount.get())
    }))
}

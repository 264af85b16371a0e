//! PREPARE in one step, COMMIT PREPARED in another; and ours over two databases.

use anyhow::Result;
use exactly_once::{
    postgres::{TokioPostgresStore, TokioPostgresTx},
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use restate_sdk::prelude::*;
use tokio_postgres::{Client, NoTls};

use super::insert_in;
use crate::{
    control::{Control, Faults, Order, Point},
    crash_store::CrashStore,
};

/// The orders, in Postgres; without a unique key, as the payments.
pub const ORDERS: &str =
    "CREATE TABLE IF NOT EXISTS orders (name text NOT NULL, cents int8 NOT NULL)";

/// Connects, as the recipe does for each step.
///
/// # Errors
/// As Postgres has them.
pub async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// The name of the transaction is the order's, which holds letters and dashes only.
pub struct TwoPhaseRecipe(pub String, pub Control);

#[restate_sdk::service]
impl TwoPhaseRecipe {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.1.arm(&order);
        let (url, control, name) = (self.0.clone(), self.1.clone(), order.name.clone());
        let cents = order.cents;
        let prepare = move || async move { Ok(prepare(&url, &control, &order).await?) };
        ctx.run(prepare).name("prepare").await?;
        self.1.pass(Point::Prepared)?;
        let (url, control) = (self.0.clone(), self.1.clone());
        let commit = move || async move { Ok(commit(&url, &control, &name).await?) };
        ctx.run(commit).name("commit").await?;
        self.1.pass(Point::AfterJournal)?;
        Ok(cents)
    }
}

async fn prepare(url: &str, control: &Control, order: &Order) -> Result<()> {
    let client = connect(url).await?;
    client.batch_execute("BEGIN").await?;
    let insert = "INSERT INTO orders (name, cents) VALUES ($1, $2)";
    client.execute(insert, &[&order.name, &order.cents]).await?;
    control.pass(Point::BeforePrepare)?;
    let prepare = format!("PREPARE TRANSACTION '{}'", order.name);
    client.batch_execute(&prepare).await?;
    control.pass(Point::AfterPrepare)?;
    Ok(())
}

async fn commit(url: &str, control: &Control, name: &str) -> Result<()> {
    let client = connect(url).await?;
    control.pass(Point::BeforeCommit)?;
    client
        .batch_execute(&format!("COMMIT PREPARED '{name}'"))
        .await?;
    control.pass(Point::AfterCommit)?;
    Ok(())
}

/// The order in Postgres and its payment in SQLite, all or none. The register is in Postgres.
pub struct TwoPhaseOurs(
    pub CrashStore<TokioPostgresStore>,
    pub SqliteStore,
    pub Control,
);

#[restate_sdk::service]
impl TwoPhaseOurs {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(order): Json<Order>) -> HandlerResult<i64> {
        self.2.arm(&order);
        let (orders, payments) = (self.0.clone(), self.1.clone());
        let (row, payment) = (order.clone(), order.clone());
        ctx.two_phase(&self.0, "order", &order, move |transaction| {
            transaction
                .participant("orders", &orders, async move |tx: &mut TokioPostgresTx| {
                    let insert = "INSERT INTO orders (name, cents) VALUES ($1, $2)";
                    tx.client()?
                        .execute(insert, &[&row.name, &row.cents])
                        .await?;
                    Ok(())
                })
                .participant("payments", &payments, async move |tx: &mut SqliteTx| {
                    insert_in(tx, payment).await.map(drop)
                })
        })
        .await?;
        self.2.pass(Point::AfterJournal)?;
        Ok(order.cents)
    }
}

//! One transaction over two databases, without a durable engine: both files change, or none does,
//! wherever the process crashes. Run it with
//! `cargo run -p exactly-once --example two_databases --features rusqlite`.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use exactly_once::{
    Participation,
    sqlite::{SqliteStore, SqliteTx},
    two_phase::{Sweeper, TwoPhaseCommit, TwoPhaseOutcome},
};

/// Moves 30 cents. Call it until it returns an outcome, in any process: a retry goes on where an
/// earlier attempt crashed, and pays once.
pub(crate) async fn pay(
    bank: &SqliteStore,
    shop: &SqliteStore,
) -> exactly_once::Result<TwoPhaseOutcome> {
    // The bank records name, request and deadline before the transaction uses them, and decides it.
    let minute = Duration::from_secs(60);
    let payment = Participation::recorded(bank, "payment 17", &("alice", 30), minute).await?;
    let take = "UPDATE account SET cents = cents - 30 WHERE owner = 'alice'";
    let give = "UPDATE account SET cents = cents + 30 WHERE owner = 'alice'";
    TwoPhaseCommit::new(bank, payment)
        .participant("bank", bank, async |tx: &mut SqliteTx| {
            tx.run(|db| db.execute(take, [])).await?;
            Ok(())
        })
        .participant("shop", shop, async |tx: &mut SqliteTx| {
            tx.run(|db| db.execute(give, [])).await?;
            Ok(())
        })
        .run()
        .await
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for file in ["bank.db", "shop.db"] {
        rusqlite::Connection::open(folder.path().join(file))?.execute_batch(
            "CREATE TABLE account (owner TEXT PRIMARY KEY, cents INTEGER NOT NULL) STRICT; \
             INSERT INTO account VALUES ('alice', 100)",
        )?;
    }
    let bank = SqliteStore::open(folder.path().join("bank.db")).await?;
    let shop = SqliteStore::open(folder.path().join("shop.db")).await?;
    println!("paid: {:?}", pay(&bank, &shop).await?);
    println!("a retry: {:?}", pay(&bank, &shop).await?);

    // Run one now and then: it resolves what a process left that never retries, past the deadline.
    let sweeper = Sweeper::new(bank.clone()).participant("bank", bank)?;
    let report = sweeper.participant("shop", shop)?.sweep().await?;
    println!("left in doubt: {}", report.waiting);
    Ok(())
}

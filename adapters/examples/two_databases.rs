//! One transaction over two databases, without a durable engine: both files change, or none does,
//! wherever the process crashes. Run it with
//! `cargo run -p exactly-once --example two_databases --features rusqlite`.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use exactly_once::{
    Participation,
    coordinator::{Outcome, Sweeper, TwoPhaseCommit},
    sqlite::{SqliteStore, SqliteTx},
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    for (file, rows) in [("bank.db", "('alice', 100)"), ("shop.db", "('alice', 0)")] {
        rusqlite::Connection::open(folder.path().join(file))?.execute_batch(&format!(
            "CREATE TABLE account (owner TEXT PRIMARY KEY, amount INTEGER NOT NULL) STRICT; \
             INSERT INTO account VALUES {rows};"
        ))?;
    }
    let bank = SqliteStore::open(folder.path().join("bank.db")).await?;
    let shop = SqliteStore::open(folder.path().join("shop.db")).await?;

    // The bank keeps the decision, and the deadline: name and deadline are the same in every attempt.
    let minute = Duration::from_secs(60);
    let payment = Participation::recorded(&bank, "payment 17", &("alice", 30), minute).await?;

    // Call it until it returns an outcome. A process that crashed half way calls it again.
    let pay = async || {
        let take = "UPDATE account SET amount = amount - 30 WHERE owner = 'alice'";
        let give = "UPDATE account SET amount = amount + 30 WHERE owner = 'alice'";
        TwoPhaseCommit::new(&bank, payment.clone())
            .participant("bank", &bank, async |tx: &mut SqliteTx| {
                tx.run(|db| db.execute(take, [])).await?;
                Ok(())
            })
            .participant("shop", &shop, async |tx: &mut SqliteTx| {
                tx.run(|db| db.execute(give, [])).await?;
                Ok(())
            })
            .run()
            .await
    };
    for attempt in ["first", "second"] {
        let outcome = pay().await?;
        println!(
            "{attempt} attempt: {}",
            matches!(outcome, Outcome::Committed)
        );
    }

    // What a process leaves that never comes back, a sweeper resolves once the deadline has passed.
    let sweeper = Sweeper::new(bank.clone()).participant("bank", bank.clone())?;
    let report = sweeper.participant("shop", shop.clone())?.sweep().await?;
    println!("left in doubt: {}", report.waiting);
    for store in [&bank, &shop] {
        let sql = "SELECT amount FROM account";
        let mut tx = exactly_once::Transactional::begin(store).await?;
        let amount: i64 = tx.run(|db| db.query_row(sql, [], |row| row.get(0))).await?;
        println!("{amount}");
    }
    Ok(())
}

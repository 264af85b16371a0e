//! A payment that is made once, however often it is asked for: your own SQL in the transaction that
//! holds the idempotency key. Run it twice; the second run returns the first one's answer:
//! `cargo run -p exactly-once --example sqlite_quickstart --features rusqlite`.
#![allow(clippy::print_stdout)]

use std::path::Path;

use exactly_once::{
    Claim, ExecuteOnce, Fingerprint, IdempotencyKey, Result,
    sqlite::{SqliteStore, SqliteTx},
};

/// The number of the payment, and whether an earlier attempt made it.
pub(crate) async fn pay(file: &Path, order: &str, cents: i64) -> Result<(i64, bool)> {
    let store = SqliteStore::open(file).await?;
    // The key names the effect, the fingerprint the request: one key with another amount is an error.
    let key = IdempotencyKey::new(format!("pay/{order}"))?;
    let claim = Claim::new(key, Fingerprint::of("pay", &(order, cents))?);
    let done = store
        .execute_once(&claim, async move |tx: &mut SqliteTx| {
            let number = tx
                .run(move |db| {
                    db.execute_batch(
                        "CREATE TABLE IF NOT EXISTS payment (cents INTEGER NOT NULL)",
                    )?;
                    db.execute("INSERT INTO payment VALUES (?1)", [cents])?;
                    Ok(db.last_insert_rowid())
                })
                .await?;
            Ok(number)
        })
        .await?;
    Ok((done.value, done.replayed))
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<()> {
    let file = std::env::temp_dir().join("exactly-once-quickstart.db");
    let (number, replayed) = pay(&file, "17", 500).await?;
    println!("payment {number}, replayed: {replayed}");
    Ok(())
}

//! The service's own tables, in the same database as the library's.
//!
//! None of them has a unique key on purpose: if an effect happened twice, both rows would be there
//! for the audit to see.

use exactly_once::{Result, Transactional, WorkError, sqlite::SqliteTx};
use rusqlite::{OptionalExtension, params};

use crate::model::{Charge, Refund};

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS payments (
    payment TEXT NOT NULL,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    refunded INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS payments_by_name ON payments (payment);
CREATE TABLE IF NOT EXISTS refunds (
    request TEXT NOT NULL,
    payment TEXT NOT NULL,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL
) STRICT;
";

/// Makes the tables, in a transaction of the store's.
///
/// # Errors
/// As the store has them.
pub async fn create<S: Transactional<Tx = SqliteTx>>(store: &S) -> Result<()> {
    let mut tx = store.begin().await?;
    tx.run(|connection| connection.execute_batch(TABLES))
        .await?;
    store.commit(tx).await
}

/// Writes a payment.
///
/// # Errors
/// As SQLite has them.
pub async fn insert_payment(tx: &mut SqliteTx, charge: Charge) -> Result<(), WorkError> {
    tx.run(move |connection| {
        connection.execute(
            "INSERT INTO payments (payment, account, amount) VALUES (?1, ?2, ?3)",
            params![charge.payment, charge.account, charge.amount],
        )
    })
    .await?;
    Ok(())
}

/// Marks a payment as refunded, if it is not yet, and gives who paid and how much.
///
/// # Errors
/// As SQLite has them.
pub async fn refund_payment(
    tx: &mut SqliteTx,
    refund: Refund,
) -> Result<Option<(String, i64)>, WorkError> {
    let found = tx
        .run(move |connection| {
            let found: Option<(String, i64)> = connection
                .query_row(
                    "UPDATE payments SET refunded = 1 WHERE payment = ?1 AND refunded = 0 \
                     RETURNING account, amount",
                    [&refund.payment],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            if let Some((account, amount)) = &found {
                connection.execute(
                    "INSERT INTO refunds (request, payment, account, amount) \
                     VALUES (?1, ?2, ?3, ?4)",
                    params![refund.request, refund.payment, account, amount],
                )?;
            }
            Ok(found)
        })
        .await?;
    Ok(found)
}

//! The work in each database, in the driver's own terms.

use exactly_once::{
    Rejection, WorkError,
    postgres::{TokioPostgresStore, TokioPostgresTx},
    redis::{RedisStore, RedisTx},
    sqlite::{SqliteStore, SqliteTx},
};
use rusqlite::{OptionalExtension, params};

use crate::{control::Faults, crash_store::CrashStore, model::Order};

/// Writes the order's row.
///
/// # Errors
/// As Postgres has them.
pub async fn write_order<F: Faults>(
    tx: &mut TokioPostgresTx,
    store: &CrashStore<TokioPostgresStore, F>,
    order: &Order,
) -> Result<(), WorkError> {
    tx.client()?
        .execute(
            "INSERT INTO orders (name, customer, item, units) VALUES ($1, $2, $3, $4)",
            &[&order.name, &order.customer, &order.item, &order.units],
        )
        .await?;
    store.in_work().await;
    Ok(())
}

/// Takes the units out of stock, if there are as many.
///
/// # Errors
/// A rejection where there are not; as SQLite has them.
pub async fn take_stock<F: Faults>(
    tx: &mut SqliteTx,
    store: &CrashStore<SqliteStore, F>,
    order: Order,
) -> Result<(), WorkError> {
    let (item, units) = (order.item.clone(), order.units);
    let left: Option<i64> = tx
        .run(move |connection| {
            connection
                .query_row(
                    "UPDATE stock SET units = units - ?2 WHERE item = ?1 AND units >= ?2 \
                     RETURNING units",
                    params![item, units],
                    |row| row.get(0),
                )
                .optional()
        })
        .await?;
    if left.is_none() {
        return Err(Rejection::new(422, "out of stock").into());
    }
    store.in_work().await;
    tx.run(move |connection| {
        connection.execute(
            "INSERT INTO shipments (name, item, units) VALUES (?1, ?2, ?3)",
            params![order.name, order.item, order.units],
        )
    })
    .await?;
    Ok(())
}

/// Uses up the customer's quota, if there is as much of it.
///
/// # Errors
/// A rejection where there is not; as Redis has them.
pub async fn use_quota<F: Faults>(
    tx: &mut RedisTx,
    store: &CrashStore<RedisStore, F>,
    order: &Order,
) -> Result<(), WorkError> {
    let key = format!("quota:{}", order.customer);
    let left: i64 = match tx.get(&key).await? {
        Some(left) => String::from_utf8_lossy(&left).parse()?,
        None => 0,
    };
    if left < order.units {
        return Err(Rejection::new(402, "over the quota").into());
    }
    store.in_work().await;
    tx.incr_by(&key, -order.units)?;
    let used = format!("used:{}", order.customer);
    tx.rpush(used, format!("{} {}", order.name, order.units))?;
    Ok(())
}

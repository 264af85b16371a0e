//! A row in each store, in the driver's own terms.

use std::hash::{DefaultHasher, Hash, Hasher};

use exactly_once::{
    Statement, WorkError, postgres::TokioPostgresTx, redis::RedisTx, sqlite::SqliteTx,
};

use crate::model::{Place, Row};

/// Over how many lists the rows in Redis are spread.
pub const LISTS: u64 = 16;

/// A row that no other attempt writes.
#[must_use]
pub fn stamped(name: String, amount: i64) -> Row {
    Row {
        name,
        amount,
        stamp: i64::from(rand::random::<u32>()) << 16 | i64::from(rand::random::<u16>()),
    }
}

/// Writes it.
///
/// # Errors
/// As Postgres has them.
pub async fn in_postgres(tx: &mut TokioPostgresTx, row: Row) -> Result<Row, WorkError> {
    let insert = "INSERT INTO effects (name, amount, stamp) VALUES ($1, $2, $3)";
    tx.client()?
        .execute(insert, &[&row.name, &row.amount, &row.stamp])
        .await?;
    Ok(row)
}

/// Writes it.
///
/// # Errors
/// As SQLite has them.
pub async fn in_sqlite(tx: &mut SqliteTx, row: Row) -> Result<Row, WorkError> {
    let insert = "INSERT INTO effects (name, amount, stamp) VALUES (?1, ?2, ?3)";
    let written = row.clone();
    tx.run(move |connection| connection.execute(insert, (row.name, row.amount, row.stamp)))
        .await?;
    Ok(written)
}

/// Writes it.
///
/// # Errors
/// As Redis has them.
pub fn in_redis(tx: &mut RedisTx, row: Row) -> Result<Row, WorkError> {
    tx.rpush(list(&row.name), entry(&row))?;
    Ok(row)
}

/// The statement that writes it.
#[must_use]
pub fn statement(place: Place, row: &Row) -> Statement {
    match place {
        Place::Postgres => sql(
            "INSERT INTO effects (name, amount, stamp) VALUES ($1, $2, $3)",
            row,
        ),
        Place::Sqlite => sql(
            "INSERT INTO effects (name, amount, stamp) VALUES (?1, ?2, ?3)",
            row,
        ),
        Place::Redis => Statement::new("RPUSH")
            .bind(list(&row.name))
            .bind(entry(row)),
    }
}

fn sql(text: &str, row: &Row) -> Statement {
    Statement::new(text)
        .bind(row.name.as_str())
        .bind(row.amount)
        .bind(row.stamp)
        .expecting_rows(1)
}

fn list(name: &str) -> String {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    format!("effects:{}", hasher.finish() % LISTS)
}

fn entry(row: &Row) -> String {
    format!("{} {} {}", row.name, row.amount, row.stamp)
}

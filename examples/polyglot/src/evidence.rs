//! What is in the databases after the load, by plain SQL and drivers of their own.

use std::{collections::HashMap, path::Path};

use anyhow::{Context, Result};

/// A payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The number that the database gave it.
    pub id: i64,
    /// How much.
    pub cents: i64,
    /// Which till.
    pub language: String,
}

/// All rows, by the order that they belong to.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Payments.
    pub payments: HashMap<String, Vec<Payment>>,
    /// Payments that were paid back.
    pub refunds: HashMap<String, Vec<i64>>,
    /// Pieces that were taken, by item.
    pub taken: HashMap<String, Vec<String>>,
    /// What is left of each item.
    pub pieces: HashMap<String, i64>,
    /// Transactions left prepared and undecided, in both stores.
    pub in_doubt: u64,
}

impl Evidence {
    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        let payments: usize = self.payments.values().map(Vec::len).sum();
        let refunds: usize = self.refunds.values().map(Vec::len).sum();
        let taken: usize = self.taken.values().map(Vec::len).sum();
        payments + refunds + taken
    }
}

/// Makes the tables of the shop.
///
/// # Errors
/// Where a database can't be reached.
pub async fn create(ledger: &str, stock: &Path, items: &[&str], pieces: i64) -> Result<()> {
    let client = connect(ledger).await?;
    client
        .batch_execute(
            "CREATE TABLE payment (
               id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
               order_name text NOT NULL, cents int8 NOT NULL, language text NOT NULL);
             CREATE TABLE refund (order_name text NOT NULL, payment int8 NOT NULL)",
        )
        .await?;
    let db = rusqlite::Connection::open(stock)?;
    db.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL) STRICT;
         CREATE TABLE taken (order_name TEXT NOT NULL, item TEXT NOT NULL) STRICT;",
    )?;
    for item in items {
        db.execute("INSERT INTO stock VALUES (?1, ?2)", (item, pieces))?;
    }
    Ok(())
}

/// Reads all of it.
///
/// # Errors
/// Where a database can't be read.
pub async fn read(ledger: &str, stock: &Path) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    let client = connect(ledger).await?;
    let payments = "SELECT order_name, id, cents, language FROM payment ORDER BY id";
    for row in client.query(payments, &[]).await? {
        let payment = Payment {
            id: row.get(1),
            cents: row.get(2),
            language: row.get(3),
        };
        let of = evidence.payments.entry(row.get(0)).or_default();
        of.push(payment);
    }
    for row in client
        .query("SELECT order_name, payment FROM refund", &[])
        .await?
    {
        let of = evidence.refunds.entry(row.get(0)).or_default();
        of.push(row.get(1));
    }
    let prepared = client
        .query_one("SELECT count(*) FROM pg_prepared_xacts", &[])
        .await?;
    evidence.in_doubt = u64::try_from(prepared.get::<_, i64>(0)).unwrap_or_default();
    let db = rusqlite::Connection::open(stock)?;
    let mut statement = db.prepare("SELECT order_name, item FROM taken")?;
    let taken = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    for row in taken {
        let (order, item) = row?;
        evidence.taken.entry(order).or_default().push(item);
    }
    let mut statement = db.prepare("SELECT item, pieces FROM stock")?;
    let pieces = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    evidence.pieces = pieces.collect::<rusqlite::Result<_>>()?;
    Ok(evidence)
}

/// What is staged in the SQLite file and undecided; only a store of the library knows.
///
/// # Errors
/// Where the file can't be opened as a store.
pub async fn staged(stock: &Path) -> Result<u64> {
    use exactly_once::{Namespace, PreparedTransactions, Store, sqlite::SqliteStore};
    let store = SqliteStore::open(stock).await?;
    let shop = store.with_namespace(Namespace::new("shop")?);
    let page = shop.in_doubt(None, 100).await?;
    store.close().await?;
    Ok(page.entries.len() as u64)
}

async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let connecting = tokio_postgres::connect(url, tokio_postgres::NoTls).await;
    let (client, connection) = connecting.context("can't connect to Postgres")?;
    tokio::spawn(connection);
    Ok(client)
}

//! What is in the three databases, read by plain drivers: nothing of this library is in between.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use redis::{AsyncCommands, aio::MultiplexedConnection};
use tokio_postgres::NoTls;

use crate::{model::Order, stores::Addresses};

/// The keys that the library has for itself in Redis.
const OWN_KEYS: &str = "exactly-once:*";

/// An order in one database, as far as that one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The order.
    pub name: String,
    /// Who ordered.
    pub customer: Option<String>,
    /// What was ordered.
    pub item: Option<String>,
    /// How many.
    pub units: i64,
}

impl Row {
    /// Whether it says nothing else than the order does.
    #[must_use]
    pub fn is_of(&self, order: &Order) -> bool {
        let same = |known: &Option<String>, asked: &str| {
            known.as_deref().is_none_or(|known| known == asked)
        };
        self.name == order.name
            && self.units == order.units
            && same(&self.customer, &order.customer)
            && same(&self.item, &order.item)
    }
}

/// All that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The rows in Postgres.
    pub orders: Vec<Row>,
    /// The rows in SQLite.
    pub shipments: Vec<Row>,
    /// The entries in Redis.
    pub uses: Vec<Row>,
    /// What is left of each item.
    pub stock: BTreeMap<String, i64>,
    /// What is left of each customer's quota.
    pub quota: BTreeMap<String, i64>,
    /// What is in doubt, staged, reserved or locked; in words.
    pub left_behind: Vec<String>,
}

/// Reads all three.
///
/// # Errors
/// Where one can't be read.
pub async fn read(addresses: &Addresses) -> Result<Evidence> {
    let mut evidence = Evidence::default();
    read_postgres(&addresses.postgres, &mut evidence)
        .await
        .context("can't read Postgres")?;
    read_sqlite(addresses, &mut evidence).context("can't read SQLite")?;
    read_redis(&addresses.redis, &mut evidence)
        .await
        .context("can't read Redis")?;
    Ok(evidence)
}

async fn read_postgres(url: &str, evidence: &mut Evidence) -> Result<()> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    for row in client
        .query("SELECT name, customer, item, units FROM orders", &[])
        .await?
    {
        evidence.orders.push(Row {
            name: row.get(0),
            customer: Some(row.get(1)),
            item: Some(row.get(2)),
            units: row.get(3),
        });
    }
    for (what, sql) in [
        (
            "prepared transactions in Postgres",
            "SELECT count(*) FROM pg_prepared_xacts",
        ),
        (
            "locks of nobody in Postgres",
            "SELECT count(*) FROM pg_locks WHERE pid IS NULL",
        ),
        (
            "decisions in the register that not everybody was told",
            "SELECT count(*) FROM exactly_once.decisions WHERE NOT finished",
        ),
    ] {
        let count: i64 = client.query_one(sql, &[]).await?.get(0);
        evidence.left(what, count);
    }
    // A row that is locked makes this wait, and then fail.
    let lock = "BEGIN; SET LOCAL lock_timeout = '1s'; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE";
    let locked = client.batch_execute(lock).await.is_err();
    client.batch_execute("ROLLBACK").await?;
    evidence.left("lock on the orders", locked.into());
    drop(client);
    connection.await??;
    Ok(())
}

fn read_sqlite(addresses: &Addresses, evidence: &mut Evidence) -> Result<()> {
    let connection = rusqlite::Connection::open(&addresses.sqlite)?;
    connection.busy_timeout(std::time::Duration::from_secs(1))?;
    let mut shipments = connection.prepare("SELECT name, item, units FROM shipments")?;
    let rows = shipments.query_map([], |row| {
        Ok(Row {
            name: row.get(0)?,
            customer: None,
            item: Some(row.get(1)?),
            units: row.get(2)?,
        })
    })?;
    evidence.shipments = rows.collect::<Result<_, _>>()?;
    let mut stock = connection.prepare("SELECT item, units FROM stock")?;
    let rows = stock.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    evidence.stock = rows.collect::<Result<_, _>>()?;
    for (what, sql) in [
        (
            "prepared transactions in SQLite",
            "SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared'",
        ),
        (
            "staged statements in SQLite",
            "SELECT count(*) FROM exactly_once_redo",
        ),
        (
            "reservations in SQLite",
            "SELECT count(*) FROM exactly_once_reservation",
        ),
    ] {
        let count = connection.query_row(sql, [], |row| row.get(0))?;
        evidence.left(what, count);
    }
    // The library's triggers refuse this where a row is reserved.
    let write = "BEGIN IMMEDIATE; UPDATE stock SET units = units";
    let locked = connection.execute_batch(write).is_err();
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    evidence.left("lock on the stock", locked.into());
    Ok(())
}

async fn read_redis(url: &str, evidence: &mut Evidence) -> Result<()> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    for key in keys(&mut connection, "quota:*").await? {
        let left: i64 = connection.get(&key).await?;
        let customer = key.trim_start_matches("quota:").to_owned();
        evidence.quota.insert(customer, left);
    }
    for key in keys(&mut connection, "used:*").await? {
        let entries: Vec<String> = connection.lrange(&key, 0, -1).await?;
        let customer = key.trim_start_matches("used:");
        for entry in entries {
            let (name, units) = entry.rsplit_once(' ').context("no entry of ours")?;
            evidence.uses.push(Row {
                name: name.to_owned(),
                customer: Some(customer.to_owned()),
                item: None,
                units: units.parse()?,
            });
        }
    }
    let (mut prepared, mut reserved) = (0, 0);
    for key in keys(&mut connection, OWN_KEYS).await? {
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await?;
        if kind != "hash" {
            continue;
        }
        if key.ends_with(":reserved") {
            reserved += connection.hlen::<_, i64>(&key).await?;
        } else if connection.hget::<_, _, Option<String>>(&key, "s").await? == Some("P".into()) {
            prepared += 1;
        }
    }
    evidence.left("prepared transactions in Redis", prepared);
    evidence.left("reservations in Redis", reserved);
    Ok(())
}

async fn keys(connection: &mut MultiplexedConnection, pattern: &str) -> Result<Vec<String>> {
    // The server is at rest and small.
    Ok(connection.keys(pattern).await?)
}

impl Evidence {
    fn left(&mut self, what: &str, count: i64) {
        if count > 0 {
            self.left_behind.push(format!("{count} {what}"));
        }
    }
}

//! What is in the databases, read by plain drivers: nothing of this library is in between.

mod redis_keys;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use exactly_once_order::audit::evidence as orders;

use crate::{
    driver::world::World,
    model::{Line, Place, Row},
    outside::Log,
};

/// A line of a history, with its operation's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What was changed.
    pub line: Line,
}

/// The row of an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The key.
    pub key: String,
    /// What it says.
    pub state: KeyState,
}

/// What the row of a key says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Applied, with this receipt.
    Applied(String),
    /// Rejected, with these words.
    Rejected(String),
    /// Held by a lease.
    Leased {
        /// Whether its deadline has passed.
        over: bool,
    },
}

/// What is in one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The rows that effects have written.
    pub rows: Vec<Row>,
    /// The idempotency keys.
    pub keys: Vec<KeyRow>,
    /// The balances: amount and version.
    pub accounts: BTreeMap<String, (i64, i64)>,
    /// The history, by account and version.
    pub history: Vec<Change>,
    /// The records of balance operations, where they are apart from the history.
    pub operations: Option<Vec<String>>,
    /// What is damaged; in words.
    pub damage: Vec<String>,
}

/// All that is there.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Each store.
    pub stores: BTreeMap<Place, Held>,
    /// What concerns orders, and what is in doubt or locked anywhere.
    pub orders: orders::Evidence,
    /// The world outside.
    pub outside: Log,
    /// How often it has turned a zombie away.
    pub fenced: u64,
}

/// Reads everything.
///
/// # Errors
/// Where something can't be read.
pub async fn read(world: &World) -> Result<Evidence> {
    let addresses = &world.addresses;
    let (outside, fenced) = world.outside.log();
    let postgres = tables::postgres(&addresses.postgres).await;
    let redis = redis_keys::read(&addresses.redis).await;
    Ok(Evidence {
        stores: BTreeMap::from([
            (Place::Postgres, postgres.context("can't read Postgres")?),
            (
                Place::Sqlite,
                tables::sqlite(&addresses.sqlite).context("can't read SQLite")?,
            ),
            (Place::Redis, redis.context("can't read Redis")?),
        ]),
        orders: orders::read(addresses).await?,
        outside,
        fenced,
    })
}

//! The tables, and the one place that makes them.

use exactly_once_core::{ErrorKind, Result, StoreIdentity};
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use crate::error::{During, error};

/// `(namespace, key)` to where the key stands. redb keeps the two parts apart by their lengths, so
/// no pair of names runs into another.
pub(crate) const KEYS: TableDefinition<(&str, &str), KeyValue> =
    TableDefinition::new("exactly_once.keys");

/// Fingerprint, state (see `key_row`), fencing token, deadline or moment of completion, end of the
/// retention, HTTP status, and the receipt or message.
pub(crate) type KeyValue = (
    &'static [u8; 32],
    u8,
    i64,
    i64,
    Option<i64>,
    u16,
    &'static [u8],
);

/// `(namespace, end of the retention, key)`, so that expiry need not look at every key.
pub(crate) const ENDS: TableDefinition<(&str, i64, &str), ()> =
    TableDefinition::new("exactly_once.ends");

/// `(namespace, account)` to amount, version, floor, and whether it is open.
pub(crate) const ACCOUNTS: TableDefinition<(&str, &str), AccountValue> =
    TableDefinition::new("exactly_once.accounts");

pub(crate) type AccountValue = (i64, i64, Option<i64>, bool);

/// `(namespace, account, version)` to the operation's key and kind, delta, before, after.
pub(crate) const HISTORY: TableDefinition<(&str, &str, i64), HistoryValue> =
    TableDefinition::new("exactly_once.history");

pub(crate) type HistoryValue = (&'static str, &'static str, i64, i64, i64);

/// `(namespace, operation's key)` to its fingerprint and its changes, by account and version.
pub(crate) const OPERATIONS: TableDefinition<(&str, &str), OperationValue> =
    TableDefinition::new("exactly_once.operations");

pub(crate) type OperationValue = (&'static [u8; 32], Vec<(&'static str, i64)>);

/// `(namespace, operation's key)` of what was refused, to its fingerprint and the refusal.
pub(crate) const REFUSED: TableDefinition<(&str, &str), RefusedValue> =
    TableDefinition::new("exactly_once.refused");

pub(crate) type RefusedValue = (&'static [u8; 32], &'static str);

/// Numbers of the whole file.
pub(crate) const NUMBERS: TableDefinition<&str, i64> = TableDefinition::new("exactly_once.numbers");

/// The last fencing token that was given, of any key: so tokens grow whatever is removed.
pub(crate) const LAST_TOKEN: &str = "last fencing token";

/// What belongs to the whole file, as bytes.
pub(crate) const BYTES: TableDefinition<&str, &[u8; 16]> =
    TableDefinition::new("exactly_once.bytes");

/// The identity of the data: made with the tables, and in every copy of the file.
pub(crate) const IDENTITY: &str = "identity";

const VERSION: &str = "schema version";
const CURRENT: i64 = 1;
const OPERATION: &str = "open";

/// Whether the file has these tables already.
pub(crate) fn is_ready(tx: &ReadTransaction) -> Result<bool> {
    let version = match tx.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(false),
        numbers => numbers.during(OPERATION)?.get(VERSION).during(OPERATION)?,
    };
    check(version.map(|version| version.value()))
}

/// Makes what is missing. The transaction is the lock against others who do the same.
pub(crate) fn migrate(tx: &WriteTransaction) -> Result<()> {
    let mut numbers = tx.open_table(NUMBERS).during(OPERATION)?;
    let version = numbers
        .get(VERSION)
        .during(OPERATION)?
        .map(|version| version.value());
    if check(version)? {
        return Ok(());
    }
    tx.open_table(KEYS).during(OPERATION)?;
    tx.open_table(ENDS).during(OPERATION)?;
    tx.open_table(ACCOUNTS).during(OPERATION)?;
    tx.open_table(HISTORY).during(OPERATION)?;
    tx.open_table(OPERATIONS).during(OPERATION)?;
    tx.open_table(REFUSED).during(OPERATION)?;
    let identity = StoreIdentity::random();
    tx.open_table(BYTES)
        .during(OPERATION)?
        .insert(IDENTITY, identity.as_bytes())
        .during(OPERATION)?;
    numbers.insert(VERSION, CURRENT).during(OPERATION)?;
    Ok(())
}

fn check(version: Option<i64>) -> Result<bool> {
    match version {
        None => Ok(false),
        Some(CURRENT) => Ok(true),
        Some(other) => Err(error(
            ErrorKind::Configuration,
            OPERATION,
            &format!(
                "the tables have version {other}, and this program knows {CURRENT}: update it"
            ),
        )),
    }
}

//! What a database holds, read with plain SQL and not through any store.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags, Row};

/// An effect as it stands in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The payment, the refund's request, or the transfer.
    pub name: String,
    /// Whose balance it is about.
    pub account: String,
    /// What it added.
    pub delta: i64,
}

/// A line of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The account.
    pub account: String,
    /// Its version after the change.
    pub version: i64,
    /// The operation's key.
    pub key: String,
    /// What was added.
    pub delta: i64,
    /// The balance before.
    pub before: i64,
    /// The balance after.
    pub after: i64,
}

/// All that the audit looks at.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Every payment's row.
    pub payments: Vec<Effect>,
    /// Every refund's row.
    pub refunds: Vec<Effect>,
    /// Every transfer, as its debit.
    pub transfers: Vec<Effect>,
    /// Every account's balance.
    pub balances: BTreeMap<String, i64>,
    /// The history by account and version, where the recipe keeps one.
    pub history: Option<Vec<Change>>,
    /// How many transactions are prepared and undecided.
    pub in_doubt: i64,
}

impl Evidence {
    /// How many effects there are.
    #[must_use]
    pub fn effects(&self) -> usize {
        self.payments.len() + self.refunds.len() + self.transfers.len()
    }

    /// The sum of all balances.
    #[must_use]
    pub fn sum(&self) -> i128 {
        self.balances
            .values()
            .map(|balance| i128::from(*balance))
            .sum()
    }
}

/// Reads what the payment service's own tables and the library's tables hold.
///
/// # Errors
/// As SQLite has them.
pub fn read(file: &Path) -> Result<Evidence> {
    let reader = Reader::open(file)?;
    Ok(Evidence {
        payments: reader.effects("SELECT payment, account, -amount FROM payments")?,
        refunds: reader.effects("SELECT request, account, amount FROM refunds")?,
        transfers: reader.effects(
            "SELECT substr(key, 10), account, delta FROM exactly_once_change \
             WHERE kind = 'transfer' AND leg = 0",
        )?,
        balances: reader.balances("SELECT account, amount FROM exactly_once_account")?,
        history: Some(reader.rows(
            "SELECT account, version, key, delta, before, after FROM exactly_once_change \
             ORDER BY account, version",
            |row| {
                Ok(Change {
                    account: row.get(0)?,
                    version: row.get(1)?,
                    key: row.get(2)?,
                    delta: row.get(3)?,
                    before: row.get(4)?,
                    after: row.get(5)?,
                })
            },
        )?),
        in_doubt: reader
            .rows(
                "SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared'",
                |row| row.get::<_, i64>(0),
            )?
            .into_iter()
            .sum(),
    })
}

/// A database, to be read only.
#[derive(Debug)]
pub struct Reader(Connection);

impl Reader {
    /// Opens the file.
    ///
    /// # Errors
    /// Where there is none.
    pub fn open(file: &Path) -> Result<Self> {
        Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .map(Self)
            .with_context(|| format!("the audit can't open {}", file.display()))
    }

    /// Rows of name, account and delta.
    ///
    /// # Errors
    /// As SQLite has them.
    pub fn effects(&self, sql: &str) -> Result<Vec<Effect>> {
        self.rows(sql, |row| {
            Ok(Effect {
                name: row.get(0)?,
                account: row.get(1)?,
                delta: row.get(2)?,
            })
        })
    }

    /// Rows of account and balance.
    ///
    /// # Errors
    /// As SQLite has them.
    pub fn balances(&self, sql: &str) -> Result<BTreeMap<String, i64>> {
        let rows = self.rows(sql, |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }

    fn rows<T>(&self, sql: &str, read: impl Fn(&Row<'_>) -> rusqlite::Result<T>) -> Result<Vec<T>> {
        let mut statement = self.0.prepare(sql)?;
        let rows = statement.query_map([], |row| read(row))?;
        rows.collect::<rusqlite::Result<_>>()
            .context("the audit can't read")
    }
}

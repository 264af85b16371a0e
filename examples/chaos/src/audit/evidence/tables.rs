//! What Postgres and SQLite hold, by plain SQL.

use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::{Connection, OpenFlags};
use tokio_postgres::{Client, NoTls};

use super::{Change, Held, KeyRow, KeyState};
use crate::model::{Line, NAMESPACE, Row};

const KEYS: &str = "SELECT convert_from(key, 'UTF8'), outcome, convert_from(body, 'UTF8'), \
    to_timestamp(lease_until / 1e6) <= now() FROM exactly_once.keys WHERE namespace = $1";
const ACCOUNTS: &str = "SELECT convert_from(account, 'UTF8'), amount, version \
    FROM exactly_once.accounts WHERE namespace = $1";
/// The records of operations too: what was refused has no account.
const HISTORY: &str = "SELECT convert_from(key, 'UTF8'), convert_from(account, 'UTF8'), version, \
    delta, after - delta, after FROM exactly_once.changes \
    WHERE namespace = $1 AND account IS NOT NULL ORDER BY account, version";

pub(super) async fn postgres(url: &str) -> Result<Held> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let connection = tokio::spawn(connection);
    let held = read_postgres(&client).await?;
    drop(client);
    connection.await??;
    Ok(held)
}

async fn read_postgres(client: &Client) -> Result<Held> {
    let mut held = Held::default();
    for row in client
        .query("SELECT name, amount, stamp FROM effects", &[])
        .await?
    {
        held.rows.push(Row {
            name: row.get(0),
            amount: row.get(1),
            stamp: row.get(2),
        });
    }
    let namespace = NAMESPACE.as_bytes();
    for row in client.query(KEYS, &[&namespace]).await? {
        let body = row.get::<_, Option<String>>(2).unwrap_or_default();
        let state = match row.get::<_, Option<i16>>(1) {
            Some(1) => KeyState::Applied(body),
            Some(_) => KeyState::Rejected(body),
            None => KeyState::Leased { over: row.get(3) },
        };
        held.keys.push(KeyRow {
            key: row.get(0),
            state,
        });
    }
    for row in client.query(ACCOUNTS, &[&namespace]).await? {
        held.accounts.insert(row.get(0), (row.get(1), row.get(2)));
    }
    for row in client.query(HISTORY, &[&namespace]).await? {
        held.history.push(Change {
            key: row.get(0),
            line: Line {
                account: row.get(1),
                version: row.get(2),
                delta: row.get(3),
                before: row.get(4),
                after: row.get(5),
            },
        });
    }
    Ok(held)
}

pub(super) fn sqlite(file: &Path) -> Result<Held> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut held = Held {
        rows: all(
            &connection,
            "SELECT name, amount, stamp FROM effects",
            |row| {
                Ok(Row {
                    name: row.get(0)?,
                    amount: row.get(1)?,
                    stamp: row.get(2)?,
                })
            },
        )?,
        keys: all(
            &connection,
            "SELECT key, state, receipt, message, deadline <= unixepoch('subsec') * 1000000 \
             FROM exactly_once_key WHERE namespace = 'chaos'",
            |row| {
                let state: String = row.get(1)?;
                Ok(KeyRow {
                    key: row.get(0)?,
                    state: match state.as_str() {
                        "applied" => KeyState::Applied(
                            String::from_utf8_lossy(&row.get::<_, Vec<u8>>(2)?).into_owned(),
                        ),
                        "rejected" => KeyState::Rejected(row.get(3)?),
                        _ => KeyState::Leased { over: row.get(4)? },
                    },
                })
            },
        )?,
        history: all(
            &connection,
            "SELECT key, account, version, delta, before, after FROM exactly_once_change \
             WHERE namespace = 'chaos' ORDER BY account, version",
            |row| {
                Ok(Change {
                    key: row.get(0)?,
                    line: Line {
                        account: row.get(1)?,
                        version: row.get(2)?,
                        delta: row.get(3)?,
                        before: row.get(4)?,
                        after: row.get(5)?,
                    },
                })
            },
        )?,
        ..Held::default()
    };
    let accounts = all(
        &connection,
        "SELECT account, amount, version FROM exactly_once_account WHERE namespace = 'chaos'",
        |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))),
    )?;
    held.accounts = accounts.into_iter().collect();
    let checked: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if checked != "ok" {
        held.damage.push(format!("SQLite: {checked}"));
    }
    Ok(held)
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], read)?;
    rows.collect::<rusqlite::Result<_>>().context("no rows")
}

//! What a user would write without this library: the floor, and the usual recipe.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Sender, channel},
    },
};

use anyhow::{Context as _, Result};
use exactly_once_bench::{Operation, cases::scattered, operation};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::oneshot;

const TABLES: &str = "PRAGMA journal_mode = WAL;
    CREATE TABLE balance (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL) STRICT;
    CREATE TABLE payment (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL) STRICT;
    CREATE TABLE done (key TEXT PRIMARY KEY, receipt INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
    INSERT INTO balance SELECT i, 0 FROM n;";

/// Makes the user's tables.
pub(crate) fn create(file: &Path) -> Result<()> {
    Ok(Connection::open(file)?.execute_batch(TABLES)?)
}

fn open(file: &Path) -> Result<Connection> {
    create(file)?;
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// A thread that owns the connection: the quickest way to write one row and know that it is safe.
pub(crate) struct Bare {
    sender: Sender<(u64, oneshot::Sender<rusqlite::Result<usize>>)>,
}

impl Bare {
    pub(crate) fn start(file: &Path, commits: Option<&Arc<AtomicU64>>) -> Result<Self> {
        let (connection, commits) = (open(file)?, commits.cloned());
        let (sender, receiver) = channel::<(u64, oneshot::Sender<_>)>();
        std::thread::spawn(move || {
            for (id, reply) in receiver {
                let done = connection
                    .prepare_cached("UPDATE balance SET cents = cents + 1 WHERE id = ?1")
                    .and_then(|mut update| update.execute([id.cast_signed()]));
                if let Some(commits) = &commits {
                    commits.fetch_add(1, Ordering::Relaxed);
                }
                // The caller may be gone.
                let _ = reply.send(done);
            }
        });
        Ok(Self { sender })
    }

    pub(crate) fn update(&self) -> Operation {
        let sender = self.sender.clone();
        operation(move |turn| {
            let (reply, answer) = oneshot::channel();
            let sent = sender.send((scattered(turn, 10_000), reply));
            async move {
                sent.ok().context("the thread has ended")?;
                answer.await??;
                Ok(())
            }
        })
    }
}

/// A mutex and `spawn_blocking`; look the key up, write, commit.
pub(crate) fn usual_recipe(file: &Path, commits: Option<&Arc<AtomicU64>>) -> Result<Operation> {
    let (connection, commits) = (Arc::new(Mutex::new(open(file)?)), commits.cloned());
    Ok(operation(move |turn| {
        let (connection, commits) = (connection.clone(), commits.clone());
        async move {
            let id = turn.number.cast_signed();
            tokio::task::spawn_blocking(move || {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                once(&mut connection, &format!("charge/{id:016x}"), id)
            })
            .await??;
            if let Some(commits) = commits {
                commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }
    }))
}

fn once(connection: &mut Connection, key: &str, id: i64) -> rusqlite::Result<i64> {
    let behavior = rusqlite::TransactionBehavior::Immediate;
    let tx = connection.transaction_with_behavior(behavior)?;
    let known = tx
        .prepare_cached("SELECT receipt FROM done WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    if let Some(receipt) = known {
        return Ok(receipt);
    }
    tx.prepare_cached("INSERT INTO payment (id, cents) VALUES (?1, 500)")?
        .execute([id])?;
    tx.prepare_cached("INSERT INTO done (key, receipt) VALUES (?1, ?2)")?
        .execute((key, id))?;
    tx.commit()?;
    Ok(id)
}

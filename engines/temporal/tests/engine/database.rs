//! What happened, read and written by a plain driver.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Result;
use rusqlite::Connection;
use temporalio_sdk::activities::ActivityInfo;

use crate::scenario::{Pay, Recipe, Seen};

/// A payment. The receipt is the row's own number.
pub(crate) const INSERT: &str =
    "INSERT INTO payment (recipe, cents) VALUES (?1, ?2) RETURNING number";

/// The shop's file, and one for what activities saw: a transaction that is held open in the first one
/// keeps no other attempt from reporting.
pub(crate) struct Database {
    shop: Mutex<Connection>,
    log: Mutex<Connection>,
    folder: PathBuf,
}

impl Database {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let open = |name| -> Result<Connection> {
            let connection = Connection::open(folder.join(name))?;
            connection.busy_timeout(Duration::from_secs(60))?;
            connection.pragma_update(None, "journal_mode", "wal")?;
            Ok(connection)
        };
        let (shop, log) = (open("shop.db")?, open("log.db")?);
        shop.execute_batch(
            "CREATE TABLE IF NOT EXISTS payment (
                number INTEGER PRIMARY KEY, recipe TEXT NOT NULL, cents INTEGER NOT NULL)",
        )?;
        log.execute_batch(
            "CREATE TABLE IF NOT EXISTS seen (
                number INTEGER PRIMARY KEY, recipe TEXT, cents INTEGER, workflow TEXT, run TEXT,
                activity TEXT, attempt INTEGER);
             CREATE TABLE IF NOT EXISTS called (name TEXT);
             CREATE TABLE IF NOT EXISTS answered (recipe TEXT, receipt INTEGER)",
        )?;
        open("stock.db")?.execute_batch(
            "CREATE TABLE IF NOT EXISTS stock (item INTEGER PRIMARY KEY, units INTEGER NOT NULL);
             INSERT OR IGNORE INTO stock VALUES (1, 10)",
        )?;
        Ok(Self {
            shop: Mutex::new(shop),
            log: Mutex::new(log),
            folder: folder.to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes down what an activity was given, and how many calls of this payment there were.
    pub(crate) fn saw(&self, info: &ActivityInfo, pay: &Pay) -> Result<u32> {
        let mut log = lock(&self.log);
        let log = log.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let recipe = format!("{:?}", pay.recipe);
        let text = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
        let (workflow, run) = (text(&info.workflow_id), text(&info.workflow_run_id));
        log.execute(
            "INSERT INTO seen (recipe, cents, workflow, run, activity, attempt)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (
                &recipe,
                pay.cents,
                workflow,
                run,
                &info.activity_id,
                info.attempt,
            ),
        )?;
        let calls = log.query_row(
            "SELECT count(*) FROM seen WHERE recipe = ?1 AND cents = ?2",
            (&recipe, pay.cents),
            |row| row.get(0),
        )?;
        log.commit()?;
        Ok(calls)
    }

    /// Writes down a call, and how many there were of this name.
    pub(crate) fn called(&self, name: &str) -> Result<u32> {
        lock(&self.log).execute("INSERT INTO called VALUES (?1)", [name])?;
        self.calls(name)
    }

    pub(crate) fn calls(&self, name: &str) -> Result<u32> {
        let count = "SELECT count(*) FROM called WHERE name = ?1";
        Ok(lock(&self.log).query_row(count, [name], |row| row.get(0))?)
    }

    /// How many payments there are of a recipe by its name.
    pub(crate) fn rows_of(&self, recipe: &str) -> Result<u32> {
        let count = "SELECT count(*) FROM payment WHERE recipe = ?1";
        Ok(lock(&self.shop).query_row(count, [recipe], |row| row.get(0))?)
    }

    /// What is left in the second database.
    pub(crate) fn stock(&self) -> Result<i64> {
        let stock = Connection::open(self.folder.join("stock.db"))?;
        Ok(stock.query_row("SELECT units FROM stock", [], |row| row.get(0))?)
    }

    /// Writes down what an attempt got for the payment.
    pub(crate) fn answered(&self, pay: &Pay, receipt: i64) -> Result<()> {
        let row = (format!("{:?}", pay.recipe), receipt);
        lock(&self.log).execute("INSERT INTO answered VALUES (?1, ?2)", row)?;
        Ok(())
    }

    /// What the attempts of a recipe got.
    pub(crate) fn answers(&self, recipe: Recipe) -> Result<Vec<i64>> {
        let log = lock(&self.log);
        let mut rows = log.prepare("SELECT receipt FROM answered WHERE recipe = ?1")?;
        let rows = rows.query_map([format!("{recipe:?}")], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// A payment as most activities make it.
    pub(crate) fn insert(&self, pay: &Pay) -> Result<i64> {
        let row = (format!("{:?}", pay.recipe), pay.cents);
        Ok(lock(&self.shop).query_row(INSERT, row, |row| row.get(0))?)
    }

    /// The payments of a recipe: number and cents.
    pub(crate) fn payments(&self, recipe: Recipe) -> Result<Vec<(i64, i64)>> {
        let shop = lock(&self.shop);
        let mut rows =
            shop.prepare("SELECT number, cents FROM payment WHERE recipe = ?1 ORDER BY number")?;
        let rows = rows.query_map([format!("{recipe:?}")], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// what the activities of a recipe were given, in order.
    pub(crate) fn seen(&self, recipe: Recipe) -> Result<Vec<Seen>> {
        let log = lock(&self.log);
        let mut rows = log.prepare(
            "SELECT cents, workflow, run, activity, attempt FROM seen WHERE recipe = ?1
             ORDER BY number",
        )?;
        let rows = rows.query_map([format!("{recipe:?}")], |row| {
            Ok(Seen {
                cents: row.get(0)?,
                workflow: row.get(1)?,
                run: row.get(2)?,
                activity: row.get(3)?,
                attempt: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

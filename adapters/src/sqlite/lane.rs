//! One write connection and its transaction, with every way in which SQLite ends one by itself.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use exactly_once_core::ErrorKind;
use rusqlite::{Connection, config::DbConfig};

use super::{
    error::{Failure, Phase},
    file::OpenFile,
    guard::Guard,
    queue::Bench,
    settings::Settings,
    turn::Hold,
};

/// Why a transaction is gone for which no statement was refused.
pub(super) const ENDED: &str = "SQLite rolled the whole transaction back (a full or failing disk, \
     or a conflict clause of the work): nothing was stored";

/// A write connection behind its [`Guard`].
pub(super) struct Lane {
    pub(super) connection: Connection,
    pub(super) guard: Guard,
    /// For how many groups more each effect has a savepoint.
    pub(super) careful: Cell<u32>,
    /// Whether a foreign key is deferred, by the version of the schema.
    deferred: Cell<Option<(i64, bool)>>,
    /// Compiles what a commit will run; on a lane that stages.
    checker: Option<Connection>,
    /// Where the callers see that it waits for a lock.
    hold: Arc<Hold>,
    file: OpenFile,
    /// What begins the text of each statement of this lane's own. The driver keeps compiled
    /// statements by their text, and the guard is asked only when one is compiled: without it, a
    /// `ROLLBACK` of the user's would be ours, compiled and allowed long ago.
    mark: String,
}

impl Lane {
    pub(super) fn new(
        connection: Connection,
        checker: Option<Connection>,
        hold: Arc<Hold>,
        file: OpenFile,
    ) -> rusqlite::Result<Self> {
        connection.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS exactly_once_row_id (id INTEGER PRIMARY KEY)",
        )?;
        let guard = Guard::default();
        guard.install(&connection)?;
        Ok(Self {
            connection,
            guard,
            careful: Cell::new(0),
            deferred: Cell::new(None),
            checker,
            hold,
            file,
            mark: format!("/* {:016x} */ ", RandomState::new().hash_one(0)),
        })
    }

    pub(super) fn bench<'a>(&'a self, settings: &'a Settings) -> Bench<'a> {
        Bench {
            connection: &self.connection,
            guard: &self.guard,
            settings,
            mark: &self.mark,
            checker: self.checker.as_ref(),
        }
    }

    /// Whether a commit can be refused for a foreign key that is checked only then.
    pub(super) fn may_defer(&self) -> Result<bool, Failure> {
        let ask = || -> rusqlite::Result<bool> {
            let version = self
                .connection
                .prepare_cached("PRAGMA main.schema_version")?
                .query_row([], |row| row.get(0))?;
            if let Some((known, deferred)) = self.deferred.get()
                && known == version
            {
                return Ok(deferred);
            }
            let deferred = self.connection.query_row(
                "SELECT EXISTS (SELECT 1 FROM main.sqlite_schema WHERE sql LIKE '%DEFERRED%')",
                [],
                |row| row.get(0),
            )?;
            self.deferred.set(Some((version, deferred)));
            Ok(deferred)
        };
        ask().map_err(|source| self.abandon(Failure::of(Phase::Statement, source)))
    }

    /// Begins with the write lock in hand: a transaction that reads first and writes later would
    /// fail at once on a snapshot that has become old, whatever the busy timeout.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        self.guard.begin();
        self.hold.locking(|| self.execute("BEGIN IMMEDIATE"))
    }

    pub(super) fn execute(&self, sql: &str) -> Result<(), Failure> {
        self.run(sql)
            .map_err(|source| self.abandon(Failure::of(Phase::Statement, source)))
    }

    /// One statement, compiled once.
    /// Leaves the log as it is when the connections are closed.
    pub(super) fn leave_log(&self) -> rusqlite::Result<()> {
        let setting = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        for connection in self.checker.iter().chain([&self.connection]) {
            connection.set_db_config(setting, true)?;
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        let sql = format!("{}{sql}", self.mark);
        self.connection.prepare_cached(&sql)?.execute([]).map(drop)
    }

    /// Whether the transaction is still there. A full disk makes SQLite roll it back by itself,
    /// and what follows would be committed statement by statement.
    pub(super) fn check_open(&self) -> Result<(), Failure> {
        if self.connection.is_autocommit() {
            return Err(self.ended_by_itself());
        }
        Ok(())
    }

    /// Commits. After an error nothing is open.
    pub(super) fn commit(&self) -> Result<(), Failure> {
        self.check_open()?;
        self.file.check().map_err(|failure| self.abandon(failure))?;
        self.guard
            .committing(|| self.run("COMMIT"))
            .map_err(|source| self.abandon(Failure::of(Phase::Commit, source)))
    }

    pub(super) fn roll_back(&self) -> Result<(), Failure> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.run("ROLLBACK")
            .map_err(|source| Failure::of(Phase::Statement, source))
    }

    /// Rolls back after a failure, and gives the failure back; where the disk failed as the file or
    /// its log is gone, that.
    pub(super) fn abandon(&self, failure: Failure) -> Failure {
        if let Err(second) = self.roll_back() {
            tracing::error!(error = ?second, "the transaction could not be rolled back");
        }
        match self.file.check() {
            Err(gone) if failure.kind() == ErrorKind::Unavailable => gone,
            _ => failure,
        }
    }

    /// Why there is no transaction any more.
    pub(super) fn ended_by_itself(&self) -> Failure {
        let ended = || Failure::new(ErrorKind::Unavailable, ENDED);
        self.guard.ended().unwrap_or_else(ended)
    }
}

//! Opens connections with the settings that the guarantees rest on, and checks that they took.

use std::{
    cell::RefCell,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use exactly_once_core::{Error, ErrorKind, Result};
use rusqlite::{
    Connection, OpenFlags,
    config::DbConfig,
    trace::{TraceEvent, TraceEventCodes},
};

use super::{
    error::{Phase, error, map},
    read_only::{self, alone},
};

/// The first release without the bug that can corrupt a WAL file, 3.51.3.
const OLDEST_LIBRARY: i32 = 3_051_003;

/// Statements kept compiled on each connection.
const CACHED_STATEMENTS: usize = 128;

/// The page cache of a connection that writes, in KiB; used as far as it is needed. The default of
/// 2 MiB reads most pages of a history of some size again and again.
const CACHE_KIB: i32 = 32 * 1024;

/// How many pages the log may have before it is moved into the file: a page that was written often
/// meanwhile is moved once. Four times SQLite's default, some 16 MiB.
const CHECKPOINT_PAGES: i32 = 4_000;

/// How large the file of the log stays when the log begins again, in bytes.
const LOG_KEPT: i64 = 32 * 1024 * 1024;

const OPERATION: &str = "open";

/// A hook that is called before each statement of the writer, with its text.
pub(super) type StatementHook = Arc<dyn Fn(&str) + Send + Sync>;

/// How to open the file.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) path: PathBuf,
    pub(super) busy_timeout: Duration,
    pub(super) max_pages: Option<u32>,
    pub(super) statement_hook: Option<StatementHook>,
    pub(super) access: Access,
}

/// What may be done to the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Access {
    /// Anything: the file and its tables are made, or upgraded, where they must be.
    #[default]
    Create,
    /// The tables must be there, in this library's version.
    Existing,
    /// As that, and nothing is written.
    ReadOnly,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// The store's writes and the user's work.
    Write,
    /// Work that is staged, with triggers that log each row.
    Stage,
    /// Applying what was staged: no trigger fires a second time.
    Apply,
    /// Reading only.
    Read,
}

impl Connector {
    /// Opens a connection.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration) says what to fix.
    pub(super) fn connect(&self, purpose: Purpose) -> Result<Connection> {
        check_library(rusqlite::version_number())?;
        let purpose = match self.access {
            Access::ReadOnly => Purpose::Read,
            Access::Create | Access::Existing => purpose,
        };
        let access = match (purpose, self.access) {
            (Purpose::Read, _) => OpenFlags::SQLITE_OPEN_READ_ONLY,
            (_, Access::Create) => {
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
            _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let access = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = if self.reads_alone()? {
            let uri = read_only::uri(&self.path);
            Connection::open_with_flags(uri, access | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(&self.path, access)
        };
        let connection = opened.map_err(|source| self.explain(source))?;
        self.set_up(&connection, purpose)
            .map_err(|source| self.explain(source))?;
        if purpose != Purpose::Read {
            check_durability(&connection, &self.path)?;
            self.hook(&connection);
        }
        Ok(connection)
    }

    /// Whether the file is read as it is: nothing is written, and no program has it open.
    ///
    /// # Errors
    /// As [`alone`].
    pub(super) fn reads_alone(&self) -> Result<bool> {
        Ok(self.access == Access::ReadOnly && self.path.is_file() && alone(&self.path)?)
    }

    fn set_up(&self, connection: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        if self.access == Access::ReadOnly {
            // The file can't be written by it; the writer's own TEMP table can.
            return Ok(());
        }
        if purpose == Purpose::Read {
            return connection.pragma_update(None, "query_only", true);
        }
        // Asking for WAL where it is on already takes no lock; switching it on takes an exclusive
        // one, which the busy timeout does not wait for.
        let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case("wal") {
            self.switch_to_wal(connection)?;
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
        if let Some(pages) = self.max_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        match purpose {
            Purpose::Stage => connection.pragma_update(None, "recursive_triggers", false),
            Purpose::Apply => {
                connection.pragma_update(None, "foreign_keys", false)?;
                connection
                    .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
                    .map(drop)
            }
            Purpose::Write | Purpose::Read => Ok(()),
        }
    }

    /// Ten processes may do it at once; each but one gets *busy* at once.
    fn switch_to_wal(&self, connection: &Connection) -> rusqlite::Result<()> {
        let pause = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        loop {
            let answer = connection.query_row("PRAGMA journal_mode = WAL", [], |row| {
                row.get::<_, String>(0)
            });
            match answer {
                Err(source) if is_busy(&source) && waited < self.busy_timeout => {
                    std::thread::sleep(pause);
                    waited += pause;
                }
                other => return other.map(drop),
            }
        }
    }

    fn hook(&self, connection: &Connection) {
        if let Some(hook) = &self.statement_hook {
            HOOK.with(|slot| *slot.borrow_mut() = Some(hook.clone()));
            connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(on_statement));
        }
    }

    /// The error of opening, with what to do about this path.
    fn explain(&self, source: rusqlite::Error) -> Error {
        let path = self.path.display();
        let parent = self.path.parent().filter(|p| !p.as_os_str().is_empty());
        let hint = if self.path.is_dir() {
            Some(format!("{path} is a folder: name a file in it"))
        } else if parent.is_some_and(|parent| !parent.exists()) {
            Some(format!(
                "the folder of {path} does not exist: create it first"
            ))
        } else if self.access != Access::Create && !self.path.exists() {
            Some(format!(
                "there is no file {path}: check the path; only `migrate` and programs make one"
            ))
        } else if self.access == Access::ReadOnly
            && source.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen)
        {
            Some(format!(
                "{path}, or the log beside it, can't be read by this user: run the command as the user \
                 that the service runs as"
            ))
        } else {
            None
        };
        match hint {
            Some(hint) => error(ErrorKind::Configuration, OPERATION, hint).with_source(source),
            None => map(OPERATION, Phase::Open, source),
        }
    }
}

fn is_busy(source: &rusqlite::Error) -> bool {
    matches!(
        source.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
    )
}

/// Refuses a library with the WAL bug. The bundled one is past it; a system library may not be.
fn check_library(version: i32) -> Result<()> {
    if version >= OLDEST_LIBRARY {
        return Ok(());
    }
    Err(error(
        ErrorKind::Configuration,
        OPERATION,
        format!(
            "SQLite {}.{}.{} can corrupt a WAL database; 3.51.3 or later is needed. Build with \
             rusqlite's feature `bundled`, and don't set LIBSQLITE3_SYS_USE_PKG_CONFIG",
            version / 1_000_000,
            version / 1_000 % 1_000,
            version % 1_000
        ),
    ))
}

/// Reads back what decides over durability: a VFS may silently refuse it.
fn check_durability(connection: &Connection, path: &Path) -> Result<()> {
    let read = |pragma: &str| -> rusqlite::Result<String> {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            row.get::<_, rusqlite::types::Value>(0)
                .map(|value| match value {
                    rusqlite::types::Value::Integer(number) => number.to_string(),
                    rusqlite::types::Value::Text(text) => text.to_lowercase(),
                    other => format!("{other:?}"),
                })
        })
    };
    for (pragma, wanted) in [("journal_mode", "wal"), ("synchronous", "2")] {
        let found = read(pragma).map_err(|source| map(OPERATION, Phase::Open, source))?;
        if found != wanted {
            return Err(error(
                ErrorKind::Configuration,
                OPERATION,
                format!(
                    "PRAGMA {pragma} is {found} and can't be set to {wanted} on {}: put the \
                     database on a local file system (WAL works neither in memory nor over a \
                     network)",
                    path.display()
                ),
            ));
        }
    }
    Ok(())
}

thread_local! {
    /// The driver takes a plain function as tracer, so the hook waits here, on the writer's thread.
    static HOOK: RefCell<Option<StatementHook>> = const { RefCell::new(None) };
}

fn on_statement(event: TraceEvent<'_>) {
    if let TraceEvent::Stmt(_, sql) = event {
        let hook = HOOK.with(|slot| slot.borrow().clone());
        if let Some(hook) = hook {
            hook(sql);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_with_the_wal_bug_is_refused() {
        assert!(check_library(3_051_003).is_ok());
        assert!(check_library(3_054_001).is_ok());
        for old in [3_040_001, 3_051_002] {
            let refused = check_library(old).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Configuration);
        }
        assert!(
            check_library(3_040_001)
                .unwrap_err()
                .to_string()
                .contains("3.40.1")
        );
    }

    #[test]
    fn the_bundled_library_is_new_enough() {
        assert!(check_library(rusqlite::version_number()).is_ok());
    }
}

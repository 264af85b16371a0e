//! SQLite.

use std::{io::Read as _, path::Path};

use rusqlite::{Connection, OpenFlags};

use super::{Finding, unreachable};
use crate::{
    Error, ErrorKind, Result,
    sqlite::{
        read_only::{alone, beside, opened_since, uri},
        schema::VERSION,
    },
};

const STORE: &str = "sqlite";

const MIB: u64 = 1024 * 1024;

pub(super) async fn examine(name: &str) -> Result<Vec<Finding>> {
    let path = crate::sqlite::file::path_of_uri(name)?;
    let alone = path.is_file() && alone(&path)?;
    let asked = path.clone();
    let findings = tokio::task::spawn_blocking(move || ask(&asked, alone)).await;
    let findings = findings.map_err(|error| unreachable(STORE).with_source(error))?;
    if alone && opened_since(&path) {
        return Err(Error::new(ErrorKind::Busy, "doctor", STORE)
            .with_message("another program has opened the file while it was read: try again"));
    }
    findings.map_err(|error| {
        Error::new(ErrorKind::Configuration, "doctor", STORE)
            .with_message("the file can't be read as a SQLite database")
            .with_source(error)
    })
}

/// The journal mode of a file that no program has open, by its header: a connection that reads the file
/// as it is has no journal.
fn journal_at_rest(path: &Path) -> &'static str {
    let mut header = [0; 20];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut header));
    match read {
        Ok(()) if header.get(18) == Some(&2) => "wal",
        _ => "delete",
    }
}

/// Leaves nothing beside a file that no program has open.
fn ask(path: &Path, alone: bool) -> rusqlite::Result<Vec<Finding>> {
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = if alone {
        Connection::open_with_flags(uri(path), read_only | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, read_only)?
    };
    let text = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0));
    let journal = if alone {
        journal_at_rest(path).to_owned()
    } else {
        text("PRAGMA journal_mode")?
    };
    let check = text("PRAGMA quick_check(1)")?;
    let writable = std::fs::metadata(path).is_ok_and(|file| !file.permissions().readonly());
    let log = std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len());
    let lax = names(
        &db,
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
         AND strict = 0 AND name NOT LIKE 'sqlite@_%' ESCAPE '@' ORDER BY name",
    )?;
    let tables = names(
        &db,
        "SELECT name FROM sqlite_schema WHERE name = 'exactly_once_meta'",
    )?;
    Ok(vec![
        Finding::new(
            "library",
            rusqlite::version(),
            rusqlite::version_number() >= 3_051_003,
            "SQLite 3.7.0 to 3.51.2 can corrupt a WAL: use a newer rusqlite, bundled",
        ),
        Finding::new(
            "journal_mode",
            &*journal,
            journal.eq_ignore_ascii_case("wal"),
            "readers and writers block each other: PRAGMA journal_mode = WAL; (opening it with \
             exactly-once does so)",
        ),
        Finding::new(
            "log",
            format!("{} MiB", log / MIB),
            log <= 128 * MIB,
            "a read transaction of some program stays open or its reads overlap, so that the log \
             grows: end it, or let it read in short transactions; PRAGMA wal_checkpoint(TRUNCATE) \
             then empties the log",
        ),
        Finding::new(
            "quick_check",
            &*check,
            check == "ok",
            "the file is corrupt: restore it from a backup, or .recover it",
        ),
        Finding::new(
            "writable",
            if writable { "yes" } else { "no" },
            writable,
            "the file is read-only: chmod u+w, and the same for its folder",
        ),
        Finding::new(
            "tables that are not STRICT",
            if lax.is_empty() {
                "none".to_owned()
            } else {
                lax.join(", ")
            },
            lax.is_empty(),
            "an overflow turns their INTEGER columns into REAL without a word: CREATE TABLE … STRICT \
             under another name, INSERT … SELECT, DROP TABLE the old one, and ALTER TABLE … RENAME",
        ),
        if tables.is_empty() {
            Finding::new("schema version", "none", false, "run: exactly-once migrate")
        } else {
            let version = "SELECT schema_version FROM exactly_once_meta";
            super::schema_version(db.query_row(version, [], |row| row.get(0))?, VERSION)
        },
    ])
}

fn names(db: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut rows = db.prepare(sql)?;
    rows.query_map([], |row| row.get(0))?.collect()
}

//! The store's own tables: STRICT, so that a number can't silently become a float.

use exactly_once_core::{ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension as _};

use super::error::{Phase, error, map, statement};

/// The schema that this version of the library writes.
pub(crate) const VERSION: i64 = 1;

const OPERATION: &str = "migrate";

const TABLES: &str = "
-- One row: the schema's version, the last fencing token given out, and the identity of the data.
CREATE TABLE exactly_once_meta (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    token INTEGER NOT NULL,
    identity BLOB NOT NULL
) STRICT;

-- Idempotency keys: leased, applied or rejected.
CREATE TABLE exactly_once_key (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('leased', 'applied', 'rejected')),
    token INTEGER,
    deadline INTEGER,
    receipt BLOB,
    status INTEGER,
    message TEXT,
    completed_at INTEGER,
    expires_at INTEGER,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX exactly_once_key_expiry ON exactly_once_key (namespace, expires_at)
    WHERE expires_at IS NOT NULL;

-- Balances. A floor of NULL is none.
CREATE TABLE exactly_once_account (
    namespace TEXT NOT NULL,
    account TEXT NOT NULL,
    amount INTEGER NOT NULL,
    version INTEGER NOT NULL,
    floor INTEGER,
    open INTEGER NOT NULL,
    -- Its last change.
    last_key TEXT NOT NULL,
    last_leg INTEGER NOT NULL,
    PRIMARY KEY (namespace, account)
) STRICT, WITHOUT ROWID;

-- The record of each operation, and the history, in one: see `history.rs`.
CREATE TABLE exactly_once_change (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    leg INTEGER NOT NULL,
    account TEXT NOT NULL,
    version INTEGER NOT NULL,
    fingerprint BLOB NOT NULL,
    kind TEXT NOT NULL,
    delta INTEGER NOT NULL,
    before INTEGER NOT NULL,
    after INTEGER NOT NULL,
    -- The account's change before this one.
    previous_key TEXT,
    previous_leg INTEGER,
    PRIMARY KEY (namespace, key, leg)
) STRICT, WITHOUT ROWID;
-- Where a page of a history begins to walk back.
CREATE INDEX exactly_once_change_anchor ON exactly_once_change (namespace, account, version)
    WHERE version % 64 = 0;

-- Balance operations that were refused: their keys keep the refusal.
CREATE TABLE exactly_once_refused (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    refusal TEXT NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- Two-phase commit: one row per transaction, its redo, and the rows that it holds.
CREATE TABLE exactly_once_outcome (
    namespace TEXT NOT NULL,
    tx BLOB NOT NULL,
    -- Fingerprint (32 bytes), the register's identity (16), digest of the participants (16).
    terms BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('prepared', 'committed', 'rolled_back')),
    not_after INTEGER NOT NULL,
    forget_after INTEGER NOT NULL,
    prepared_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, tx)
) STRICT, WITHOUT ROWID;
-- By when a record may go, and the few that are still prepared.
CREATE INDEX exactly_once_outcome_end ON exactly_once_outcome (namespace, forget_after);
CREATE INDEX exactly_once_outcome_prepared ON exactly_once_outcome (namespace, tx)
    WHERE state = 'prepared';
CREATE TABLE exactly_once_redo (
    namespace TEXT NOT NULL,
    tx BLOB NOT NULL,
    position INTEGER NOT NULL,
    table_name TEXT NOT NULL,
    statement TEXT NOT NULL,
    -- The row id before and after, where it is assigned at commit.
    old_row INTEGER,
    new_row INTEGER,
    PRIMARY KEY (namespace, tx, position)
) STRICT, WITHOUT ROWID;
-- The values of a statement, of any type.
CREATE TABLE exactly_once_redo_value (
    namespace TEXT NOT NULL,
    tx BLOB NOT NULL,
    position INTEGER NOT NULL,
    number INTEGER NOT NULL,
    value ANY,
    PRIMARY KEY (namespace, tx, position, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE exactly_once_reservation (
    table_name TEXT NOT NULL,
    slot TEXT NOT NULL,
    namespace TEXT NOT NULL,
    tx BLOB NOT NULL,
    PRIMARY KEY (table_name, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX exactly_once_reservation_holder ON exactly_once_reservation (namespace, tx);

-- The decision register.
CREATE TABLE exactly_once_decision (
    namespace TEXT NOT NULL,
    tx BLOB NOT NULL,
    terms BLOB NOT NULL,
    -- Identities, 16 bytes each; empty where a sweeper decided.
    participants BLOB NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('commit', 'rollback')),
    finished INTEGER NOT NULL,
    -- The participants that did not obey it, with a space between them; empty where all did.
    disputed TEXT NOT NULL DEFAULT '',
    -- How an operator settled it, as JSON.
    settled TEXT,
    not_after INTEGER NOT NULL,
    forget_after INTEGER NOT NULL,
    PRIMARY KEY (namespace, tx)
) STRICT, WITHOUT ROWID;
-- By when a decision may go, and the few that are not carried out yet.
CREATE INDEX exactly_once_decision_end ON exactly_once_decision (namespace, forget_after);
CREATE INDEX exactly_once_decision_unfinished ON exactly_once_decision (namespace, tx)
    WHERE finished = 0;
";

/// Makes the tables in a file that has none; safe with any number of processes at once, because the
/// version is read again under the write lock.
///
/// # Errors
/// [Configuration](ErrorKind::Configuration) for a file of another version, which stays as it is.
pub(super) fn migrate(connection: &Connection) -> Result<()> {
    if check(stored_version(connection, OPERATION)?)? {
        return Ok(());
    }
    let run = |sql| {
        connection
            .execute_batch(sql)
            .map_err(|source| map(OPERATION, Phase::Open, source))
    };
    run("BEGIN IMMEDIATE")?;
    let made = make(connection);
    let ended = run(if made.is_ok() { "COMMIT" } else { "ROLLBACK" });
    made.and(ended)
}

fn make(connection: &Connection) -> Result<()> {
    if check(stored_version(connection, OPERATION)?)? {
        return Ok(());
    }
    connection
        .execute_batch(TABLES)
        .and_then(|()| {
            connection.execute(
                "INSERT INTO exactly_once_meta (id, schema_version, token, identity) \
                 VALUES (1, ?1, 0, randomblob(16))",
                [VERSION],
            )
        })
        .map(drop)
        .map_err(statement(OPERATION))
}

/// `None` for a file without the store's tables.
fn stored_version(connection: &Connection, operation: &'static str) -> Result<Option<i64>> {
    let opened = |source| map(operation, Phase::Open, source);
    let there: Option<i64> = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'exactly_once_meta'",
            [],
            |row| row.get(0),
        )
        .optional()
        .map_err(opened)?;
    if there.is_none() {
        return Ok(None);
    }
    let version = connection
        .query_row("SELECT schema_version FROM exactly_once_meta", [], |row| {
            row.get(0)
        })
        .optional()
        .map_err(opened)?;
    version.map(Some).ok_or_else(|| {
        error(
            ErrorKind::Configuration,
            operation,
            "the row of exactly_once_meta is missing: restore the file from a backup",
        )
    })
}

/// Refuses a file without the store's tables; nothing is made.
///
/// # Errors
/// [Configuration](ErrorKind::Configuration), with what to do.
pub(super) fn check_current(connection: &Connection) -> Result<()> {
    if check(stored_version(connection, "open")?)? {
        return Ok(());
    }
    Err(error(
        ErrorKind::Configuration,
        "open",
        "the file has no tables of exactly-once: check the path, or make them with `exactly-once \
         migrate`",
    ))
}

/// Whether the tables are there, as this version knows them.
fn check(version: Option<i64>) -> Result<bool> {
    let (found, advice) = match version {
        None => return Ok(false),
        Some(VERSION) => return Ok(true),
        Some(newer) if newer > VERSION => (newer, "upgrade the program before it uses the file"),
        Some(older) => (
            older,
            "no release wrote it; move the data to a new file, or name another path",
        ),
    };
    Err(error(
        ErrorKind::Configuration,
        OPERATION,
        format!(
            "the file has schema {found} and this version of exactly-once knows schema {VERSION}: \
             {advice}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{history, idempotency, prepared, register},
        *,
    };

    #[test]
    fn migrating_twice_changes_nothing() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        migrate(&connection).unwrap();
        assert_eq!(
            stored_version(&connection, OPERATION).unwrap(),
            Some(VERSION)
        );
    }

    #[test]
    fn what_is_over_and_what_is_not_is_found_by_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        for (sql, index) in [
            (idempotency::EXPIRE, "exactly_once_key_expiry"),
            (history::ANCHOR, "exactly_once_change_anchor"),
            (prepared::FORGET, "exactly_once_outcome_end"),
            (register::FORGET, "exactly_once_decision_end"),
            (prepared::IN_DOUBT, "exactly_once_outcome_prepared"),
            (&register::unfinished(), "exactly_once_decision_unfinished"),
        ] {
            let mut explained = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let steps: Vec<String> = explained
                .query_map(rusqlite::params!["n", 1, 1], |row| row.get(3))
                .unwrap()
                .collect::<rusqlite::Result<_>>()
                .unwrap();
            let plan = steps.join("; ");
            assert!(plan.contains(index), "{plan}");
            // Of each table one row for each that is wanted, in order.
            assert!(!plan.contains("SCAN exactly_once"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    #[test]
    fn another_schema_is_refused_untouched() {
        for (version, says) in [(99, "upgrade the program"), (0, "no release wrote it")] {
            let connection = Connection::open_in_memory().unwrap();
            migrate(&connection).unwrap();
            connection
                .execute(
                    "UPDATE exactly_once_meta SET schema_version = ?1",
                    [version],
                )
                .unwrap();
            let refused = migrate(&connection).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Configuration);
            assert!(refused.to_string().contains(says), "{refused}");
            assert!(connection.is_autocommit());
            assert_eq!(
                stored_version(&connection, OPERATION).unwrap(),
                Some(version)
            );
        }
    }

    #[test]
    fn a_schema_without_its_version_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        connection
            .execute_batch("DELETE FROM exactly_once_meta")
            .unwrap();
        let refused = migrate(&connection).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        assert!(refused.to_string().contains("restore"), "{refused}");
    }

    #[test]
    fn a_number_never_becomes_a_float() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection).unwrap();
        let answer = connection.execute(
            "INSERT INTO exactly_once_account VALUES ('n', 'a', 9223372036854775807 + 1, 1, 0, 1, \
             'k', 0)",
            [],
        );
        assert!(answer.is_err());
    }
}

//! What is looked at before the first call: each finding names the setting and the command that
//! fixes it.

use std::sync::atomic::Ordering;

use exactly_once_core::{Error, ErrorKind, Result};

use super::{
    driver::{Connection, Driver, Reply},
    error::{convert, error, garbled},
    literal::text,
    options::Options,
    session::Session,
    sqlstate::Stage,
    statements::{cell, number},
    store::PostgresStore,
};

/// What is known of the server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// The database that we are connected to.
    pub(super) database: String,
    /// Which database of which server it is, the same by every route to it. A copy of the data has
    /// everything in common with them but the moment at which its server was started.
    pub(super) identity: String,
    /// How many transactions could be prepared at once when it was looked at; 0 is off.
    pub(super) slots: i64,
    /// Whether a commit reaches the disk.
    pub(super) safe_on_disk: bool,
    /// Whether a COMMIT PREPARED, which takes the session's settings, waits for no standby.
    pub(super) commits_unheard: bool,
    /// Whether a commit waits for standbys.
    pub(super) has_standbys: bool,
    /// Whether the pool's connections come with settings of their own: a hook of the pool has set them,
    /// or a transaction pooler that keeps each client's.
    pub(super) set_at_connect: bool,
    /// Whether a backslash escapes in plain quotes of a user's SQL.
    pub(super) escapes: bool,
    /// Whether a backend can notice that its client is gone while it waits.
    pub(super) watches_client: bool,
}

const LOOK: &str = "ROLLBACK; \
    SELECT pg_catalog.current_database(), \
    pg_catalog.current_setting('max_prepared_transactions'), \
    pg_catalog.current_setting('fsync'), \
    pg_catalog.current_setting('full_page_writes'), \
    pg_catalog.pg_is_in_recovery(), \
    pg_catalog.current_setting('server_version_num'), \
    pg_catalog.current_setting('server_encoding'), \
    (extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000000)::int8 || '/' || \
    pg_catalog.current_setting('port') || '/' || (SELECT oid FROM pg_catalog.pg_database \
    WHERE datname = pg_catalog.current_database()), \
    pg_catalog.current_setting('synchronous_commit') IN ('off', 'local'), \
    EXISTS (SELECT FROM pg_catalog.pg_settings WHERE source = 'session') \
    OR pg_catalog.current_setting('role') <> 'none' OR CURRENT_USER <> SESSION_USER, \
    pg_catalog.current_setting('standard_conforming_strings'), \
    pg_catalog.current_setting('synchronous_standby_names') <> ''";

const CONNECT: &str = "connect";

impl Server {
    /// Asks for everything in one go.
    pub(super) async fn look<C: Connection>(
        session: &mut Session<C>,
        options: &Options,
    ) -> Result<Self> {
        let replies = session
            .batch(LOOK)
            .await
            .map_err(|error| convert(error, CONNECT, Stage::Ours))?;
        let mut server = Self::read(replies.get(1), options)?;
        // Not on every platform; in a transaction of its own, as it may fail.
        let watch = "BEGIN; \
            SELECT pg_catalog.set_config('client_connection_check_interval', '500', true); \
            ROLLBACK";
        server.watches_client = session.batch(watch).await.is_ok();
        if !server.watches_client {
            session
                .batch("ROLLBACK")
                .await
                .map_err(|error| convert(error, CONNECT, Stage::Ours))?;
        }
        Ok(server)
    }

    fn read(reply: Option<&Reply>, options: &Options) -> Result<Self> {
        let text = |column| cell(reply, column).ok_or_else(|| garbled(CONNECT));
        let on = |column| text(column).map(|value| value == "on");
        let server = Self {
            database: text(0)?.to_owned(),
            identity: text(7)?.to_owned(),
            slots: text(1)?.parse().map_err(|_| garbled(CONNECT))?,
            safe_on_disk: on(2)? && on(3)?,
            commits_unheard: text(8)? == "t",
            has_standbys: text(11)? == "t",
            set_at_connect: options.keep_pool_settings || text(9)? == "t",
            escapes: text(10)? == "off",
            watches_client: false,
        };
        if text(4)? == "t" {
            return Err(mend(
                "the server is a hot standby (pg_is_in_recovery() is true) and can't write",
                "connect to the primary, or promote this one: SELECT pg_promote();",
            ));
        }
        if text(5)?.parse::<u32>().map_err(|_| garbled(CONNECT))? < 130_000 {
            return Err(mend(
                "the server is older than PostgreSQL 13 (server_version)",
                "upgrade it: pg_upgrade",
            ));
        }
        if text(6)? == "SQL_ASCII" {
            return Err(mend(
                "the database's encoding (server_encoding) is SQL_ASCII, which keeps no text",
                "create it with another one: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0;",
            ));
        }
        if !server.safe_on_disk && !options.accept_unsafe_durability {
            return Err(mend(
                "fsync or full_page_writes is off: a power cut corrupts the database",
                "ALTER SYSTEM SET fsync = on; ALTER SYSTEM SET full_page_writes = on; \
                 SELECT pg_reload_conf();",
            ));
        }
        if server.slots == 0 && options.require_two_phase {
            return Err(two_phase_off(CONNECT));
        }
        Ok(server)
    }
}

fn mend(found: &str, command: &str) -> Error {
    error(
        ErrorKind::Configuration,
        CONNECT,
        format!("{found}. To mend it: {command}"),
    )
}

/// How many transactions may be prepared at once.
pub(super) const SLOTS: &str = "pg_catalog.current_setting('max_prepared_transactions')::int8";

/// Two-phase commit is asked for, and off.
pub(super) fn two_phase_off(operation: &'static str) -> Error {
    error(ErrorKind::Configuration, operation, TWO_PHASE_OFF)
}

/// What has two-phase commit off, and what switches it on.
pub(super) const TWO_PHASE_OFF: &str = "prepared transactions are off (max_prepared_transactions is \
    0, the default). To fix it: ALTER SYSTEM SET max_prepared_transactions = 64; and RESTART the \
    server (a reload is not enough; standbys first, they need at least the primary's value)";

impl<D: Driver> PostgresStore<D> {
    /// Refuses two-phase operations on a server without them.
    pub(super) async fn check_two_phase(&self, operation: &'static str) -> Result<()> {
        if self.slots() > 0 || self.look_at_slots(operation).await? > 0 {
            return Ok(());
        }
        Err(two_phase_off(operation))
    }

    /// How many transactions may be prepared at once, as it was last seen.
    pub(super) fn slots(&self) -> i64 {
        self.slots_cell().load(Ordering::Relaxed)
    }

    /// Looks again: a restart of the server may have changed it.
    async fn look_at_slots(&self, operation: &'static str) -> Result<i64> {
        let replies = self.read(operation, &format!("SELECT {SLOTS}")).await?;
        let slots = number(replies.first(), 0).ok_or_else(|| garbled(operation))?;
        self.slots_cell().store(slots, Ordering::Relaxed);
        Ok(slots)
    }

    /// Whether the role may do what the store does: read and write its tables.
    pub(super) async fn check_rights(&self) -> Result<()> {
        let tables = self.tables();
        let checks: Vec<String> = [
            &tables.keys,
            &tables.accounts,
            &tables.changes,
            &tables.outcomes,
            &tables.decisions,
        ]
        .iter()
        .map(|table| {
            let may =
                |right: &str| format!("pg_catalog.has_table_privilege({}, '{right}')", text(table));
            let all = ["SELECT", "INSERT", "UPDATE", "DELETE"].map(may);
            format!("SELECT {}", all.join(" AND "))
        })
        .chain([format!(
            "SELECT pg_catalog.has_sequence_privilege({}, 'USAGE')",
            text(&tables.fencing)
        )])
        .collect();
        let replies = self.read(CONNECT, &checks.join("; ")).await?;
        if replies
            .iter()
            .take(checks.len())
            .all(|reply| cell(Some(reply), 0) == Some("t"))
        {
            return Ok(());
        }
        let schema = &tables.schema;
        Err(mend(
            "the role lacks rights on the store's tables",
            &format!(
                "GRANT USAGE ON SCHEMA {schema} TO …; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL \
                 TABLES IN SCHEMA {schema} TO …; GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} \
                 TO …;"
            ),
        ))
    }
}

//! The SQL that begins and ends a transaction, and what all statements are made of.

use std::{fmt::Write as _, time::Duration};

use super::{driver::Reply, literal, options::Timeouts};

/// The server's clock in microseconds since 1970, now.
pub(super) const NOW: &str = "(extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::int8";

/// The moment at which this transaction began: its identity. A transaction that the user's work
/// ended, or ended and began again, has another one; so has a statement outside of a transaction.
const BEGAN: &str = "(extract(epoch FROM pg_catalog.now()) * 1000000)::int8";

/// BEGIN and the settings.
pub(super) const PREAMBLE_REPLIES: usize = 2;

/// How many statements [`Preamble::limits`] are.
pub(super) const LIMITS: usize = 2;

/// The settings of our transactions, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Preamble {
    settings: String,
    /// The one that takes effect within the statement that sets it.
    of_statement: String,
    limits: String,
}

impl Preamble {
    pub(super) fn new(timeouts: &Timeouts, watch_client: bool) -> Self {
        let mut settings = String::new();
        let millis = |duration: Duration| duration.as_millis().max(1).to_string();
        let set = |settings: &mut String, name: &str, value: &str| {
            let _ = write!(settings, ", pg_catalog.set_config('{name}', {value}, true)");
        };
        // `off` and `local` lose acknowledged commits; what is stronger than `on` stays.
        set(
            &mut settings,
            "synchronous_commit",
            "CASE WHEN pg_catalog.current_setting('synchronous_commit') IN ('off', 'local') \
             THEN 'on' ELSE pg_catalog.current_setting('synchronous_commit') END",
        );
        let of_statement = settings.clone();
        let (lock, statement) = (millis(timeouts.lock), millis(timeouts.statement));
        set(&mut settings, "lock_timeout", &format!("'{lock}'"));
        set(
            &mut settings,
            "statement_timeout",
            &format!("'{statement}'"),
        );
        set(
            &mut settings,
            "idle_in_transaction_session_timeout",
            &format!("'{}'", millis(timeouts.idle_in_transaction)),
        );
        if watch_client {
            // A backend that waits for a lock notices that its client is gone.
            set(&mut settings, "client_connection_check_interval", "'500'");
        }
        Self {
            settings,
            of_statement,
            limits: format!(
                "SET LOCAL lock_timeout = {lock}; SET LOCAL statement_timeout = {statement}; "
            ),
        }
    }

    /// The settings, as further columns of a SELECT.
    pub(super) fn settings(&self) -> &str {
        &self.settings
    }

    /// For a statement that sets it itself, as a further column of a SELECT.
    pub(super) fn of_statement(&self) -> &str {
        &self.of_statement
    }

    /// [`LIMITS`] statements that limit those after them in their message. A statement can't limit
    /// itself: its locks on tables come before anything that it computes.
    pub(super) fn limits(&self) -> &str {
        &self.limits
    }
}

/// Whatever the server's defaults are. The division fails in a transaction that was open before:
/// only in one that began with this very message is its beginning the statement's.
pub(super) fn begin(preamble: &Preamble, sql: &str) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {}; {sql}",
        first(preamble)
    )
}

/// The statement after BEGIN.
pub(super) fn first(preamble: &Preamble) -> String {
    format!(
        "SELECT {BEGAN} / (CASE WHEN pg_catalog.now() = pg_catalog.statement_timestamp() \
         THEN 1 ELSE 0 END){}",
        preamble.settings
    )
}

/// A transaction of one message.
///
/// A COMMIT that waits for a standby must not be cancelled, which would acknowledge what is not
/// replicated: the server stops the statement timeout before it commits or prepares.
pub(super) fn transact(preamble: &Preamble, sql: &str) -> String {
    format!("{}; COMMIT", begin(preamble, sql))
}

/// The server's clock in microseconds since 1970, as this message arrived.
pub(super) const RECEIVED: &str =
    "(extract(epoch FROM pg_catalog.statement_timestamp()) * 1000000)::int8";

/// The identity in the preamble's reply.
pub(super) fn identity(replies: &[Reply]) -> Option<i64> {
    replies
        .get(1)?
        .rows
        .first()?
        .first()?
        .as_deref()?
        .parse()
        .ok()
}

/// The probe: fails with 25P02 in an aborted transaction, and with 22012 outside of the one that we
/// began. PostgreSQL would answer a COMMIT or PREPARE there with `ROLLBACK`, and no error.
pub(super) fn probe(identity: i64) -> String {
    format!(
        "SELECT 1 / (CASE WHEN {} THEN 1 ELSE 0 END)",
        same(identity)
    )
}

/// Whether this is still the transaction that we began.
pub(super) fn same(identity: i64) -> String {
    began_at(&literal::int(identity))
}

/// The same, of a number that is an SQL expression.
pub(super) fn began_at(identity: &str) -> String {
    format!("{BEGAN} = {identity}")
}

/// The text of a cell.
pub(super) fn cell(reply: Option<&Reply>, column: usize) -> Option<&str> {
    reply?.rows.first()?.get(column)?.as_deref()
}

/// The number in a cell.
pub(super) fn number(reply: Option<&Reply>, column: usize) -> Option<i64> {
    cell(reply, column)?.parse().ok()
}

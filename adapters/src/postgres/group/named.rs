//! Prepared statements that are named by what they do.
//!
//! A group goes as one message of the simple protocol, in which `EXECUTE` runs statements that are
//! parsed and planned already. That is one round trip with either driver, the first failure keeps the
//! rest from running, and the name of a statement is a digest of its text: so behind a transaction
//! pooler, where any client may have prepared statements on a connection of the pool, a name never means
//! another statement. One that a connection does not know is prepared, and the message sent again.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use super::execute::EFFECT;
use crate::postgres::{
    driver::{Cause, Connection, Driver, DriverError, Reply},
    literal,
    session::{BeginError, Begun, Session, Unusable, standby, unusable},
    statements::{LIMITS, PREAMBLE_REPLIES, Preamble},
    store::PostgresStore,
};

/// A statement is not known by its name.
pub(in crate::postgres) const UNKNOWN_STATEMENT: &str = "26000";

/// A statement is known by this name already: a message that was cut off left it on its connection.
const KNOWN_STATEMENT: &str = "42P05";

/// What [`begin`] fails with in a transaction that is not ours.
const NOT_OURS: &str = "2201F";

/// What [`all_or_nothing`] fails with.
pub(super) const NOT_ALL: &str = "2201E";

/// How often a message is sent again, because its statements are unknown or the connection is not
/// clean. Behind a pooler each round may meet another connection.
const ROUNDS: usize = 32;

/// A prepared statement.
pub(super) struct Named {
    name: String,
    prepare: String,
}

impl Named {
    /// `types` are those of the parameters, in parentheses; where it is empty the server infers them.
    pub(super) fn new(types: &str, body: &str) -> Arc<Self> {
        Self::of_family("", types, body)
    }

    /// Whose name also depends on what is prepared with it.
    pub(super) fn of_family(family: &str, types: &str, body: &str) -> Arc<Self> {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/postgres/named/1\0");
        for part in [family, types, body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let name = format!("exactly_once_{}", literal::hex(&digest[..16]));
        Arc::new(Self {
            prepare: format!("PREPARE {name}{types} AS {body}\n"),
            name,
        })
    }

    /// The SQL that executes it; the values are SQL.
    pub(super) fn call(&self, values: &[String]) -> String {
        let mut sql = format!("EXECUTE {}", self.name);
        for (at, value) in values.iter().enumerate() {
            sql.push_str(if at == 0 { "(" } else { ", " });
            sql.push_str(value);
        }
        sql.push_str(if values.is_empty() { "; " } else { "); " });
        sql
    }
}

/// The first statement of a group's transaction: settings, and the guard against a transaction that
/// was left open; as [`crate::postgres::statements::begin`].
pub(super) fn begin(preamble: &Preamble, more: &str) -> String {
    format!("SELECT {}{}{more}", guard(), preamble.settings())
}

/// Is 1, and fails with [`NOT_OURS`] in a transaction that was open before this message.
pub(super) fn guard() -> &'static str {
    "pg_catalog.sqrt((CASE WHEN pg_catalog.now() = pg_catalog.statement_timestamp() \
     THEN 1 ELSE -1 END)::float8)"
}

/// A value that can only be had where the condition holds; fails with [`NOT_ALL`].
pub(super) fn all_or_nothing(condition: &str) -> String {
    format!("pg_catalog.ln((CASE WHEN {condition} THEN 1 ELSE 0 END)::float8)")
}

/// One transaction in one message.
pub(super) struct Message {
    sql: String,
    uses: Vec<Arc<Named>>,
    /// How many of its first statements are settings and guard.
    preamble: usize,
    /// How many statements it has.
    statements: usize,
    /// The position of the first statement that prepares a user's text.
    effects: Option<usize>,
    /// Whether its statements are prepared as impatiently as a batch is executed.
    brief: bool,
}

impl Message {
    /// Begins with the settings.
    pub(super) fn begin(settings: &Arc<Named>) -> Self {
        let mut message = Self {
            sql: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; ".to_owned(),
            uses: Vec::new(),
            preamble: PREAMBLE_REPLIES,
            statements: 1,
            effects: None,
            brief: false,
        };
        message.execute(settings, &[]);
        message
    }

    /// One statement behind those that limit it: together they are a transaction, without words that
    /// begin and end it. It has to fail in a transaction that was open before.
    pub(super) fn by_itself(limits: &str) -> Self {
        Self {
            sql: limits.to_owned(),
            uses: Vec::new(),
            preamble: LIMITS,
            statements: LIMITS,
            effects: None,
            brief: true,
        }
    }

    /// One statement that only reads, and is a transaction by itself. It has to hold the [`guard`].
    pub(super) fn alone(statement: &Arc<Named>, values: &[String]) -> Self {
        let mut message = Self {
            sql: String::new(),
            uses: Vec::new(),
            preamble: 1,
            statements: 0,
            effects: None,
            brief: false,
        };
        message.execute(statement, values);
        message
    }

    /// Runs a statement; the values are SQL.
    pub(super) fn execute(&mut self, statement: &Arc<Named>, values: &[String]) {
        self.sql.push_str(&statement.call(values));
        self.statements += 1;
        self.uses(statement);
    }

    /// Runs a statement without a name.
    pub(super) fn plain(&mut self, sql: &str) {
        self.sql.push_str(sql);
        self.sql.push_str("; ");
        self.statements += 1;
    }

    /// Prepares a user's text until the end of the message. A line break ends a comment at its end.
    pub(super) fn prepare_effect(&mut self, number: usize, body: &str) {
        self.effects.get_or_insert(self.statements);
        let _ = write!(self.sql, "PREPARE {EFFECT}{number} AS {body}\n; ");
        self.statements += 1;
    }

    /// Wants a statement to be known, now or later.
    pub(super) fn uses(&mut self, statement: &Arc<Named>) {
        if !self.uses.iter().any(|used| used.name == statement.name) {
            self.uses.push(Arc::clone(statement));
        }
    }

    /// The position of the next statement, which an error names by [`DriverError::after`].
    pub(super) fn position(&self) -> usize {
        self.statements
    }

    /// Ends with the first phase of a two-phase commit; the identifier needs no quoting.
    pub(super) fn prepare(mut self, gid: &str) -> Self {
        self.sql.push_str("PREPARE TRANSACTION '");
        self.sql.push_str(gid);
        self.sql.push('\'');
        self
    }

    /// Ends with the commit.
    pub(super) fn commit(mut self) -> Self {
        self.sql.push_str("COMMIT");
        self
    }
}

impl<D: Driver> PostgresStore<D> {
    /// Sends a transaction. After an error with a code nothing is open, and unless it says otherwise
    /// nothing is stored.
    pub(super) async fn send(&self, message: &Message) -> Result<Vec<Reply>, DriverError> {
        let mut last = DriverError::bare(Cause::Exhausted);
        let mut prepared = None;
        for _ in 0..ROUNDS {
            let mut session = match prepared.take() {
                Some(session) => session,
                None => self.session().await?,
            };
            let failed = match session.batch(&message.sql).await {
                Ok(replies) => {
                    session.release();
                    return Ok(replies);
                }
                Err(failed) => failed,
            };
            match unusable(&failed, message.preamble, NOT_OURS) {
                // Closed, with the session.
                Some(Unusable::Left | Unusable::Dead) => {
                    last = failed;
                    continue;
                }
                Some(Unusable::Standby) => return Err(standby(failed)),
                None => {}
            }
            match failed.code() {
                Some(UNKNOWN_STATEMENT) => {
                    prepared = Some(self.prepare_missing(session, message).await?)
                }
                Some(KNOWN_STATEMENT) => prepared = clear_effects(session).await.ok(),
                Some(_) => {
                    // Failing that, the session closes its connection.
                    if message.effects.is_some_and(|first| failed.after > first) {
                        if let Ok(session) = clear_effects(session).await {
                            session.release();
                        }
                    } else {
                        let _ = session.roll_back().await;
                    }
                    return Err(failed);
                }
                None => return Err(failed),
            }
            last = failed;
        }
        Err(last)
    }
}

impl<D: Driver> PostgresStore<D> {
    /// Sends the beginning of a transaction, and keeps it open. Its first statement returns the
    /// transaction's identity; see [`crate::postgres::statements::first`].
    pub(super) async fn open_named(
        &self,
        message: &Message,
    ) -> Result<Begun<D::Connection>, DriverError> {
        let mut last = DriverError::bare(Cause::Exhausted);
        let mut prepared = None;
        for _ in 0..ROUNDS {
            let mut session = match prepared.take() {
                Some(session) => session,
                None => self.session().await?,
            };
            let failed = match session.batch(&message.sql).await {
                Ok(replies) => return session.begun(replies),
                Err(failed) => failed,
            };
            if failed.code() == Some(UNKNOWN_STATEMENT) {
                last = match self.prepare_missing(session, message).await {
                    Ok(session) => {
                        prepared = Some(session);
                        failed
                    }
                    Err(error) if error.cause == Cause::Lost => error,
                    Err(error) => return Err(error),
                };
                continue;
            }
            match session.begin_failed(failed).await {
                BeginError::Dirty => {}
                // It was dead before; nothing was done, and a new one is made.
                BeginError::Failed(error) if error.cause == Cause::Lost => last = error,
                BeginError::Failed(error) => return Err(error),
            }
        }
        Err(last)
    }
}

impl<D: Driver> PostgresStore<D> {
    /// Prepares on a connection what it does not know, and gives it back: the next one out of the pool
    /// may know as little.
    async fn prepare_missing(
        &self,
        session: Session<D::Connection>,
        message: &Message,
    ) -> Result<Session<D::Connection>, DriverError> {
        let lock = match message.brief {
            true => super::LOCK_WAIT.min(self.timeouts().lock),
            false => self.timeouts().lock,
        };
        let prepared = prepare_missing(session, &message.uses, lock).await;
        // It is no position in the message itself.
        prepared.map_err(|failed| failed.after(0))
    }
}

/// Ends what is open, and removes the texts that a message has prepared: a prepared statement
/// outlives a rollback. In one transaction, so that behind a pooler it is one connection.
async fn clear_effects<C: Connection>(mut session: Session<C>) -> Result<Session<C>, DriverError> {
    let look = format!(
        "ROLLBACK; BEGIN; SELECT name FROM pg_catalog.pg_prepared_statements \
         WHERE pg_catalog.starts_with(name, '{EFFECT}')"
    );
    let known = session.batch(&look).await?;
    let mut sql = String::new();
    for row in known.iter().flat_map(|reply| &reply.rows) {
        let number = row
            .first()
            .and_then(|name| name.as_deref()?.strip_prefix(EFFECT));
        if let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) {
            let _ = write!(sql, "DEALLOCATE {EFFECT}{number}; ");
        }
    }
    sql.push_str("COMMIT");
    session.batch(&sql).await?;
    Ok(session)
}

/// In one transaction, so that behind a pooler it is one connection; and it waits for no lock for
/// longer than a caller does.
async fn prepare_missing<C: Connection>(
    mut session: Session<C>,
    uses: &[Arc<Named>],
    lock: Duration,
) -> Result<Session<C>, DriverError> {
    let names: Vec<String> = uses.iter().map(|used| format!("'{}'", used.name)).collect();
    let look = format!(
        "ROLLBACK; BEGIN; SET LOCAL lock_timeout = {}; \
         SELECT name FROM pg_catalog.pg_prepared_statements WHERE name IN ({})",
        lock.as_millis().max(1),
        names.join(", ")
    );
    let known = session.batch(&look).await?;
    let is_known = |used: &&Arc<Named>| {
        known.iter().flat_map(|reply| &reply.rows).any(|row| {
            row.first()
                .is_some_and(|name| name.as_deref() == Some(&used.name))
        })
    };
    let mut sql = String::new();
    for used in uses.iter().filter(|used| !is_known(used)) {
        let _ = write!(sql, "{}; ", used.prepare);
    }
    sql.push_str("COMMIT");
    match session.batch(&sql).await {
        Ok(_) => Ok(session),
        Err(failed) => {
            let _ = session.roll_back().await;
            Err(failed)
        }
    }
}

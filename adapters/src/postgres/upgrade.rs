//! Tables of an older version become those of this one, in one transaction.
//!
//! In version 1 an operation's record held its changes as JSON, and the lines of the history were
//! rows of a table of their own. The table of the records is changed in place, so that its owner, its
//! rights and its publications stay; it is read here and not by SQL, as names may be UTF-8 that the
//! database's encoding can't represent.

use std::time::Duration;

use exactly_once_core::{
    Change, ErrorKind, IdempotencyKey, Result, StoreIdentity,
    balance::{MAX_LEGS, Refused},
    identity::IDENTITY_BYTES,
};

use super::{
    driver::{Driver, Reply},
    error::{convert, error, garbled},
    literal,
    migrate::MIGRATE,
    schema::{Tables, VERSION},
    session::Session,
    sqlstate::Stage,
    statements::number,
    store::PostgresStore,
};

/// The version that can be upgraded.
pub(super) const OLDER: i64 = 1;

/// How many operations are read and written at once.
const BATCH: usize = 1_000;

/// How long a single statement may take: it may make an index of a large table.
const PATIENCE: Duration = Duration::from_secs(600);

/// An operation of version 1; names in hexadecimal.
struct Old {
    namespace: String,
    key: String,
    fingerprint: String,
    ended: Ended,
}

enum Ended {
    Applied(Vec<Change>),
    /// In hexadecimal.
    Refused(String),
}

impl<D: Driver> PostgresStore<D> {
    /// Upgrades, in the transaction that is open and has the migration lock. After an error the
    /// transaction must be given up; nothing has changed then.
    pub(super) async fn upgrade(&self, session: &mut Session<D::Connection>) -> Result<()> {
        session.wait_for_replies(PATIENCE);
        let tables = self.tables();
        // Programs of the older version wait from here on; then they find no such table, and fail.
        run(session, &begin(tables)).await?;
        let (mut last, mut written) = (None, 0);
        loop {
            let replies = run(session, &next(tables, last.as_ref())).await?;
            let rows = replies.first().map_or(&[][..], |reply| &reply.rows);
            let old = rows
                .iter()
                .map(|row| Old::read(row))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| garbled(MIGRATE))?;
            let Some(end) = old.last() else {
                break;
            };
            last = Some((end.namespace.clone(), end.key.clone()));
            run(session, &write(tables, &old)).await?;
            written += old.iter().map(Old::lines).sum::<i64>();
        }
        let count = format!(
            "SELECT pg_catalog.count(*) FROM {}",
            tables.sibling("history")
        );
        let lines = number(run(session, &count).await?.first(), 0);
        let lines = lines.ok_or_else(|| garbled(MIGRATE))?;
        if lines != written {
            return Err(error(
                ErrorKind::Configuration,
                MIGRATE,
                format!(
                    "the tables of version {OLDER} contradict each other: the history has {lines} \
                     lines, the operations {written}; nothing was changed. Restore what is missing, \
                     or keep to the older version of the exactly-once crate"
                ),
            ));
        }
        run(session, &end(tables)).await.map(drop)
    }
}

async fn run<C: super::driver::Connection>(
    session: &mut Session<C>,
    sql: &str,
) -> Result<Vec<Reply>> {
    session
        .batch(sql)
        .await
        .map_err(|failed| convert(failed, MIGRATE, Stage::Before))
}

/// Without statistics the planner would read, or sort, what is left of the table for each batch.
const BY_INDEX: &str = "pg_catalog.set_config('enable_seqscan', 'off', true), \
                        pg_catalog.set_config('enable_bitmapscan', 'off', true), \
                        pg_catalog.set_config('enable_sort', 'off', true), \
                        pg_catalog.set_config('enable_hashjoin', 'off', true), \
                        pg_catalog.set_config('enable_mergejoin', 'off', true)";

fn begin(tables: &Tables) -> String {
    let (changes, operations) = (&tables.changes, tables.sibling("operations"));
    format!(
        "SELECT pg_catalog.set_config('statement_timeout', '0', true), {BY_INDEX}; \
         LOCK TABLE {operations}, {history} IN ACCESS EXCLUSIVE MODE; \
         ALTER TABLE {operations} RENAME TO changes; \
         ALTER TABLE {changes} ADD COLUMN leg int2 NOT NULL DEFAULT 0, \
         ADD COLUMN account bytea, ADD COLUMN version int8, ADD COLUMN kind text, \
         ADD COLUMN delta int8, ADD COLUMN after int8, ADD COLUMN refusal bytea, \
         DROP CONSTRAINT operations_pkey, \
         ADD CONSTRAINT changes_pkey PRIMARY KEY (namespace, key, leg); \
         {index}",
        history = tables.sibling("history"),
        index = Tables::index_changes(changes),
    )
}

/// The operations after this one.
fn next(tables: &Tables, last: Option<&(String, String)>) -> String {
    let after = last.map_or_else(String::new, |(namespace, key)| {
        format!(
            "AND (namespace, key) > (pg_catalog.decode('{namespace}', 'hex'), \
             pg_catalog.decode('{key}', 'hex'))"
        )
    });
    format!(
        "SELECT pg_catalog.encode(namespace, 'hex'), pg_catalog.encode(key, 'hex'), \
         pg_catalog.encode(fingerprint, 'hex'), pg_catalog.encode(changes, 'hex') FROM {} \
         WHERE leg = 0 {after} ORDER BY namespace, key LIMIT {BATCH}",
        tables.changes
    )
}

impl Old {
    fn read(row: &[Option<String>]) -> Option<Self> {
        let cell = |column: usize| row.get(column)?.clone();
        let record = cell(3)?;
        let bytes = literal::unhex(&record)?;
        let key = cell(1)?;
        let ended = if bytes.first() == Some(&b'[') {
            let changes: Vec<Change> = serde_json::from_slice(&bytes).ok()?;
            let own = IdempotencyKey::from_bytes(&literal::unhex(&key)?).ok()?;
            let is_own = |change: &Change| change.key == own;
            if changes.is_empty() || changes.len() > MAX_LEGS || !changes.iter().all(is_own) {
                return None;
            }
            Ended::Applied(changes)
        } else {
            Refused::parse(std::str::from_utf8(&bytes).ok()?)?;
            Ended::Refused(record)
        };
        Some(Self {
            namespace: cell(0)?,
            key,
            fingerprint: cell(2)?,
            ended,
        })
    }

    /// How many lines it has in the history.
    fn lines(&self) -> i64 {
        match &self.ended {
            Ended::Applied(changes) => i64::try_from(changes.len()).unwrap_or(i64::MAX),
            Ended::Refused(_) => 0,
        }
    }
}

/// What is written in place: the first leg, or the refusal.
fn first_leg(old: &Old) -> String {
    let name = |hex: &str| format!("pg_catalog.decode('{hex}', 'hex')");
    let (namespace, key) = (name(&old.namespace), name(&old.key));
    let values = match &old.ended {
        Ended::Applied(changes) => changes.first().map(columns).unwrap_or_default(),
        Ended::Refused(record) => format!(
            "NULL::bytea, NULL::int8, NULL::text, NULL::int8, NULL::int8, {}",
            name(record)
        ),
    };
    format!("({namespace}, {key}, {values})")
}

/// The further legs of a transfer.
fn further_legs(old: &Old) -> Vec<String> {
    let Ended::Applied(changes) = &old.ended else {
        return Vec::new();
    };
    let row = |(leg, change): (usize, &Change)| {
        format!(
            "(pg_catalog.decode('{}', 'hex'), pg_catalog.decode('{}', 'hex'), {leg}, \
             pg_catalog.decode('{}', 'hex'), ''::bytea, {})",
            old.namespace,
            old.key,
            old.fingerprint,
            columns(change)
        )
    };
    changes.iter().enumerate().skip(1).map(row).collect()
}

/// `account, version, kind, delta, after, refusal`.
fn columns(change: &Change) -> String {
    format!(
        "{}, {}, '{}'::text, {}, {}, NULL::bytea",
        literal::bytes(change.account.as_str().as_bytes()),
        literal::int(change.version.get()),
        change.kind.as_str(),
        literal::int(change.delta.get()),
        literal::int(change.after.get()),
    )
}

fn write(tables: &Tables, old: &[Old]) -> String {
    let changes = &tables.changes;
    let firsts: Vec<String> = old.iter().map(first_leg).collect();
    let mut sql = format!(
        "UPDATE {changes} c SET account = v.account, version = v.version, kind = v.kind, \
         delta = v.delta, after = v.after, refusal = v.refusal FROM (VALUES {}) v \
         (namespace, key, account, version, kind, delta, after, refusal) \
         WHERE c.namespace = v.namespace AND c.key = v.key AND c.leg = 0",
        firsts.join(", ")
    );
    let legs: Vec<String> = old.iter().flat_map(further_legs).collect();
    if !legs.is_empty() {
        sql.push_str(&format!(
            "; INSERT INTO {changes} (namespace, key, leg, fingerprint, changes, \
             account, version, kind, delta, after, refusal) VALUES {}",
            legs.join(", ")
        ));
    }
    sql
}

fn end(tables: &Tables) -> String {
    format!(
        "ALTER TABLE {changes} ALTER COLUMN leg DROP DEFAULT, DROP COLUMN changes; \
         DROP TABLE {history}; \
         ALTER TABLE {outcomes} RENAME fingerprint TO terms; \
         UPDATE {outcomes} SET terms = terms || {none}; \
         ALTER TABLE {decisions} RENAME fingerprint TO terms; \
         ALTER TABLE {decisions} ADD COLUMN participants bytea NOT NULL DEFAULT '', \
         ADD COLUMN settled text; \
         ALTER TABLE {decisions} ALTER COLUMN participants DROP DEFAULT; \
         UPDATE {decisions} SET terms = terms || {none}; \
         ALTER TABLE {version} ADD COLUMN identity bytea; \
         UPDATE {version} SET version = {VERSION}, identity = {identity}; \
         ALTER TABLE {version} ALTER COLUMN identity SET NOT NULL",
        changes = tables.changes,
        history = tables.sibling("history"),
        version = tables.version,
        outcomes = tables.outcomes,
        decisions = tables.decisions,
        none = literal::bytes(&[0; 2 * IDENTITY_BYTES]),
        identity = literal::bytes(StoreIdentity::random().as_bytes()),
    )
}

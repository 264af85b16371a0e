//! The store's own tables, and how they come to be.

use exactly_once_core::StoreIdentity;
use sha2::{Digest, Sha256};

use super::identifier::quote;

/// The schema of the tables, where none is named.
pub(crate) const DEFAULT_SCHEMA: &str = "exactly_once";

/// The version of the tables below.
pub(crate) const VERSION: i64 = 1;

/// Full names, quoted.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// The schema's name as it is.
    name: String,
    pub(super) schema: String,
    pub(super) version: String,
    pub(super) keys: String,
    pub(super) fencing: String,
    pub(super) accounts: String,
    pub(super) changes: String,
    pub(super) outcomes: String,
    pub(super) decisions: String,
}

impl Tables {
    pub(super) fn new(name: &str) -> Self {
        let schema = quote(name);
        let table = |name: &str| format!("{schema}.{name}");
        Self {
            version: table("schema_version"),
            keys: table("keys"),
            fencing: table("fencing_tokens"),
            accounts: table("accounts"),
            changes: table("changes"),
            outcomes: table("outcomes"),
            decisions: table("decisions"),
            schema,
            name: name.to_owned(),
        }
    }

    /// The advisory lock under which these tables are made. It follows from the schema's name, so
    /// all programs agree on it, and none waits for the tables of another schema.
    pub(super) fn migration_lock(&self) -> i64 {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once migrate ");
        hash.update(self.name.as_bytes());
        let start = hash.finalize().first_chunk().copied().unwrap_or_default();
        i64::from_be_bytes(start)
    }

    /// Everything, for an empty schema.
    ///
    /// Names are `bytea`: compared byte by byte in every collation and encoding. Moments are
    /// microseconds since 1970, as the whole range of a `Timestamp` does not fit `timestamptz`.
    pub(super) fn create(&self) -> String {
        let Self {
            name: _,
            schema: _,
            version,
            keys,
            fencing,
            accounts,
            changes,
            outcomes,
            decisions,
        } = self;
        let changes = Self::create_changes(changes);
        let identity = super::literal::bytes(StoreIdentity::random().as_bytes());
        format!(
            "CREATE TABLE {version} (version int8 PRIMARY KEY, identity bytea NOT NULL);
INSERT INTO {version} VALUES ({VERSION}, {identity});
CREATE SEQUENCE {fencing} AS int8;
CREATE TABLE {keys} (
    namespace bytea NOT NULL,
    key bytea NOT NULL,
    fingerprint bytea NOT NULL,
    -- NULL while claimed or leased; 1 applied, 2 rejected
    outcome int2,
    body bytea,
    status int4,
    -- of the lease; 0 where there is none
    token int8 NOT NULL DEFAULT 0,
    lease_until int8 NOT NULL DEFAULT 0,
    completed_at int8,
    -- NULL is never
    expires_at int8,
    PRIMARY KEY (namespace, key)
);
CREATE INDEX keys_by_expiry ON {keys} (namespace, expires_at) WHERE outcome IS NOT NULL;
CREATE TABLE {accounts} (
    namespace bytea NOT NULL,
    account bytea NOT NULL,
    amount int8 NOT NULL,
    version int8 NOT NULL CHECK (version >= 1),
    -- NULL is no floor
    floor int8,
    open bool NOT NULL,
    PRIMARY KEY (namespace, account)
) WITH (fillfactor = 80);
{changes};
CREATE TABLE {outcomes} (
    namespace bytea NOT NULL,
    transaction bytea NOT NULL,
    -- fingerprint (32 bytes), the register's identity (16), digest of the participants (16)
    terms bytea NOT NULL,
    committed bool NOT NULL,
    not_after int8 NOT NULL,
    forget_after int8 NOT NULL,
    PRIMARY KEY (namespace, transaction)
);
CREATE INDEX outcomes_by_end ON {outcomes} (namespace, forget_after);
CREATE TABLE {decisions} (
    namespace bytea NOT NULL,
    transaction bytea NOT NULL,
    terms bytea NOT NULL,
    -- identities, 16 bytes each; empty where a sweeper decided
    participants bytea NOT NULL,
    committed bool NOT NULL,
    finished bool NOT NULL DEFAULT false,
    -- the participants that did not obey it, with a space between them; NULL where all did
    disputed text,
    -- how an operator settled it, as JSON
    settled text,
    not_after int8 NOT NULL,
    forget_after int8 NOT NULL,
    PRIMARY KEY (namespace, transaction)
);
CREATE INDEX decisions_by_end ON {decisions} (namespace, forget_after);
CREATE INDEX decisions_unfinished ON {decisions} (namespace, transaction) WHERE NOT finished"
        )
    }

    /// Every balance operation: its record, by its key, is the line of its account's history as well.
    fn create_changes(table: &str) -> String {
        format!(
            "CREATE TABLE {table} (
    namespace bytea NOT NULL,
    key bytea NOT NULL,
    -- from 0 on: a transfer makes several changes
    leg int2 NOT NULL,
    fingerprint bytea NOT NULL,
    -- NULL where the operation was refused
    account bytea,
    version int8,
    kind text,
    delta int8,
    after int8,
    -- as text; NULL where it was applied
    refusal bytea,
    PRIMARY KEY (namespace, key, leg)
);
{}",
            Self::index_changes(table)
        )
    }

    /// The order of the history.
    pub(super) fn index_changes(table: &str) -> String {
        format!(
            "CREATE UNIQUE INDEX changes_by_account ON {table} (namespace, account, version) \
             WHERE account IS NOT NULL"
        )
    }

    /// Whether the tables are there, as one cell; needs no right at all. It reads the catalogue by a
    /// new snapshot: `to_regclass` would answer from a cache that is older than a lock just taken.
    /// The inner selects are worked out once and make it two looks into indexes; as plain conditions
    /// they would be worked out for each table of the database.
    pub(super) fn exists(&self) -> String {
        format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'schema_version' \
             AND relnamespace = (SELECT oid FROM pg_catalog.pg_namespace \
             WHERE nspname = (SELECT {}::name)))",
            super::literal::text(&self.name)
        )
    }

    /// Whether the schema is there, as one cell.
    pub(super) fn schema_exists(&self) -> String {
        format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {}::name)",
            super::literal::text(&self.name)
        )
    }

    /// The identity of the data, in hexadecimal, where [`Self::exists`].
    pub(super) fn read_identity(&self) -> String {
        format!(
            "SELECT pg_catalog.encode(identity, 'hex') FROM {}",
            self.version
        )
    }

    /// The version number, where [`Self::exists`].
    pub(super) fn read_version(&self) -> String {
        format!("SELECT version FROM {}", self.version)
    }
}

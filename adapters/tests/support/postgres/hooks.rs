//! What the optional hooks of the harness do to a place: other roles and databases, a pooler, settings
//! of an operator's, tables of another version.

use exactly_once::{AccountId, Namespace, Version};
use exactly_once_conformance::{CaseResult, harness::Way};

use super::ground::{DATABASE, Place, failed};

/// What can't be prepared, by what it is.
pub const UNPREPARABLE: [(&str, &str); 5] = [
    ("a temporary table", "CREATE TEMPORARY TABLE x (n int8)"),
    ("NOTIFY", "NOTIFY channel"),
    ("LISTEN", "LISTEN channel"),
    (
        "a cursor that is held",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ),
    ("an exported snapshot", "SELECT pg_export_snapshot()"),
];

/// What a deferred constraint refuses. The table is the transaction's own.
pub const VIOLATION: &str = "DO $$ DECLARE own text := current_setting('application_name'); BEGIN \
     EXECUTE format('CREATE TABLE %I (n int8 UNIQUE DEFERRABLE INITIALLY DEFERRED)', own); \
     EXECUTE format('INSERT INTO %I VALUES (1), (1)', own); END $$";

/// Statements of a batch that are refused, by what they do to those that share it.
pub const POISONS: [(&str, &str); 7] = [
    ("a constraint", "INSERT INTO effects (id) VALUES (NULL)"),
    (
        "a deferred constraint",
        "INSERT INTO deferred VALUES (1), (1)",
    ),
    ("a savepoint", "SAVEPOINT x"),
    ("a rollback to a savepoint", "ROLLBACK TO SAVEPOINT x"),
    ("a commit", "COMMIT"),
    ("a rollback", "ROLLBACK"),
    (
        "a value of another type",
        "INSERT INTO deferred VALUES ('no number'::text::int8)",
    ),
];

/// Whether the condition holds, as a statement that fails where it does not.
macro_rules! fails_unless {
    ($condition:literal) => {
        concat!(
            "DO $$ BEGIN IF NOT (",
            $condition,
            ") THEN RAISE 'no'; END IF; END $$"
        )
    };
}

/// What a connection keeps: how it is changed, and what is true of one that was. A statement that the
/// work prepares by SQL text does stay.
pub const SESSION: [(&str, &str, &str); 6] = [
    (
        "a setting",
        "SET work_mem = '7777kB'",
        fails_unless!("current_setting('work_mem') = '7777kB'"),
    ),
    (
        "the search path",
        "SET search_path = pg_catalog",
        fails_unless!("current_setting('search_path') = 'pg_catalog'"),
    ),
    (
        "a temporary table",
        "CREATE TEMPORARY TABLE left_behind (n int8)",
        fails_unless!("to_regclass('pg_temp.left_behind') IS NOT NULL"),
    ),
    (
        "an advisory lock",
        "SELECT pg_advisory_lock(4711)",
        fails_unless!(
            "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objid = 4711)"
        ),
    ),
    (
        "a listener",
        "LISTEN left_behind",
        fails_unless!("EXISTS (SELECT FROM pg_listening_channels())"),
    ),
    (
        "a cursor that is held",
        "DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1",
        fails_unless!("EXISTS (SELECT FROM pg_cursors WHERE name = 'left_behind')"),
    ),
];

/// What an operator may have set for a role.
pub const HOSTILE: [&str; 9] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "standard_conforming_strings = off",
    "backslash_quote = on",
    "synchronous_commit = off",
    "bytea_output = 'escape'",
    "datestyle = 'German'",
    "timezone = 'Pacific/Chatham'",
];

fn text(text: &str) -> String {
    format!("convert_to('{}', 'UTF8')", text.replace('\'', "''"))
}

impl Place {
    /// Runs SQL as the superuser.
    async fn run(&self, sql: &str) -> CaseResult {
        self.schema.spoil();
        self.look.run(sql).await.map_err(failed)
    }

    /// A role with the least of rights, and the URL to come as it, past any pooler.
    async fn role(&self, role: &str) -> CaseResult<String> {
        let (place, schema) = (&self.name, self.schema.name());
        self.run(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'throwaway'; \
             GRANT USAGE ON SCHEMA {schema} TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}; \
             GRANT INSERT ON effects, deferred TO {role}"
        ))
        .await?;
        let direct = Self::own(&self.postgres()?.database_url(DATABASE), place);
        Ok(direct.replace("postgres:throwaway", &format!("{role}:throwaway")))
    }

    /// Where to connect to in order to come this way.
    pub async fn by(&self, way: Way) -> CaseResult<String> {
        match way {
            Way::AnotherRole => self.role(&format!("{}_other", self.name)).await,
            Way::AnotherDatabase => {
                let far = format!("{}_far", self.name);
                self.run(&format!("CREATE DATABASE {far}")).await?;
                Ok(Self::own(&self.postgres()?.database_url(&far), &self.name))
            }
            _ => self.pooled_url(),
        }
    }

    /// A setting of an operator's, for a role of its own.
    pub async fn with_setting(&self, number: usize, setting: &str) -> CaseResult<String> {
        let role = format!("{}_role_{number}", self.name);
        let url = self.role(&role).await?;
        self.run(&format!("ALTER ROLE {role} SET {setting}"))
            .await?;
        Ok(url)
    }

    /// Makes the tables those of a newer version.
    pub async fn make_newer(&self) -> CaseResult {
        let newer = format!(
            "UPDATE {}.schema_version SET version = 999",
            self.schema.name()
        );
        self.run(&newer).await
    }

    /// Gives an account another version.
    pub async fn set_version(
        &self,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        self.run(&format!(
            "UPDATE {}.accounts SET version = {version} WHERE namespace = {} AND account = {}",
            self.schema.name(),
            text(namespace.as_str()),
            text(account.as_str())
        ))
        .await
    }
}

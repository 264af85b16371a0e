//! One server with a database for each participant, and looks past the stores.

use std::time::Duration;

use exactly_once::{
    PreparedTransactions, Store,
    postgres::{Timeouts, TokioPostgresStore},
};
use exactly_once_servers::Postgres;

pub(crate) type Tx = <TokioPostgresStore as exactly_once::Transactional>::Tx;

/// The databases of the participants. The first one holds the register too.
const DATABASES: [&str; 2] = ["first", "second"];

pub(crate) struct Bench {
    postgres: Postgres,
    stores: Vec<TokioPostgresStore>,
}

impl Bench {
    pub(crate) async fn start() -> Self {
        let options = Postgres::options(18)
            .setting("max_prepared_transactions", "100")
            .setting("max_connections", "200");
        let postgres = options.start().await.unwrap();
        for database in DATABASES {
            let create = format!("CREATE DATABASE {database}");
            postgres.sql("postgres", &create).await.unwrap();
            let tables = "CREATE TABLE work (tag text NOT NULL); \
                CREATE TABLE seat (tag text PRIMARY KEY, taken int NOT NULL)";
            postgres.sql(database, tables).await.unwrap();
        }
        let mut stores = Vec::new();
        for database in DATABASES {
            let timeouts = Timeouts {
                connect: Duration::from_secs(30),
                acquire: Duration::from_secs(30),
                lock: Duration::from_millis(300),
                ..Timeouts::default()
            };
            let store = TokioPostgresStore::builder(postgres.database_url(database))
                .timeouts(timeouts)
                .pool_size(60)
                .connect()
                .await
                .unwrap();
            stores.push(store);
        }
        Self { postgres, stores }
    }

    /// The participant's own handle: a namespace for each replay.
    pub(crate) fn store(&self, at: usize, tag: &str) -> TokioPostgresStore {
        self.stores[at].with_namespace(tag.parse().unwrap())
    }

    pub(crate) async fn sql(&self, at: usize, sql: &str) -> String {
        let answer = self.postgres.sql(DATABASES[at], sql).await;
        answer.unwrap().trim().to_owned()
    }

    /// A row that the work of every attempt changes.
    pub(crate) async fn seat(&self, at: usize, tag: &str) {
        let insert = format!("INSERT INTO seat VALUES ('{tag}', 0)");
        self.sql(at, &insert).await;
    }

    /// How often the work was committed.
    pub(crate) async fn effects(&self, at: usize, tag: &str) -> u32 {
        let count = format!("SELECT count(*) FROM work WHERE tag = '{tag}'");
        self.sql(at, &count).await.parse().unwrap()
    }

    /// Whether a transaction still holds the row.
    pub(crate) async fn is_locked(&self, at: usize, tag: &str) -> bool {
        let free = format!(
            "SELECT count(*) FROM (SELECT 1 FROM seat WHERE tag = '{tag}' FOR UPDATE SKIP LOCKED) x"
        );
        self.sql(at, &free).await == "0"
    }

    pub(crate) async fn in_doubt(&self, at: usize, tag: &str) -> usize {
        let page = self.store(at, tag).in_doubt(None, 10).await.unwrap();
        page.entries.len()
    }

    /// Ends what is prepared there and leaves nothing, as a failover that loses it does.
    pub(crate) async fn lose(&self, at: usize, digest: &str) {
        let gid = format!(
            "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE '%{digest}%' AND database = current_database()"
        );
        let gid = self.sql(at, &gid).await;
        if !gid.is_empty() {
            self.sql(at, &format!("ROLLBACK PREPARED '{gid}'")).await;
        }
    }

    /// Removes a record whatever its time.
    pub(crate) async fn remove(&self, at: usize, table: &str, digest: &str) {
        let delete =
            format!("DELETE FROM exactly_once.{table} WHERE transaction = '\\x{digest}'::bytea");
        self.sql(at, &delete).await;
    }
}

//! Seven stores of one backend, and looks past them.

use std::{path::PathBuf, time::Duration};

use exactly_once::{
    AnyStore, Statement, Store,
    postgres::{Timeouts, TokioPostgresStore},
    redis::RedisStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};
use tempfile::TempDir;

/// The store of another register.
pub(crate) const ANOTHER: usize = 4;
/// A restored copy of the first store.
pub(crate) const COPY: usize = 5;
/// A restored copy of the first store, with an identity of its own.
pub(crate) const ADOPTED: usize = 6;

const NAMES: [&str; 7] = [
    "first", "second", "third", "fourth", "another", "copy", "adopted",
];
const TABLE: &str = "CREATE TABLE work (tag text NOT NULL, terms bigint NOT NULL)";
const STRICT_TABLE: &str = "CREATE TABLE work (tag TEXT NOT NULL, terms INTEGER NOT NULL) STRICT";

enum Ground {
    Postgres(Postgres),
    Sqlite(TempDir),
    Redis(Redis),
}

pub(crate) struct Bench {
    ground: Ground,
    stores: Vec<AnyStore>,
}

impl Bench {
    pub(crate) async fn postgres() -> Self {
        let options = Postgres::options(18)
            .setting("max_prepared_transactions", "100")
            .setting("max_connections", "300");
        let postgres = options.start().await.unwrap();
        let create = async |create: String| postgres.sql("postgres", &create).await;
        for name in &NAMES[..COPY] {
            create(format!("CREATE DATABASE {name}")).await.unwrap();
            postgres.sql(name, TABLE).await.unwrap();
        }
        let first = open_postgres(&postgres, NAMES[0]).await;
        first.identity().await.unwrap();
        drop(first);
        for name in &NAMES[COPY..] {
            // The copied database must have no sessions.
            let mut copied = false;
            while !copied {
                let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = 'first'";
                create(end.to_owned()).await.unwrap();
                let copy = create(format!("CREATE DATABASE {name} TEMPLATE first")).await;
                copied = copy.is_ok();
            }
        }
        let mut stores = Vec::new();
        for name in NAMES {
            stores.push(open_postgres(&postgres, name).await);
        }
        Self::over(Ground::Postgres(postgres), stores).await
    }

    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in &NAMES[..COPY] {
            let file = rusqlite::Connection::open(path(name)).unwrap();
            file.execute_batch(STRICT_TABLE).unwrap();
        }
        let first = open_sqlite(path(NAMES[0])).await;
        first.identity().await.unwrap();
        drop(first);
        for name in &NAMES[COPY..] {
            let file = rusqlite::Connection::open(path(NAMES[0])).unwrap();
            let copy = format!("VACUUM INTO '{}'", path(name).display());
            file.execute_batch(&copy).unwrap();
        }
        let mut stores = Vec::new();
        for name in NAMES {
            stores.push(open_sqlite(path(name)).await);
        }
        Self::over(Ground::Sqlite(folder), stores).await
    }

    pub(crate) async fn redis() -> Self {
        let redis = Redis::start().await.unwrap();
        let first = open_redis(&redis, NAMES[0]).await;
        first.identity().await.unwrap();
        let identity = redis.cli(["KEYS", "first:*:identity"]).await.unwrap();
        for name in &NAMES[COPY..] {
            let copy = identity.replacen(NAMES[0], name, 1);
            let copied = redis.cli(["COPY", &identity, &copy]).await.unwrap();
            assert_eq!(copied, "1", "{identity:?}");
        }
        let mut stores = Vec::new();
        for name in NAMES {
            stores.push(open_redis(&redis, name).await);
        }
        Self::over(Ground::Redis(redis), stores).await
    }

    async fn over(ground: Ground, stores: Vec<AnyStore>) -> Self {
        let first = stores[0].identity().await.unwrap();
        assert_eq!(stores[COPY].identity().await.unwrap(), first);
        assert_ne!(stores[ADOPTED].adopt().await.unwrap(), first);
        Self { ground, stores }
    }

    /// The stores in a namespace of one replay.
    pub(crate) fn stores(&self, tag: &str) -> Vec<AnyStore> {
        let own = self
            .stores
            .iter()
            .map(|store| store.with_namespace(tag.parse().unwrap()));
        own.collect()
    }

    /// A row that names the replay, and the terms of its attempt.
    pub(crate) fn work(&self, at: usize, tag: &str, terms: usize) -> Statement {
        match self.ground {
            Ground::Redis(_) => Statement::new("RPUSH")
                .bind(list(at, tag, terms))
                .bind("work"),
            _ => Statement::new("INSERT INTO work (tag, terms) VALUES ($1, $2)")
                .bind(tag)
                .bind(i64::try_from(terms).unwrap()),
        }
    }

    /// How often the work of these terms was committed.
    pub(crate) async fn effects(&self, at: usize, tag: &str, terms: usize) -> u32 {
        let count = format!("SELECT count(*) FROM work WHERE tag = '{tag}' AND terms = {terms}");
        match &self.ground {
            Ground::Postgres(postgres) => {
                let count = postgres.sql(NAMES[at], &count).await.unwrap();
                count.trim().parse().unwrap()
            }
            Ground::Sqlite(folder) => {
                let file = rusqlite::Connection::open(folder.path().join(NAMES[at])).unwrap();
                file.query_row(&count, [], |row| row.get(0)).unwrap()
            }
            Ground::Redis(redis) => {
                let count = redis.cli(["LLEN", &list(at, tag, terms)]).await.unwrap();
                count.parse().unwrap()
            }
        }
    }

    /// Removes the decision from the first store, as a restore from before it does.
    pub(crate) async fn remove_decision(&self, tag: &str, digest: &str) {
        match &self.ground {
            Ground::Postgres(postgres) => {
                let delete = format!(
                    "DELETE FROM exactly_once.decisions WHERE transaction = '\\x{digest}'::bytea"
                );
                postgres.sql(NAMES[0], &delete).await.unwrap();
            }
            Ground::Sqlite(folder) => {
                let file = rusqlite::Connection::open(folder.path().join(NAMES[0])).unwrap();
                file.busy_timeout(Duration::from_secs(30)).unwrap();
                let delete = format!("DELETE FROM exactly_once_decision WHERE tx = x'{digest}'");
                file.execute_batch(&delete).unwrap();
            }
            Ground::Redis(redis) => {
                let keys = format!("{}:*:{tag}:decision*", NAMES[0]);
                let keys = redis.cli(["KEYS", &keys]).await.unwrap();
                for key in keys.lines() {
                    redis.cli(["DEL", key]).await.unwrap();
                }
            }
        }
    }
}

fn list(at: usize, tag: &str, terms: usize) -> String {
    format!("work:{}:{tag}:{terms}", NAMES[at])
}

async fn open_postgres(postgres: &Postgres, name: &str) -> AnyStore {
    let timeouts = Timeouts {
        connect: Duration::from_secs(30),
        acquire: Duration::from_secs(30),
        lock: Duration::from_millis(300),
        ..Timeouts::default()
    };
    let store = TokioPostgresStore::builder(postgres.database_url(name)).timeouts(timeouts);
    AnyStore::new(store.pool_size(30).connect().await.unwrap())
}

async fn open_sqlite(path: PathBuf) -> AnyStore {
    AnyStore::new(SqliteStore::open(path).await.unwrap())
}

async fn open_redis(redis: &Redis, name: &str) -> AnyStore {
    let store = RedisStore::builder(redis.url()).key_prefix(name);
    AnyStore::new(store.connect().await.unwrap())
}

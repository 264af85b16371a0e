//! A backend chosen at run time, by URL.

use std::future::Future;

use exactly_once_core::{AnyStore, Error, ErrorKind, Result};

/// Opens the store that a URL names, among the backends that are compiled in.
pub trait ConnectByUrl: Sized {
    /// Opens the store behind the URL, in the namespace `default`; take another one by
    /// [`with_namespace`](crate::Store::with_namespace).
    ///
    /// | URL | backend | feature |
    /// |---|---|---|
    /// | `postgres://user:password@host/database` | Postgres | `tokio-postgres`, else `sqlx-postgres` |
    /// | `sqlite:shop.db`, `sqlite:///var/lib/shop.db`, `sqlite:file:shop.db?mode=rwc` | SQLite | `rusqlite` |
    /// | `redis://host:6379`, `rediss://…`, `unix:///run/redis.sock` | Redis, Valkey | `redis` |
    /// | `redis+sentinel://host:26379,host:26379/master-name` | its master by Redis Sentinel | `redis` |
    /// | `memory:` | in memory, each call a store of its own | `memory` |
    ///
    /// ```
    /// # #[cfg(feature = "memory")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> exactly_once::Result<()> {
    /// use exactly_once::{AnyStore, ConnectByUrl, Store};
    ///
    /// let store = AnyStore::connect("memory:").await?;
    /// assert_eq!(store.backend(), "memory");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "memory"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration) where the scheme is unknown, or its backend is not
    /// compiled in: the message names the feature to add. The URL itself is never part of an error,
    /// since it may hold a password. Otherwise as the backend's own builder.
    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;
}

impl ConnectByUrl for AnyStore {
    async fn connect(url: &str) -> Result<Self> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(refuse(
                "the URL has no scheme, such as postgres: or sqlite:",
            ));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" => postgres(url).await,
            "sqlite" => sqlite(rest).await,
            "redis" | "rediss" | "unix" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" => {
                redis(url).await
            }
            "memory" => memory(),
            _ => Err(refuse(
                "the URL's scheme is none of postgres, postgresql, sqlite, redis, rediss, unix, \
                 redis+sentinel, memory",
            )),
        }
    }
}

fn refuse(message: &str) -> Error {
    Error::new(ErrorKind::Configuration, "connect", "any").with_message(message)
}

#[cfg(feature = "tokio-postgres")]
async fn postgres(url: &str) -> Result<AnyStore> {
    crate::postgres::TokioPostgresStore::builder(url)
        .connect()
        .await
        .map(AnyStore::with_last_participant)
}

#[cfg(all(feature = "sqlx-postgres", not(feature = "tokio-postgres")))]
async fn postgres(url: &str) -> Result<AnyStore> {
    crate::postgres::SqlxPostgresStore::builder(url)
        .connect()
        .await
        .map(AnyStore::with_last_participant)
}

#[cfg(not(any(feature = "sqlx-postgres", feature = "tokio-postgres")))]
async fn postgres(_url: &str) -> Result<AnyStore> {
    Err(refuse(
        "add the feature `tokio-postgres` or `sqlx-postgres` to connect to Postgres",
    ))
}

#[cfg(feature = "rusqlite")]
async fn sqlite(path: &str) -> Result<AnyStore> {
    crate::sqlite::SqliteStore::open(crate::sqlite::file::path_of_uri(path)?)
        .await
        .map(AnyStore::new)
}

#[cfg(not(feature = "rusqlite"))]
async fn sqlite(_path: &str) -> Result<AnyStore> {
    Err(refuse("add the feature `rusqlite` to open SQLite files"))
}

#[cfg(feature = "redis")]
async fn redis(url: &str) -> Result<AnyStore> {
    crate::redis::RedisStore::builder(url)
        .connect()
        .await
        .map(AnyStore::new)
}

#[cfg(not(feature = "redis"))]
async fn redis(_url: &str) -> Result<AnyStore> {
    Err(refuse("add the feature `redis` to connect to Redis"))
}

#[cfg(feature = "memory")]
fn memory() -> Result<AnyStore> {
    Ok(AnyStore::with_last_participant(
        crate::memory::MemoryStore::new(),
    ))
}

#[cfg(not(feature = "memory"))]
fn memory() -> Result<AnyStore> {
    Err(refuse("add the feature `memory` for a store in memory"))
}

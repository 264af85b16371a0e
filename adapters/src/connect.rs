//! A backend chosen at run time, by URL.

mod url;

use std::future::Future;

use exactly_once_core::{AnyStore, Result, Store};

pub(crate) use url::StoreUrl;
#[cfg(feature = "redis")]
use url::bad;
use url::refuse;

/// Opens the store that a URL names, among the backends that are compiled in.
pub trait ConnectByUrl: Sized {
    /// Opens the store behind the URL, in the namespace that it names, or in `default`.
    ///
    /// | URL | backend | feature |
    /// |---|---|---|
    /// | `postgres://user:password@host/database` | Postgres | `tokio-postgres`, else `sqlx-postgres` |
    /// | `sqlite:shop.db`, `sqlite:///var/lib/shop.db`, `sqlite:file:shop.db?mode=rwc` | SQLite | `rusqlite` |
    /// | `redis://host:6379`, `rediss://…`, `unix:///run/redis.sock` | Redis, Valkey | `redis` |
    /// | `redis+sentinel://host:26379,host:26379/master-name` | its master by Redis Sentinel | `redis` |
    /// | `memory:` | in memory, each call a store of its own | `memory` |
    ///
    /// # Options
    /// Each option of a backend's builder has its twin in the URL's query, as in
    /// `postgres://host/db?schema=shop_eo&namespace=shop&lock_timeout=2s`. One that is unknown, stands
    /// twice or can't be read is refused. What the driver itself reads (`sslmode`, …) stays.
    ///
    /// | backend | options |
    /// |---|---|
    /// | all | `namespace` |
    /// | Postgres | `schema`, `pool_size`, `migrate`, `require_two_phase`, `accept_unsafe_durability`, `max_receipt_bytes`, `share_commits`, `acquire_timeout`, `lock_timeout`, `statement_timeout`, `idle_timeout`, `reply_timeout` |
    /// | SQLite | `busy_timeout`, `lock_timeout`, `idle_timeout`, `group_limit`, `queue_limit`, `max_pages`, `log_limit`, `readers`, `max_receipt_bytes` |
    /// | Redis | `key_prefix`, `cluster`, `one_slot_per_namespace`, `response_timeout`, `require` (`power`, `process`, `nothing`), `replicas`, `replicas_within` (1s), `replicas_on_disk`, `max_receipt_bytes`, `group_from` |
    ///
    /// Durations are `250ms`, `5s` or `2m`; flags `true` or `false`; other characters are %-escaped.
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
    /// [Configuration](crate::ErrorKind::Configuration) where the scheme is unknown, or its backend is not
    /// compiled in: the message names the feature to add. The URL itself is never part of an error,
    /// since it may hold a password. Otherwise as the backend's own builder.
    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;
}

impl ConnectByUrl for AnyStore {
    async fn connect(url: &str) -> Result<Self> {
        open(&StoreUrl::parse(url)?, Access::Create).await
    }
}

/// What opening a store may do to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only the command opens what it must not make")
)]
pub(crate) enum Access {
    /// Make the tables, or upgrade them.
    Create,
    /// Neither: they must be there.
    Existing,
    /// As that, and nothing is written.
    Read,
}

/// Opens the store behind a URL.
pub(crate) async fn open(url: &StoreUrl, access: Access) -> Result<AnyStore> {
    let store = match url.scheme.as_str() {
        "sqlite" => sqlite(url, access).await?,
        "redis" | "rediss" | "unix" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" => {
            redis(url, access).await?
        }
        "memory" => memory(access)?,
        _ => postgres(url, access).await?,
    };
    Ok(match url.namespace()? {
        Some(namespace) => store.with_namespace(namespace),
        None => store,
    })
}

/// How much waits for a decision or was decided and is not carried out behind a URL, in every namespace.
#[cfg(feature = "cli")]
pub(crate) async fn left_anywhere(url: &StoreUrl) -> Result<u64> {
    match url.scheme.as_str() {
        #[cfg(feature = "rusqlite")]
        "sqlite" => {
            let store = sqlite_store(url, Access::Existing).await?;
            let left = store.left_anywhere().await;
            store.close().await.and(left)
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "unix" | "redis+unix" | "redis+sentinel" | "rediss+sentinel" => {
            let store = redis_store(url, Access::Existing).await?;
            let left = store.left_anywhere().await;
            store.close().await.and(left)
        }
        #[cfg(any(feature = "sqlx-postgres", feature = "tokio-postgres"))]
        "postgres" | "postgresql" => {
            let store = postgres_store(url, Access::Existing).await?;
            let left = store.left_anywhere().await;
            store.close().await.and(left)
        }
        _ => Err(refuse("no store that another process could share")),
    }
}

/// Calls the builder's method for each option that the URL has.
#[cfg(any(
    feature = "tokio-postgres",
    feature = "sqlx-postgres",
    feature = "rusqlite",
    feature = "redis"
))]
macro_rules! set {
    ($builder:ident, $options:expr; $($kind:ident $name:ident),* $(,)?) => {
        $(if let Some(value) = $options.$kind(stringify!($name))? {
            $builder = $builder.$name(value);
        })*
    };
}

#[cfg(feature = "tokio-postgres")]
type PostgresStore = crate::postgres::TokioPostgresStore;
#[cfg(all(feature = "sqlx-postgres", not(feature = "tokio-postgres")))]
type PostgresStore = crate::postgres::SqlxPostgresStore;

#[cfg(any(feature = "sqlx-postgres", feature = "tokio-postgres"))]
async fn postgres_store(url: &StoreUrl, access: Access) -> Result<PostgresStore> {
    let mut builder = PostgresStore::builder(&url.base);
    set!(builder, url.options;
        number pool_size,
        flag require_two_phase,
        flag accept_unsafe_durability,
        number max_receipt_bytes,
        flag share_commits,
    );
    if let Some(schema) = url.options.text("schema") {
        builder = builder.schema(schema);
    }
    let mut timeouts = crate::postgres::Timeouts::default();
    for (name, timeout) in [
        ("acquire_timeout", &mut timeouts.acquire),
        ("lock_timeout", &mut timeouts.lock),
        ("statement_timeout", &mut timeouts.statement),
        ("idle_timeout", &mut timeouts.idle_in_transaction),
        ("reply_timeout", &mut timeouts.reply),
    ] {
        if let Some(given) = url.options.duration(name)? {
            *timeout = given;
        }
    }
    let migrate = access == Access::Create && url.options.flag("migrate")?.unwrap_or(true);
    builder
        .timeouts(timeouts)
        .migrate_at_connect(migrate)
        .connect()
        .await
}

#[cfg(any(feature = "sqlx-postgres", feature = "tokio-postgres"))]
async fn postgres(url: &StoreUrl, access: Access) -> Result<AnyStore> {
    let store = postgres_store(url, access).await?;
    Ok(AnyStore::with_last_participant(store))
}

#[cfg(not(any(feature = "sqlx-postgres", feature = "tokio-postgres")))]
async fn postgres(_: &StoreUrl, _: Access) -> Result<AnyStore> {
    Err(refuse(
        "add the feature `tokio-postgres` or `sqlx-postgres` to connect to Postgres",
    ))
}

#[cfg(feature = "rusqlite")]
async fn sqlite_store(url: &StoreUrl, access: Access) -> Result<crate::sqlite::SqliteStore> {
    let path = crate::sqlite::file::path_of_uri(&url.base)?;
    let mut builder = crate::sqlite::SqliteStore::builder(path);
    set!(builder, url.options;
        duration busy_timeout,
        duration lock_timeout,
        duration idle_timeout,
        number group_limit,
        number queue_limit,
        number max_pages,
        number log_limit,
        number readers,
        number max_receipt_bytes,
    );
    let builder = match access {
        Access::Create => builder,
        Access::Existing => builder.existing(),
        Access::Read => builder.read_only(),
    };
    builder.open().await
}

#[cfg(feature = "rusqlite")]
async fn sqlite(url: &StoreUrl, access: Access) -> Result<AnyStore> {
    sqlite_store(url, access).await.map(AnyStore::new)
}

#[cfg(not(feature = "rusqlite"))]
async fn sqlite(_: &StoreUrl, _: Access) -> Result<AnyStore> {
    Err(refuse("add the feature `rusqlite` to open SQLite files"))
}

#[cfg(feature = "redis")]
async fn redis_store(url: &StoreUrl, access: Access) -> Result<crate::redis::RedisStore> {
    use crate::redis::{RedisStore, Require};
    let options = &url.options;
    let mut builder = RedisStore::builder(&url.base);
    set!(builder, options;
        duration response_timeout,
        number max_receipt_bytes,
        number group_from,
    );
    if let Some(prefix) = options.text("key_prefix") {
        builder = builder.key_prefix(prefix);
    }
    if options.flag("cluster")?.unwrap_or_default() {
        builder = builder.cluster(Vec::<String>::new());
    }
    if options.flag("one_slot_per_namespace")?.unwrap_or_default() {
        builder = builder.one_slot_per_namespace();
    }
    if let Some(require) = options.text("require") {
        builder = builder.require(match require {
            "power" => Require::PowerSafe,
            "process" => Require::ProcessSafe,
            "nothing" => Require::Nothing,
            _ => return Err(bad("require", "power, process or nothing")),
        });
    }
    if let Some(replicas) = replicas(options)? {
        builder = builder.replicas(replicas);
    }
    if access != Access::Create {
        builder = builder.existing();
    }
    builder.connect().await
}

#[cfg(feature = "redis")]
async fn redis(url: &StoreUrl, access: Access) -> Result<AnyStore> {
    redis_store(url, access).await.map(AnyStore::new)
}

#[cfg(feature = "redis")]
fn replicas(options: &url::Options) -> Result<Option<crate::redis::Replicas>> {
    use crate::redis::Replicas;
    let within = options.duration("replicas_within")?;
    let on_disk = options.flag("replicas_on_disk")?;
    let Some(count) = options.number("replicas")? else {
        return match (within, on_disk) {
            (None, None) => Ok(None),
            _ => Err(bad("replicas", "there: how many confirm each write")),
        };
    };
    let within = within.unwrap_or(std::time::Duration::from_secs(1));
    Ok(Some(if on_disk.unwrap_or_default() {
        Replicas::on_disk(count, within)
    } else {
        Replicas::received(count, within)
    }))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &StoreUrl, _: Access) -> Result<AnyStore> {
    Err(refuse("add the feature `redis` to connect to Redis"))
}

#[cfg(feature = "memory")]
fn memory(access: Access) -> Result<AnyStore> {
    if access != Access::Create {
        return Err(refuse(
            "a store in memory holds nothing of another process: name the store of the service",
        ));
    }
    Ok(AnyStore::with_last_participant(
        crate::memory::MemoryStore::new(),
    ))
}

#[cfg(not(feature = "memory"))]
fn memory(_: Access) -> Result<AnyStore> {
    Err(refuse("add the feature `memory` for a store in memory"))
}

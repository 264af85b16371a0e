//! The conformance suite, on Redis: `cargo test --features redis --test conformance_redis`.
//!
//! `EXACTLY_ONCE_REDIS` chooses the servers: `node` (the default; one for each case), `valkey` (the
//! same, of Valkey), `utf8` (the same, of Redis under another locale), `cluster` (three masters and three replicas, a slot for each namespace),
//! `cluster-spread` (the same, with accounts, keys and transactions spread over the slots).

use std::{
    net::SocketAddr,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use exactly_once::redis::{RedisStore, RedisStoreBuilder, RedisTx};
use exactly_once::{
    AccountId, Error, Namespace, Statement, Store as _, Transactional as _, Value, Version,
    WorkError,
};
use exactly_once_conformance::{CaseFailure, CaseResult, Harness, harness::RowsOf, run};
use exactly_once_servers::{Redis, RedisCluster};
use tokio::{runtime::Handle, sync::OnceCell};

/// For looking past the store, on a machine that may be busy; the driver's own is half a second.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a server needs to answer, shorter than a case may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What an operator may have set, name and value.
const HOSTILE: [&str; 8] = [
    "notify-keyspace-events KEA",
    "lua-time-limit 1",
    "hash-max-listpack-entries 0",
    "lazyfree-lazy-user-del yes",
    "list-max-listpack-size 1",
    "appendonly yes",
    "maxmemory-policy volatile-ttl",
    "maxmemory-policy allkeys-lru",
];

/// The one place of a server that a case has to itself.
const OWN: &str = "shop";

struct OnRedis {
    valkey: bool,
    utf8: bool,
    clustered: bool,
    spread: bool,
    cluster: OnceCell<RedisCluster>,
    places: AtomicU64,
    rows: AtomicU64,
}

/// A server of its own, or a namespace of its own on the cluster.
struct Place {
    server: Option<Redis>,
    urls: Vec<String>,
    /// What all that the place holds goes through: its server, or the master of its one slot. A
    /// spread place has no such server.
    master: Option<SocketAddr>,
    namespace: String,
    /// What a key begins with that lies in the slot of the namespace; on one node, nothing.
    tag: Vec<u8>,
    spread: bool,
}

fn failed(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(format!("{error:#}"))
}

/// A row of its own for each effect; on the cluster, a tag comes before it.
fn row(place: &str, id: &str, number: u64) -> String {
    format!("effect:{place}:{id}:{number}")
}

fn loopback(server: &Redis) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], server.port()))
}

/// Starts a server without an `.await`: that future is not `Send` to the compiler's eyes.
fn waited<T>(starting: impl Future<Output = anyhow::Result<T>>) -> CaseResult<T> {
    tokio::task::block_in_place(|| Handle::current().block_on(starting)).map_err(failed)
}

impl Place {
    fn is_cluster(&self) -> bool {
        self.urls.len() > 1
    }

    fn builder(&self) -> RedisStoreBuilder {
        let builder = RedisStore::builder(&self.urls[0]);
        let builder = if self.is_cluster() {
            builder.cluster(&self.urls)
        } else {
            builder
        };
        let builder = if self.is_cluster() && !self.spread {
            builder.one_slot_per_namespace()
        } else {
            builder
        };
        // The suite's cases name namespaces of their own; the prefix keeps places apart.
        builder
            .namespace(&self.namespace)
            .key_prefix(&self.namespace)
            .response_timeout(RESPONSE_TIMEOUT)
    }

    /// Past the store under test.
    async fn ask<T: redis::FromRedisValue>(&self, command: &redis::Cmd) -> CaseResult<T> {
        let answer = if self.is_cluster() {
            let client = redis::cluster::ClusterClientBuilder::new(self.urls.clone())
                .connection_timeout(PATIENCE)
                .response_timeout(PATIENCE)
                .build()
                .map_err(failed)?;
            let mut connection = client.get_async_connection().await.map_err(failed)?;
            command.query_async(&mut connection).await
        } else {
            let client = redis::Client::open(self.urls[0].as_str()).map_err(failed)?;
            let config = redis::AsyncConnectionConfig::new()
                .set_connection_timeout(Some(PATIENCE))
                .set_response_timeout(Some(PATIENCE));
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(failed)?;
            command.query_async(&mut connection).await
        };
        answer.map_err(failed)
    }
}

impl Harness for OnRedis {
    type Store = RedisStore;
    type Guard = Place;

    fn name(&self) -> &str {
        match (self.clustered, self.spread) {
            (true, true) => "redis-cluster-spread",
            (true, false) => "redis-cluster",
            (false, _) if self.valkey => "valkey",
            (false, _) if self.utf8 => "redis-utf8",
            (false, _) => "redis",
        }
    }

    async fn fresh(&self) -> CaseResult<Place> {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let namespace = format!("place-{number}");
        if self.clustered {
            let cluster = self
                .cluster
                .get_or_try_init(async || waited(RedisCluster::start()))
                .await?;
            let mut place = Place {
                server: None,
                urls: cluster.urls(),
                master: None,
                namespace,
                tag: Vec::new(),
                spread: self.spread,
            };
            if self.spread {
                return Ok(place);
            }
            let store = place.builder().connect().await.map_err(failed)?;
            place.tag = store.begin().await.map_err(failed)?.key("");
            store.close().await.map_err(failed)?;
            let key = String::from_utf8(place.tag.clone()).map_err(failed)?;
            let master = waited(cluster.master_of(&key))?;
            place.master = Some(loopback(master));
            return Ok(place);
        }
        let options = Redis::options();
        let options = if self.valkey {
            options.valkey()
        } else {
            options
        };
        let options = if self.utf8 {
            options.utf8_locale().map_err(failed)?
        } else {
            options
        };
        let server = waited(options.start())?;
        Ok(Place {
            urls: vec![server.url()],
            master: Some(loopback(&server)),
            server: Some(server),
            namespace: OWN.to_owned(),
            tag: Vec::new(),
            spread: false,
        })
    }

    async fn open(&self, place: &Place) -> CaseResult<RedisStore> {
        place.builder().connect().await.map_err(failed)
    }

    async fn write_effect(&self, tx: &mut RedisTx, id: &str) -> Result<(), WorkError> {
        let number = self.rows.fetch_add(1, Ordering::Relaxed);
        let key = tx.key(row(tx.key_prefix(), id, number));
        tx.incr_by(key, 1)?;
        Ok(())
    }

    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        let pattern = format!("*effect:{}:*", place.namespace);
        let keys: Vec<Vec<u8>> = place.ask(redis::cmd("KEYS").arg(pattern)).await?;
        let wanted = row(&place.namespace, id, 0);
        let wanted = wanted.trim_end_matches('0').as_bytes();
        let mut count = 0;
        for key in keys {
            let start = key
                .windows(7)
                .position(|part| part == b"effect:")
                .unwrap_or(0);
            let is_row = key[start..]
                .strip_prefix(wanted)
                .is_some_and(|number| number.iter().all(u8::is_ascii_digit));
            if is_row {
                count += place.ask::<u64>(redis::cmd("GET").arg(key)).await?;
            }
        }
        Ok(count)
    }

    fn effect_statement_at(&self, place: &Place, id: &str) -> Option<Statement> {
        if place.spread {
            // It must lie in the slot of the effect's key, which only the store knows.
            return None;
        }
        // On the cluster it must lie in the slot of the place's namespace.
        let mut key = place.tag.clone();
        key.extend_from_slice(row(&place.namespace, id, 0).as_bytes());
        Some(Statement::new("INCR").bind(key))
    }

    fn returning_statement(&self, place: &Place, wanted: RowsOf<'_>) -> Option<Statement> {
        match wanted {
            RowsOf::Effects { id, count: 1 } => self.effect_statement_at(place, id),
            RowsOf::Value {
                id,
                value: Value::Integer(number),
            } if !place.spread => {
                let mut key = place.tag.clone();
                key.extend_from_slice(format!("value:{}:{id}", place.namespace).as_bytes());
                Some(
                    Statement::named("INCRBY :key :number")
                        .bind_named("number", *number)
                        .bind_named("key", key),
                )
            }
            _ => None,
        }
    }

    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("FLUSHALL"))
    }

    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        let texts = |what, texts: &[&str]| {
            let statements = texts.iter().map(|text| Statement::new(*text));
            (what, statements.collect::<Vec<_>>())
        };
        let mut all = vec![
            texts("what empties the server", &["FLUSHALL"]),
            texts("a transaction", &["MULTI"]),
            texts("another database", &["SELECT 1"]),
            texts("a subscription", &["SUBSCRIBE x"]),
            texts("a client that is told nothing", &["CLIENT REPLY OFF"]),
        ];
        // On the cluster, a key lies in the slot of its place.
        if !self.clustered {
            all.extend([
                texts(
                    "another type",
                    &["SET spoilt word", "HSET spoilt field value"],
                ),
                texts("no number", &["SET spoilt word", "INCR spoilt"]),
            ]);
        }
        all
    }

    async fn fail_half_way(&self, tx: &mut RedisTx, id: &str) -> bool {
        self.write_effect(tx, id).await.is_ok() && self.spoil(tx).await
    }

    async fn spoil(&self, tx: &mut RedisTx) -> bool {
        let key = tx.key("spoilt");
        tx.set(&key, "no hash").is_ok() && tx.hset(&key, "field", "value").is_err()
    }

    fn server(&self, place: &Place) -> Option<SocketAddr> {
        place.master
    }

    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<RedisStore> {
        let builder = match place.master {
            Some(master) if place.is_cluster() => {
                place.builder().nat_map([(master.to_string(), proxy)])
            }
            _ => RedisStore::builder(format!("redis://{proxy}"))
                .namespace(&place.namespace)
                .key_prefix(&place.namespace)
                .response_timeout(RESPONSE_TIMEOUT),
        };
        builder.connect().await.map_err(failed)
    }

    async fn crash(&self, place: &Place) -> CaseResult {
        let Some(server) = &place.server else {
            return Err(CaseFailure::ignored(
                "the cluster is shared by all cases; redis_cluster.rs kills its masters",
            ));
        };
        server.kill();
        waited(server.restart())
    }

    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        // A reservation is left over if its transaction is not prepared. It names the record, which
        // lies beside it.
        let mut left = 0;
        let tables: Vec<String> = place
            .ask(redis::cmd("KEYS").arg(format!("{}:*:reserved", place.namespace)))
            .await?;
        for table in tables {
            let holders: Vec<String> = place.ask(redis::cmd("HVALS").arg(&table)).await?;
            for holder in holders {
                let record = format!("{}{holder}", table.trim_end_matches("reserved"));
                let state: Option<String> =
                    place.ask(redis::cmd("HGET").arg(record).arg("s")).await?;
                left += u64::from(state.as_deref() != Some("P"));
            }
        }
        Ok(Some(left))
    }

    fn hostile_settings(&self) -> Vec<&'static str> {
        if self.clustered {
            return Vec::new();
        }
        HOSTILE.to_vec()
    }

    async fn open_hostile(
        &self,
        place: &Place,
        setting: &'static str,
    ) -> CaseResult<Result<RedisStore, Error>> {
        let (name, value) = setting.split_once(' ').unwrap_or((setting, ""));
        place
            .ask::<String>(redis::cmd("CONFIG").arg("SET").arg(name).arg(value))
            .await?;
        Ok(place.builder().connect().await)
    }

    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        // The one account of that name: an account is a hash with a field `v`. A cluster is shared
        // with the cases that run beside this one.
        let pattern = format!("*:{namespace}:*{account}*");
        let keys: Vec<Vec<u8>> = place.ask(redis::cmd("KEYS").arg(pattern)).await?;
        for key in keys {
            let kind: String = place.ask(redis::cmd("TYPE").arg(&key)).await?;
            if kind != "hash" {
                continue;
            }
            let held: bool = place.ask(redis::cmd("HEXISTS").arg(&key).arg("v")).await?;
            if held {
                let set = redis::cmd("HSET")
                    .arg(&key)
                    .arg("v")
                    .arg(version.get())
                    .to_owned();
                return place.ask(&set).await;
            }
        }
        Err(failed(format!("no account {account} is stored")))
    }

    fn locate(&self, place: &Place) -> Option<String> {
        let spread = if place.spread { "spread" } else { "one-slot" };
        Some(format!(
            "{} {spread} {}",
            place.namespace,
            place.urls.join(" ")
        ))
    }

    async fn attach(&self, place: &str) -> CaseResult<Place> {
        let mut words = place.split(' ').map(str::to_owned);
        let namespace = words.next().unwrap_or_default();
        let spread = words.next().is_some_and(|word| word == "spread");
        Ok(Place {
            server: None,
            urls: words.collect(),
            master: None,
            namespace,
            tag: Vec::new(),
            spread,
        })
    }
}

fn main() -> ExitCode {
    let choice = std::env::var("EXACTLY_ONCE_REDIS").unwrap_or_default();
    run(OnRedis {
        valkey: choice == "valkey",
        utf8: choice == "utf8",
        clustered: choice.starts_with("cluster"),
        spread: choice == "cluster-spread",
        cluster: OnceCell::new(),
        places: AtomicU64::new(0),
        rows: AtomicU64::new(1),
    })
}

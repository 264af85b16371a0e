//! Redis and Valkey, one node or a cluster.
//!
//! ```no_run
//! # async fn demo() -> exactly_once_core::Result<()> {
//! use exactly_once::redis::RedisStore;
//!
//! let store = RedisStore::builder("redis://127.0.0.1:6379").connect().await?;
//! # Ok(()) }
//! ```
//!
//! # What is guaranteed, and what is not
//! | | |
//! |---|---|
//! | a killed server, a power cut | nothing acknowledged is lost (`appendonly yes`, `appendfsync always`; checked at connect, see [`Require`]) |
//! | eviction | refused at connect: `maxmemory-policy` must be `noeviction` |
//! | a failover | **asynchronous**: what the old master had not yet passed on is lost, also if it was acknowledged. [`RedisStoreBuilder::replicas`] narrows that down (a short count is *ambiguous*), and can't close it: a replica that lags may still be elected |
//! | a restore from a backup | what came after it is lost |
//! | two-phase commit | staged: writers that use this crate meet the reservations, others don't; a commit that finds a reserved key changed applies nothing and says *heuristic* |
//! | a user's key with a time to live | its vanishing is a foreign change like any other |
//!
//! # Permissions
//! Redis does not undo what a script has written before a command that its user may not run. So every
//! command is tried by name on each new connection, renamed ones too, and a user without one is
//! refused at connect with this line (for the prefix `exactly-once` and the user `app`). The keys that your own
//! statements touch come on top.
//!
//! ```text
//! ACL SETUSER app +del +dump +eval +evalsha +exists +get +getex +hdel +hexists +hget +hgetall
//! +hincrby +hlen +hmget +hset +hsetnx +incrby +info +llen +lrange +ping +rpush +sadd +scard +set
//! +sismember +smembers +srem +time +type +unlink +zadd +zcard +zrange +zrangebylex
//! +zrangebyscore +zrem +zscore +select +config|get ~exactly-once:*
//! ```
//!
//! `Require::ProcessSafe` does without `+config|get`. With [`RedisStoreBuilder::replicas`] it also
//! has `+wait` or `+waitaof`, `+publish` and the channels `&exactly-once:*`; on a cluster, `+incr`,
//! `+asking` and `+cluster|slots`.
//!
//! # Replicas
//! With [`RedisStoreBuilder::replicas`], a write is acknowledged when so many replicas have confirmed
//! it, and so is what vouches for one: a replay, a lookup, a status, a decision, a page of what
//! is in doubt. Plain reads (`balance`, the reads of a transaction) do not wait. Concurrent waits share
//! one `WAIT`, on a connection of its own. A store that finds itself on a demoted master leaves it.
//!
//! # Sentinel
//! `redis+sentinel://user:password@host:26379,host:26379/master-name/database`: the sentinels are asked
//! for the master before each connection. `min-replicas-to-write` is demanded, because an old master
//! that comes back acknowledges writes for some ten seconds before it is demoted, and no other
//! server ever has them. Set `min-replicas-max-lag 2` too.
//!
//! # TLS
//! `rediss://host:6379` with the feature `redis-tls`: the certificate must be the host's, and come from
//! an authority of this machine or of the file in the URL's `sslrootcert`.
//!
//! # On a cluster
//! All that one operation touches must lie in one slot. An idempotency key or account whose name
//! holds a tag, as `charge:{order-17}`, lies in that tag's slot, beside the user's own keys with
//! that tag; any other lies in one of 64 slots of its namespace, and [`RedisTx::key`] names keys
//! beside it. A transfer between accounts of different tags, or none, is
//! [unsupported](exactly_once_core::ErrorKind::Unsupported): use the coordinator, with
//! [`RedisStore::at`] for each participant. [`RedisStoreBuilder::one_slot_per_namespace`] puts all
//! of a namespace into one slot instead. Nodes that can't be reached where they say they are:
//! [`RedisStoreBuilder::nat_map`].
//!
//! # Layout
//! `schema` names keys and shards; `scripts` decide and write; `connection` sends them, and `group`
//! those of many callers in one;
//! `transaction` is what a user works in; the others are a trait each.

mod attempt;
mod balance;
mod balance_in;
mod builder;
mod call;
mod checks;
mod commands;
mod connection;
mod digests;
mod error;
mod group;
mod idempotency;
mod lease;
mod ledger;
mod link;
mod nat;
mod one_shot;
mod one_shot_participant;
mod overlay;
mod permissions;
mod prepared;
mod register;
mod replicas;
mod reply;
mod schema;
mod scripts;
mod sentinel;
mod statements;
mod store;
mod tls;
mod transaction;

pub use builder::RedisStoreBuilder;
pub use checks::Require;
pub use replicas::Replicas;
pub use store::RedisStore;
pub use transaction::RedisTx;

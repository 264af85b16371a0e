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
mod nat;
mod one_shot;
mod one_shot_participant;
mod overlay;
mod prepared;
mod register;
mod replicas;
mod reply;
mod schema;
mod scripts;
mod statements;
mod store;
mod tls;
mod transaction;

pub use builder::RedisStoreBuilder;
pub use checks::Require;
pub use replicas::Replicas;
pub use store::RedisStore;
pub use transaction::RedisTx;

//! Throwaway real servers for the tests and the demos: Restate, Temporal, Postgres, pgbouncer, Redis.
//!
//! A server starts on a free loopback port with a data folder of its own, and is gone, with its
//! folder, when its value is dropped. If the whole test process is killed, the kernel kills the
//! servers with it. What can crash can be crashed: `kill` is a real SIGKILL, and `restart` starts
//! again on the same folder and port.
//!
//! ```no_run
//! # async fn demo() -> anyhow::Result<()> {
//! use exactly_once_servers::Postgres;
//!
//! let server = Postgres::start(18).await?;
//! let url = server.create_database("ledger").await?;
//! // … connect to `url`, write something …
//! server.kill();
//! server.restart().await?; // what was committed, or prepared, is still there
//! # Ok(())
//! # }
//! ```
//!
//! A binary that is missing is an error that names the command which installs it; nothing here
//! skips silently.
//!
//! # Layout
//!
//! | module | what it knows |
//! |---|---|
//! | [`ports`] | free loopback ports, reserved across processes |
//! | [`tools`] | where the servers' binaries are, and how to install them |
//! | [`certificates`] | an authority of our own, and what it issues, for TLS |
//! | [`identity`] | who a server runs as, and what that user can reach |
//! | [`launch`] | how a child is started, so that it dies with us |
//! | [`process`] | a running child: signals to its whole tree, its log, killed when dropped |
//! | [`server`] | a process that can be killed and started again on the same folder |
//! | [`restate`] | the Restate server and its admin interface |
//! | [`temporal`] | the Temporal development server and its command-line client |
//! | [`postgres`], [`standby`] | a Postgres cluster of a given major version, and its replica |
//! | [`pgbouncer`] | pgbouncer in transaction mode |
//! | [`service`] | a program of ours that is killed and started again at one address |
//! | [`demo`] | the end of a demo's `main` |
//! | [`ingress`] | a client of Restate that asks again with the same key |
//! | [`redis`], [`redis_cluster`] | one Redis, and a cluster of three masters and three replicas |
//! | [`redis_sentinel`] | a master, two replicas and three sentinels |

pub mod certificates;
pub mod demo;
pub mod identity;
pub mod ingress;
pub mod launch;
pub mod pgbouncer;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod redis;
pub mod redis_cluster;
pub mod redis_sentinel;
pub mod restate;
pub mod server;
pub mod service;
pub mod standby;
mod template;
pub mod temporal;
pub mod tools;

pub use certificates::{Authority, Certificate};
pub use ingress::{Call, Ingress, Reply};
pub use pgbouncer::Pgbouncer;
pub use ports::Port;
pub use postgres::{Postgres, PostgresOptions};
pub use process::Process;
pub use redis::{Redis, RedisOptions};
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use restate::{Restate, RestateOptions};
pub use service::Service;
pub use standby::{Replication, Standby};
pub use temporal::Temporal;

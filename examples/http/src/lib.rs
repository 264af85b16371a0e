//! Payments over plain HTTP, without a durable engine: the client makes up an `Idempotency-Key`, and
//! repeats its request until it has an answer.
//!
//! ```sh
//! ./dev demo http    # or: cargo run -p exactly-once-http --bin http-demo
//! curl -i localhost:8080/payments -H 'Idempotency-Key: "one"' --json '{"cents": 500}'
//! curl -i localhost:8080/payments -H 'Idempotency-Key: "one"' --json '{"cents": 500}'   # the same answer
//! curl -i localhost:8080/payments -H 'Idempotency-Key: "one"' --json '{"cents": 501}'   # 422
//! curl -s localhost:8080/metrics                                                        # for Prometheus
//! ```
//!
//! `/payments` writes in the transaction of its key: exactly once. `/mails` has its effect outside of
//! the database, under a lease: one attempt at a time, and the key and fencing token go along with
//! it.
//!
//! # Layout
//! - `service`: the router and its handlers.
//! - `metrics`: what Prometheus reads.
//! - `crash`: where the tests kill the process.

pub mod crash;
pub mod metrics;
pub mod service;

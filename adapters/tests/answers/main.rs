//! Goal: what a caller gets is true, the same each time and on every backend, and holds no value of a
//! row.
//! Method: random values through every backend, each executed and replayed; a corpus of refused
//! statements and wrong settings, whose errors, logs and records are searched for planted values; and
//! each event that is refused, on every backend, whose texts are compared.
#![cfg(all(
    feature = "memory",
    feature = "redis",
    feature = "rusqlite",
    feature = "sqlx-postgres",
    feature = "tokio-postgres"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod asked;
mod generated;
mod heard;
mod leaks;
mod leaks_redis;
mod of_values;
mod texts;
mod values;

use exactly_once::{Claim, Fingerprint, IdempotencyKey};

fn claim(name: &str) -> Claim {
    claim_for(name, name)
}

fn claim_for(name: &str, request: &str) -> Claim {
    let key = IdempotencyKey::new(name).unwrap();
    Claim::new(key, Fingerprint::of("answers", request).unwrap())
}

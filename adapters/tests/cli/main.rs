//! The command, as people on call run it: nothing that can't be undone happens unasked, nothing is
//! resolved without proof, what is not there is said, and no secret is ever printed.
#![cfg(all(
    feature = "cli",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "redis"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod bench;
mod copies;
mod entitled;
mod keys;
mod listing;
mod missing;
mod said;
mod settling;
mod sweeping;

//! Exactly-once effects on [redb], an embedded key-value database.
//!
//! An example of an adapter for a database that `exactly-once` does not ship, written from outside:
//! it has keys, leases and balances, and no two-phase commit. The guide that walks through it is
//! `exactly_once_conformance::guide`.
//!
//! ```
//! use exactly_once_core::{Claim, ExecuteOnce, Fingerprint, IdempotencyKey};
//! use exactly_once_redb::RedbStore;
//! use redb::TableDefinition;
//!
//! const PAYMENTS: TableDefinition<u64, &str> = TableDefinition::new("payments");
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.redb");
//! let store = RedbStore::open(path).await?;
//! let claim = Claim::new(IdempotencyKey::new("charge/17")?, Fingerprint::of("charge", &17)?);
//! for attempt in 0..3 {
//!     let charged = store
//!         .execute_once(&claim, async |tx| {
//!             let mut payments = tx.transaction().open_table(PAYMENTS)?; // the user's own write
//!             payments.insert(17, "alice")?;
//!             Ok(String::from("receipt of 17"))
//!         })
//!         .await?;
//!     assert_eq!(charged.value, "receipt of 17");
//!     assert_eq!(charged.replayed, attempt > 0);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//! - `store`: the handle, how it opens, and how it waits for its turn to write.
//! - `schema`: the tables. `error`: what redb's errors mean.
//! - `transaction`: the user's transaction. `key_row`: where a key stands.
//! - `idempotency`, `lease`, `balance`: one trait each.

mod balance;
mod error;
mod idempotency;
mod key_row;
mod lease;
mod schema;
mod store;
mod transaction;

pub use store::{RedbStore, RedbStoreBuilder};
pub use transaction::RedbTx;

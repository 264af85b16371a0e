//! Traits and protocols that give a durable handler an exactly-once effect on the database its
//! owner already runs.
//!
//! A durable-execution engine retries a step until its result is journaled, so a step that writes
//! to a database can run twice. The traits here say what a store must guarantee so that it does not
//! matter:
//!
//! - [`IdempotencyStore`] (with [`OneShotStore`] and [`LeaseStore`]): a key and its receipt.
//! - [`BalanceStore`]: versioned balances, each change with an idempotency key.
//! - [`PreparedTransactions`] (with [`OneShotParticipant`]) and [`DecisionRegister`]: two-phase
//!   commit.
//!
//! Adapters implement them (crate `exactly-once`), the suite proves them (crate
//! `exactly-once-conformance`), and people use them by the extension traits ([`ExecuteOnce`]) and,
//! with the feature `restate`, by the glue to `restate-sdk`.
//!
//! # Layout
//! - At the root: the traits, what they take and what they return.
//! - [`two_phase`]: one transaction over several databases, and the sweeper.
//! - [`engine`]: what a durable engine provides, and the effects that it gets.
//! - `restate`: the glue to `restate-sdk`, with the feature of that name.
//! - [`adapter`]: what only an implementation of the traits needs.
//!
//! Each item has one public path.

pub mod adapter;
mod amount;
mod any;
mod balance;
mod canonical;
mod chain;
mod dispute;
pub mod engine;
mod error;
mod execute;
mod fingerprint;
mod idempotency;
mod identity;
mod lease;
mod names;
mod nested;
mod one_shot;
mod one_shot_participant;
mod participation;
mod place;
mod prepared;
mod receipt;
mod refusal_text;
mod refusals;
mod register;
mod rejection;
#[cfg(feature = "restate")]
pub mod restate;
mod rows;
mod rules;
mod settle;
mod statement;
mod store;
mod time;
mod transaction;
pub mod two_phase;
mod value;

pub use amount::{Amount, InvalidVersion, Version};
pub use any::{AnyStore, AnyStoreBuilder, AnyTx};
pub use balance::{
    AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, Change, ChangeKind,
    CloseAccount, CompareAndSet, Expected, Floor, HistoryPage, Leg, MAX_HISTORY_PAGE, MAX_LEGS,
    OpenAccount, Transfer, Transferred,
};
pub use dispute::Dispute;
pub use error::{Advice, BoxError, Error, ErrorKind, Result};
pub use execute::{ExecuteOnce, Executed, Work, WorkError};
pub use fingerprint::Fingerprint;
pub use idempotency::{Claim, Claimed, IdempotencyStore, KeyRecord, KeyState, Outcome, Settled};
pub use identity::{NamespaceIdentity, Participants, StoreIdentity, identity_of};
pub use lease::{FencingToken, Lease, LeaseStore, Leased};
pub use names::{AccountId, IdempotencyKey, InvalidName, MAX_NAME_BYTES, Namespace, TransactionId};
pub use one_shot::{OneShot, OneShotDone, OneShotStore};
pub use one_shot_participant::{LastOneShotParticipant, OneShotParticipant, PreparedOneShot};
pub use place::Place;
pub use prepared::{
    BegunPrepared, InDoubt, InDoubtPage, LastResource, Participation, PreparedStatus,
    PreparedTransactions, TransactionDigest,
};
pub use receipt::{MAX_RECEIPT_BYTES, Receipt};
pub use register::{
    Decision, DecisionRegister, MAX_SETTLEMENT_BYTES, RegisterEntry, RegisterPage, Settlement,
};
pub use rejection::{MAX_REJECTION_BYTES, Rejection};
pub use rows::{Ran, Returned, Rows};
pub use statement::{Returning, Statement};
pub use store::{Capabilities, ClaimMode, Durability, Store, TwoPhase};
pub use time::{InvalidDuration, MAX_DURATION, Retention, Timestamp};
pub use transaction::{StatementTransaction, Transactional};
pub use value::{
    Date, DateTime, InvalidMoment, InvalidNumeric, InvalidValue, Numeric, TimeOfDay, UnknownType,
    Value, ValueType,
};

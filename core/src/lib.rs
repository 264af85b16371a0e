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
//! - [`names`], [`amount`], [`time`], [`fingerprint`], [`receipt`], [`rejection`]: values, checked
//!   when they are made.
//! - [`error`]: one error; its kind says what to do next.
//! - [`chain`]: what an error of the user's own type means.
//! - [`store`], [`place`], [`transaction`]: what every store has.
//! - [`nested`]: calls from inside of a store's own work.
//! - [`idempotency`], [`one_shot`], [`lease`], [`execute`], [`settle`]: idempotency keys.
//! - [`rules`], [`refusals`]: what is stored and what it means to the next call; the one text of each
//!   refusal.
//! - [`balance`]: versioned balances.
//! - [`prepared`], [`one_shot_participant`], [`register`], [`identity`]: two-phase commit.
//! - [`coordinator`]: one transaction over several databases.
//! - [`any`]: a store chosen at run time.
//! - [`engine`]: what a durable engine provides, and the effects that it gets.
//! - `restate`: the glue to `restate-sdk`, with the feature of that name.

pub mod amount;
pub mod any;
pub mod balance;
mod canonical;
pub mod chain;
pub mod coordinator;
pub mod engine;
pub mod error;
pub mod execute;
pub mod fingerprint;
pub mod idempotency;
pub mod identity;
pub mod lease;
pub mod names;
pub mod nested;
pub mod one_shot;
pub mod one_shot_participant;
mod participation;
pub mod place;
pub mod prepared;
pub mod receipt;
mod refusal_text;
pub mod refusals;
pub mod register;
pub mod rejection;
#[cfg(feature = "restate")]
pub mod restate;
pub mod rules;
pub mod settle;
pub mod store;
pub mod time;
pub mod transaction;

pub use amount::{Amount, InvalidVersion, Version};
pub use any::AnyStore;
pub use balance::{
    AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, Change, ChangeKind,
    CloseAccount, CompareAndSet, Expected, Floor, HistoryPage, Leg, OpenAccount, Transfer,
    Transferred,
};
pub use error::{Advice, BoxError, Error, ErrorKind, Result};
pub use execute::{ExecuteOnce, Executed, Work, WorkError};
pub use fingerprint::Fingerprint;
pub use idempotency::{Claim, Claimed, IdempotencyStore, KeyRecord, KeyState, Outcome, Settled};
pub use identity::{NamespaceIdentity, Participants, StoreIdentity, identity_of};
pub use lease::{FencingToken, Lease, LeaseStore, Leased};
pub use names::{AccountId, IdempotencyKey, InvalidName, MAX_NAME_BYTES, Namespace, TransactionId};
pub use one_shot::{OneShot, OneShotDone, OneShotStore, Statement, Value};
pub use one_shot_participant::{LastOneShotParticipant, OneShotParticipant, PreparedOneShot};
pub use place::Place;
pub use prepared::{
    BegunPrepared, InDoubt, InDoubtPage, LastResource, Participation, PreparedStatus,
    PreparedTransactions, TransactionDigest,
};
pub use receipt::{MAX_RECEIPT_BYTES, Receipt};
pub use register::{Decision, DecisionRegister, RegisterEntry, RegisterPage, Settlement};
pub use rejection::Rejection;
pub use store::{Capabilities, ClaimMode, Durability, Store, TwoPhase};
pub use time::{InvalidDuration, MAX_DURATION, Retention, Timestamp};
pub use transaction::Transactional;

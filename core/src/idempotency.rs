//! Idempotency stores, transactional form: key, receipt and the user's writes in one commit.

use std::{fmt, future::Future, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    fingerprint::Fingerprint,
    lease::FencingToken,
    names::IdempotencyKey,
    receipt::Receipt,
    rejection::Rejection,
    time::{Retention, Timestamp},
    transaction::Transactional,
};

/// What is claimed: one logical effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    key: IdempotencyKey,
    fingerprint: Fingerprint,
    retention: Retention,
    #[serde(default)]
    at_once: bool,
}

impl Claim {
    /// The effect `key`, asked for with the request behind `fingerprint`; remembered for the
    /// default retention.
    #[must_use]
    pub fn new(key: IdempotencyKey, fingerprint: Fingerprint) -> Self {
        Self {
            key,
            fingerprint,
            retention: Retention::default(),
            at_once: false,
        }
    }

    /// With another deduplication window, counted from completion.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Answered at once where another attempt's transaction holds the key: *in progress*, instead of
    /// waiting for that transaction's end with a connection in use. For callers whose own caller
    /// retries, such as an HTTP service.
    #[must_use]
    pub fn without_waiting(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Whether the claim may wait for another attempt's transaction.
    #[must_use]
    pub fn waits(&self) -> bool {
        !self.at_once
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// What was asked.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// How long the outcome is remembered.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

/// How the effect ended, for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied, with this receipt.
    Applied(Receipt),
    /// The work rejected it; nothing was applied.
    Rejected(Rejection),
}

/// The answer to a claim.
#[must_use = "a fresh transaction that is dropped is rolled back"]
pub enum Claimed<Tx> {
    /// It is not done: do the work in this transaction, then complete or reject.
    Fresh(Tx),
    /// It is done; this is how it ended. Nothing was written, nothing is open.
    Completed(Outcome),
    /// Another attempt holds the key. Nothing is open.
    InProgress {
        /// When a retry may find it free.
        retry_after: Duration,
    },
    /// The key belongs to another request. Nothing is open; the stored receipt is not returned.
    Mismatch,
}

/// Without the transaction: a driver's handle need not be printable.
impl<Tx> fmt::Debug for Claimed<Tx> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh(_) => f.write_str("Fresh(..)"),
            Self::Completed(outcome) => f.debug_tuple("Completed").field(outcome).finish(),
            Self::InProgress { retry_after } => write!(f, "InProgress({retry_after:?})"),
            Self::Mismatch => f.write_str("Mismatch"),
        }
    }
}

/// The answer to a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "if another attempt was first, its outcome is the answer"]
pub enum Settled {
    /// This call's outcome was committed, with the work's writes.
    Recorded,
    /// Another attempt was first (optimistic stores only, or a rejection whose transaction had to
    /// be rolled back before it could be recorded): this one was rolled back, and **that**
    /// outcome is the answer.
    Superseded(Outcome),
}

/// What a store knows of a key, for people on call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRecord {
    /// The request that the key was used for.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub state: KeyState,
}

impl KeyRecord {
    /// A record, for adapters.
    #[must_use]
    pub fn new(fingerprint: Fingerprint, state: KeyState) -> Self {
        Self { fingerprint, state }
    }
}

/// Where a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyState {
    /// A lease holds it (a transaction in flight can't be seen from outside).
    Leased {
        /// The token of the holder.
        token: FencingToken,
        /// When the lease expires, by the store's clock.
        deadline: Timestamp,
    },
    /// It is done.
    Completed {
        /// How it ended.
        outcome: Outcome,
        /// When, by the store's clock.
        completed_at: Timestamp,
        /// From when on it may be expired; `None` is never.
        expires_at: Option<Timestamp>,
    },
}

/// Keys and receipts beside the user's own data, in the same transaction.
///
/// # Contract
/// To ensure correctness:
/// - **Key, receipt and the user's writes become visible together or not at all.** If the key came
///   first, a crash would leave a claimed key and no effect (lost); if it came last, an effect and
///   no key (doubled).
/// - **Of any number of attempts at one key, one commits**, and all others are answered with its
///   outcome. An optimistic store may start the work twice and discard one; it never commits two.
/// - **The fingerprint is compared in every state**, also while the key is in progress, and also when
///   a lease on it has expired without a release. Otherwise a key reused for another request is
///   answered with the receipt of the first. Another request is a *mismatch*; only while a
///   transaction holds the key that the store can't look into may it get *in progress*, and it
///   is a mismatch as soon as that has committed. It is never fresh beside it, and never completed.
/// - **A replay writes nothing.**
/// - **Bytes are kept**: key, receipt and rejection come back exactly as they were given.
/// - After an error nothing is open, locked or half written; after an
///   [ambiguous](crate::ErrorKind::Ambiguous) one, the same call again gives the one right answer.
///
/// Each method may be dropped at any poll, and called again while the first call is still
/// in flight.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no store of idempotency keys",
    label = "expected a store of an adapter",
    note = "hand over the store itself (`&SqliteStore`, `&TokioPostgresStore`, `&AnyStore`, …), not a connection or a pool; \
            a generic `S` needs the bound `S: IdempotencyStore`"
)]
pub trait IdempotencyStore: Transactional {
    /// Begins a transaction and claims the key in it, in one call.
    ///
    /// A key whose lease has expired (see [`crate::LeaseStore`]) is claimed; one whose retention has
    /// passed is claimed again. A store that waits for a rival's transaction does so only where the
    /// claim [may wait](Claim::waits).
    ///
    /// # Errors
    /// Retryable kinds and configuration. A rival or a mismatch is an answer, not an error.
    fn claim(&self, claim: &Claim) -> impl Future<Output = Result<Claimed<Self::Tx>>> + Send;

    /// Records the receipt and commits, in one call. `tx` is the one that this claim gave.
    ///
    /// # Errors
    /// - [Too large](crate::ErrorKind::TooLarge): the receipt exceeds the limit; rolled back.
    /// - [Ambiguous](crate::ErrorKind::Ambiguous): the reply was lost; claim again to learn.
    /// - Whatever the user's statements swallowed: an aborted transaction is never reported as
    ///   complete.
    fn complete(
        &self,
        tx: Self::Tx,
        claim: &Claim,
        receipt: &Receipt,
    ) -> impl Future<Output = Result<Settled>> + Send;

    /// Undoes the work's writes, and records the rejection as the outcome of the key.
    ///
    /// # Errors
    /// As [`Self::complete`].
    fn reject(
        &self,
        tx: Self::Tx,
        claim: &Claim,
        rejection: &Rejection,
    ) -> impl Future<Output = Result<Settled>> + Send;

    /// What is known of a key; `None` if nothing is, or its retention has passed.
    ///
    /// # Errors
    /// Retryable kinds and configuration.
    fn lookup(
        &self,
        key: &IdempotencyKey,
    ) -> impl Future<Output = Result<Option<KeyRecord>>> + Send;

    /// Removes a **completed** key, so that the next claim of it is fresh and *the effect may
    /// happen again*. Says whether there was one.
    ///
    /// # Errors
    /// [In progress](crate::ErrorKind::InProgress) where a lease in force holds the key: nothing
    /// is removed.
    fn forget(&self, key: &IdempotencyKey) -> impl Future<Output = Result<bool>> + Send;

    /// Removes at most `limit` keys of this namespace whose retention has passed, counted from
    /// completion by the store's clock. Says how many. Never removes what is in progress.
    ///
    /// Call it until it removes fewer than `limit`.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a limit of zero; retryable kinds.
    fn expire(&self, limit: u32) -> impl Future<Output = Result<u64>> + Send;
}

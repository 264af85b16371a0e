//! Idempotency stores, leased form: for effects *outside* the database.

use std::{fmt, future::Future, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    idempotency::{Claim, Outcome},
    store::Store,
    time::Timestamp,
};

/// A number that only grows: over release, expiry, takeover and restart.
///
/// Send it along with the outside call where the other side can compare it: a call with a smaller
/// token than one it has seen comes from a zombie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FencingToken(i64);

impl FencingToken {
    /// The token with this number.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key held for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The fencing token of this holder.
    pub token: FencingToken,
    /// Until when it is held, by the store's clock.
    pub deadline: Timestamp,
}

/// The answer to a request for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Leased {
    /// The key is held by the caller, until the deadline.
    Granted(Lease),
    /// It is done; this is how it ended.
    Completed(Outcome),
    /// Another attempt holds the key.
    InProgress {
        /// When its lease will be over.
        retry_after: Duration,
    },
    /// The key belongs to another request.
    Mismatch,
}

/// Keys held by a lease while an effect happens outside of the database.
///
/// The database can't make an outside effect exactly-once; it makes sure that one attempt at a time
/// is entitled to it, that a zombie learns so, and that the outcome is recorded once.
///
/// # Contract
/// To ensure correctness:
/// - **Tokens only grow**, for each key, over release, expiry, takeover, forgetting and restart.
///   Otherwise a zombie could hold a number that is valid again.
/// - **Deadlines are compared with the store's clock.** With a client's clock, one that runs ahead
///   would take over a lease in force.
/// - **A zombie's call is fenced and harms no other**: renew, finalize and release with a token that
///   is not the current one change nothing.
/// - **A key stays its request's own until it is released, forgotten or expired**, also when its
///   lease has expired: the external effect may have happened. Another request is a mismatch, not *in
///   progress*; the same request may take the key over.
/// - A holder whose lease has expired, but that was not superseded, may still finalize; a takeover after
///   that sees the outcome.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no leases for effects outside the database",
    label = "this store has no leases",
    note = "use a store that has them; a generic `S` needs the bound `S: LeaseStore`. An effect *inside* \
            the database needs none: use `execute_once`"
)]
pub trait LeaseStore: Store {
    /// Holds the key for `ttl`, or says who is in the way.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a `ttl` of zero or over 100 years; retryable kinds.
    /// After an ambiguous error the lease may have been granted; the key then stays locked until the
    /// lease expires.
    fn lease(&self, claim: &Claim, ttl: Duration) -> impl Future<Output = Result<Leased>> + Send;

    /// Holds the key until `ttl` from now.
    ///
    /// # Errors
    /// [Fenced](crate::ErrorKind::Fenced) where the token is not the current one, or the key was
    /// completed or released; [mismatch](crate::ErrorKind::Mismatch) where the key belongs to another
    /// request.
    fn renew(
        &self,
        claim: &Claim,
        token: FencingToken,
        ttl: Duration,
    ) -> impl Future<Output = Result<Lease>> + Send;

    /// Records the outcome. Doing it again with the same token and outcome is fine.
    ///
    /// # Errors
    /// - [Fenced](crate::ErrorKind::Fenced): the token is not the current one. Nothing is stored.
    /// - [Conflict](crate::ErrorKind::Conflict): finalized with this token before, with **another**
    ///   outcome. The first stands.
    /// - [Mismatch](crate::ErrorKind::Mismatch): the key belongs to another request.
    /// - [Too large](crate::ErrorKind::TooLarge): the receipt exceeds the limit.
    fn finalize(
        &self,
        claim: &Claim,
        token: FencingToken,
        outcome: &Outcome,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Gives the key back without an outcome; the next lease is fresh, with a higher token.
    /// Idempotent: a second release succeeds as long as no other attempt holds the key.
    ///
    /// # Errors
    /// [Fenced](crate::ErrorKind::Fenced) where another attempt holds the key, or it was completed;
    /// [mismatch](crate::ErrorKind::Mismatch) where it belongs to another request.
    fn release(
        &self,
        claim: &Claim,
        token: FencingToken,
    ) -> impl Future<Output = Result<()>> + Send;
}

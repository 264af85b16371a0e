//! `execute_once`: the work as a closure, run at most once to its commit.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    chain,
    error::{BoxError, Error, ErrorKind, Result},
    idempotency::{Claim, Claimed, IdempotencyStore, KeyState, Outcome, Settled},
    nested::within,
    receipt::Receipt,
    refusals,
    rejection::Rejection,
    settle::settle_refusal,
    store::Store,
    transaction::Transactional,
};

/// Why work ended without a value: its own [`Rejection`], or an error that is retried or not by
/// what the *store* says of it.
///
/// `?` makes one of any error: a [`Rejection`] is terminal and recorded; an [`Error`] of this crate
/// keeps its kind; an error of the driver is [classified](crate::Transactional::classify) by the
/// store; and everything else is *work failed*, which is retried. So a transient error can never
/// become terminal by accident, and a rejection never retries for ever.
///
/// An enum of your own around these keeps their meaning, if its `source()` leads to them; the nearest
/// one counts. With thiserror, `#[from]`, `#[source]` and `#[error(transparent)]` do. An error that
/// is turned into text (`map_err(|error| error.to_string())`) is *work failed*.
///
/// ```
/// # use exactly_once_core::{Rejection, WorkError};
/// fn limit(amount: i64) -> Result<(), WorkError> {
///     if amount > 1_000 {
///         return Err(Rejection::new(422, "over the limit of one payment").into());
///     }
///     Ok(())
/// }
/// assert!(limit(2_000).unwrap_err().is_rejection());
/// ```
#[derive(Debug)]
pub struct WorkError(Cause);

#[derive(Debug)]
enum Cause {
    Rejection(Rejection),
    Store(Error),
    Foreign(BoxError),
}

impl WorkError {
    /// Whether this is the work's own rejection.
    #[must_use]
    pub fn is_rejection(&self) -> bool {
        matches!(self.0, Cause::Rejection(_))
    }

    /// The error that the store makes of it, as [`ExecuteOnce::execute_once`] would return it.
    ///
    /// A refusal names `operation`, as each replay will.
    pub fn into_error<S: Transactional>(self, operation: &'static str, store: &S) -> Error {
        let error = match self.0 {
            Cause::Rejection(rejection) => Error::rejected(rejection, operation, store.backend()),
            Cause::Store(error) => error,
            Cause::Foreign(source) => store.classify(operation, source),
        };
        as_reported(error, operation, store.backend())
    }

    /// From an error that is boxed already.
    #[must_use]
    pub fn from_boxed(error: BoxError) -> Self {
        let error = match error.downcast::<Rejection>() {
            Ok(rejection) => return Self(Cause::Rejection(*rejection)),
            Err(error) => error,
        };
        match error.downcast::<Error>() {
            Ok(error) => Self(Cause::Store(*error)),
            Err(error) => match chain::own(error, "work", "core") {
                Ok(error) => match error.rejection() {
                    Some(rejection) => Self(Cause::Rejection(rejection.clone())),
                    None => Self(Cause::Store(error)),
                },
                Err(error) => Self(Cause::Foreign(error)),
            },
        }
    }

    /// As an error of an operation that has no store to classify a driver's error.
    pub(crate) fn into_error_without_store(
        self,
        operation: &'static str,
        store: &'static str,
    ) -> Error {
        let error = match self.0 {
            Cause::Rejection(rejection) => Error::rejected(rejection, operation, store),
            Cause::Store(error) => error,
            Cause::Foreign(source) => {
                Error::new(ErrorKind::WorkFailed, operation, store).with_source(source)
            }
        };
        as_reported(error, operation, store)
    }
}

/// A refusal will be recorded, and each replay names the whole call; so does the first answer.
fn as_reported(error: Error, operation: &'static str, store: &'static str) -> Error {
    match Rejection::of_refusal(&error) {
        Some(_) => error.reported_by(operation, store),
        None => error,
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for WorkError {
    fn from(error: E) -> Self {
        Self::from_boxed(Box::new(error))
    }
}

/// An async closure whose future is `Send`: `async |tx| { … }`.
///
/// A supertrait spells out both what the closure is and what its future is called, because
/// `AsyncFnOnce` alone can't promise `Send` on stable Rust. You never implement it.
#[diagnostic::on_unimplemented(
    message = "this is no work for `execute_once`",
    label = "expected `async |tx: &mut Tx| -> Result<T, WorkError> {{ … }}` with a `Send` future",
    note = "the closure runs at most once and must own what it uses: clone what you need first, \
            and hold nothing across `.await` that is not `Send` (an `Rc`, a `MutexGuard`)"
)]
pub trait Work<A, R>: AsyncFnOnce(A) -> R + FnOnce(A) -> Self::Fut + Send {
    /// The closure's future.
    type Fut: Future<Output = R> + Send;
}

impl<A, R, F, Fut> Work<A, R> for F
where
    F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut + Send,
    Fut: Future<Output = R> + Send,
{
    type Fut = Fut;
}

/// The value of an effect, and whether this call or an earlier one applied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed<T> {
    /// What the effect answered, the same for every attempt: as its receipt reads back, also at the
    /// attempt that applied it.
    pub value: T,
    /// Whether the effect had been applied before.
    pub replayed: bool,
}

/// Runs work exactly once per key, on every [`IdempotencyStore`].
pub trait ExecuteOnce: IdempotencyStore {
    /// Claims the key, runs the work in the transaction, and commits its writes with the key and
    /// the value as receipt; or answers with the value of the attempt that did.
    ///
    /// The work runs at most once per call and is never run again inside: a conflict is returned
    /// as retryable, and the durable engine retries. An optimistic store may run the work of two
    /// racing calls, and commits one.
    ///
    /// # Errors
    /// - [Rejected](ErrorKind::Rejected): the work said no, now or the first time.
    /// - [Refused](ErrorKind::Refused) and the other kinds whose [advice](crate::Advice) is to stop:
    ///   the store says so of an error of the work. Rolled back, and recorded under the key like a
    ///   rejection: every retry gets the same.
    /// - [Mismatch](ErrorKind::Mismatch), [in progress](ErrorKind::InProgress).
    /// - [Too large](ErrorKind::TooLarge): the value exceeds the receipt limit; rolled back, and
    ///   recorded.
    /// - [Invalid](ErrorKind::Invalid): the value does not survive being stored (see
    ///   [`Receipt::of`]); rolled back, and recorded.
    /// - [Unreadable](ErrorKind::Unreadable): an earlier attempt applied the effect, and this program
    ///   can't read its receipt.
    /// - [Ambiguous](ErrorKind::Ambiguous): call again with the same key.
    /// - Whatever else the store says of an error of the work; rolled back, nothing recorded.
    fn execute_once<T, W>(
        &self,
        claim: &Claim,
        work: W,
    ) -> impl Future<Output = Result<Executed<T>>> + Send
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        W: for<'t> Work<&'t mut Self::Tx, Result<T, WorkError>>;
}

impl<S: IdempotencyStore> ExecuteOnce for S {
    async fn execute_once<T, W>(&self, claim: &Claim, work: W) -> Result<Executed<T>>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        W: for<'t> Work<&'t mut Self::Tx, Result<T, WorkError>>,
    {
        let mut tx = match self.claim(claim).await? {
            Claimed::Fresh(tx) => tx,
            Claimed::Completed(outcome) => return replay(self, outcome),
            Claimed::InProgress { retry_after } => {
                return Err(refusals::in_progress(
                    retry_after,
                    OPERATION,
                    self.backend(),
                ));
            }
            Claimed::Mismatch => return Err(refusals::mismatch(OPERATION, self.backend())),
        };
        let failure = match within(self.place(), work(&mut tx)).await {
            Ok(value) => match receipt(self, &value) {
                Ok((receipt, value)) => {
                    return match self.complete(tx, claim, &receipt).await {
                        Ok(Settled::Recorded) => Ok(Executed {
                            value,
                            replayed: false,
                        }),
                        Ok(Settled::Superseded(outcome)) => replay(self, outcome),
                        // Refused at the commit: by a deferred constraint, say.
                        Err(error) => {
                            replay(self, settle_refusal(self, OPERATION, claim, error).await?)
                        }
                    };
                }
                Err(error) => error,
            },
            Err(failure) => failure.into_error(OPERATION, self),
        };
        match Rejection::of_refusal(&failure) {
            Some(refusal) => match self.reject(tx, claim, &refusal).await? {
                Settled::Recorded => Err(failure),
                Settled::Superseded(outcome) => replay(self, outcome),
            },
            None => abandon(self, tx, claim, failure).await,
        }
    }
}

const OPERATION: &str = "execute_once";

/// The receipt, and the value as it reads back. Both are checked here, so that what can't be stored is
/// an answer under the key like any other.
fn receipt<S, T>(store: &S, value: &T) -> Result<(Receipt, T)>
where
    S: Store,
    T: Serialize + DeserializeOwned,
{
    let backend = store.backend();
    let (receipt, value) =
        Receipt::of(value).map_err(|error| error.reported_by(OPERATION, backend))?;
    receipt.check_size(store.capabilities().max_receipt_bytes, OPERATION, backend)?;
    Ok((receipt, value))
}

fn replay<S: IdempotencyStore, T: DeserializeOwned>(
    store: &S,
    outcome: Outcome,
) -> Result<Executed<T>> {
    match outcome {
        Outcome::Applied(receipt) => Ok(Executed {
            value: receipt
                .decode()
                .map_err(|error| error.reported_by(OPERATION, store.backend()))?,
            replayed: true,
        }),
        Outcome::Rejected(rejection) => Err(Error::rejected(rejection, OPERATION, store.backend())),
    }
}

/// Rolls back what the work did, and records nothing. A rival's commit may be the very reason for the error (the work of
/// an optimistic store trips over the winner's own rows), so the key has the last word.
async fn abandon<S: IdempotencyStore, T: DeserializeOwned>(
    store: &S,
    tx: S::Tx,
    claim: &Claim,
    error: Error,
) -> Result<Executed<T>> {
    if let Err(rollback) = store.rollback(tx).await {
        // The connection is gone and the transaction with it; the work's own error says more.
        tracing::debug!(error = %rollback, "rollback after failed work");
    }
    if error.is_retryable() {
        return Err(error);
    }
    match store.lookup(claim.key()).await {
        Ok(Some(record)) if record.fingerprint == *claim.fingerprint() => match record.state {
            KeyState::Completed { outcome, .. } => replay(store, outcome),
            KeyState::Leased { .. } => Err(error),
        },
        _ => Err(error),
    }
}

//! A transaction of the user's own database, owned, and shared between the user and this crate.

use std::future::Future;

use crate::{
    error::{BoxError, Error, Result},
    rows::Ran,
    statement::Statement,
    store::Store,
};

/// A store whose transactions a user may write in.
///
/// # Contract
/// To ensure correctness:
/// - **`Tx` is owned** (`Send + 'static`) and gives the user the driver's own handle, so that the
///   user's writes and the key are committed together. If they were not, a crash between the two
///   would lose or double the effect.
/// - **Dropping a `Tx` at any point rolls back**, also when its future is dropped half way, and
///   its connection never returns to a pool with a transaction open. Otherwise the next user of
///   the connection writes into a transaction that is never committed: `Ok`, and nothing stored.
/// - **Any handle on the same data may end a `Tx`**, not only the one that began it: a handler that
///   is erased, cloned or opened again in between must not lose its transaction.
/// - **A commit is only ever reported if the database committed.** PostgreSQL answers `COMMIT` in
///   an aborted block with `ROLLBACK` and no error, so a commit must be preceded by a probe that
///   fails in an aborted block.
pub trait Transactional: Store {
    /// An open transaction.
    type Tx: Send + 'static;

    /// Begins a plain transaction, without a key.
    ///
    /// # Errors
    /// Retryable kinds, and configuration. Nothing is open after an error.
    fn begin(&self) -> impl Future<Output = Result<Self::Tx>> + Send;

    /// Commits.
    ///
    /// # Errors
    /// [Ambiguous](crate::ErrorKind::Ambiguous) where the reply was lost. An error that the user
    /// swallowed in the transaction surfaces here: it is never a silent loss.
    fn commit(&self, tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;

    /// Rolls back and gives the connection back clean. Same effect as dropping, but awaited.
    ///
    /// # Errors
    /// Where the store could not be reached; the transaction is rolled back all the same.
    fn rollback(&self, tx: Self::Tx) -> impl Future<Output = Result<()>> + Send;

    /// Says what an error of the driver means, that the user's own statement met in a transaction
    /// before its commit: nothing of it is stored.
    ///
    /// An error that is none of the driver's becomes
    /// [work failed](crate::ErrorKind::WorkFailed); an [`Error`] of this crate, a
    /// [`Rejection`](crate::Rejection) and an error of the driver keep their meaning wherever they
    /// are in the chain of sources. To ensure correctness, write it as a call of
    /// [`chain::classify`](crate::adapter::chain::classify): otherwise a user's own error type turns a refusal
    /// into endless retries.
    ///
    /// The text is made of the server's primary message and of the names of the constraint and the
    /// table, never of a `DETAIL`, a `HINT` or a value; the source is kept as
    /// [hidden](Error::with_hidden_source).
    fn classify(&self, operation: &'static str, source: BoxError) -> Error;
}

/// A store that runs [statements](Statement) in an open transaction, beside the work's own: for work that
/// is written once for every backend.
///
/// ```
/// # use exactly_once_core::{Result, Returning, Statement, StatementTransaction};
/// async fn reserve<S: StatementTransaction>(store: &S, tx: &mut S::Tx) -> Result<i64> {
///     let take = Statement::named("UPDATE stock SET amount = amount - 1 WHERE id = :id RETURNING amount")
///         .bind_named("id", "tea")
///         .returning(Returning::rows(1))
///         .expecting_rows(1);
///     store.run_in(tx, &take).await?.rows.one()
/// }
/// ```
///
/// # Contract
/// To ensure correctness, a statement that fails leaves nothing behind that could be committed, also where
/// the work swallows the error or drops the call half way: the store has undone it, or refuses the
/// commit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't run statements in a transaction",
    label = "this store does not run statements for the work",
    note = "use the driver's own handle of its transaction; a generic `S` needs the bound \
            `S: StatementTransaction`"
)]
pub trait StatementTransaction: Transactional {
    /// Runs a statement in the transaction, and gives the rows that it
    /// [returns](Statement::returning).
    ///
    /// # Errors
    /// - [Invalid](crate::ErrorKind::Invalid): as [`Statement::check`]; it was not sent.
    /// - [Too large](crate::ErrorKind::TooLarge): it returned more than it may.
    /// - [Refused](crate::ErrorKind::Refused): the database refused it, it changed another number of
    ///   rows than it must, or it returns none where it is to return some.
    /// - [Unsupported](crate::ErrorKind::Unsupported): this backend can't return rows of this statement
    ///   before the commit.
    /// - What else the user's own statements meet, as [`classify`](Transactional::classify) has it.
    fn run_in(
        &self,
        tx: &mut Self::Tx,
        statement: &Statement,
    ) -> impl Future<Output = Result<Ran>> + Send;
}

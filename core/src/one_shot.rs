//! Idempotency stores, one-shot form: the effect is known up front, as statements with parameters.

use std::future::Future;

use crate::{
    error::{Error, Result},
    idempotency::{Claim, IdempotencyStore, Outcome},
    receipt::Receipt,
    rows::{Returned, Rows, returned},
    statement::{Statement, check_statements},
};

/// An effect that is known up front.
#[derive(Clone, Debug, PartialEq)]
pub struct OneShot {
    /// The effect's key, fingerprint and retention.
    pub claim: Claim,
    /// What to do, in order, all or nothing. May be empty: then only the receipt is stored.
    pub statements: Vec<Statement>,
    /// What every attempt is answered with. Where a statement [returns](Statement::returning) rows, the
    /// receipt that is stored holds them as well, and this one has to be JSON or empty.
    pub receipt: Receipt,
}

impl OneShot {
    /// Whether a statement returns rows, so that the receipt is not known up front.
    #[must_use]
    pub fn returns_rows(&self) -> bool {
        self.statements.iter().any(|one| one.returns().is_some())
    }

    /// What is wrong with it, whatever the database: for adapters, before anything is done. `limit` is
    /// that of the store for a receipt.
    ///
    /// # Errors
    /// - As [`Statement::check`].
    /// - [Invalid](crate::ErrorKind::Invalid) where rows are to stand beside a receipt that is no JSON.
    /// - [Too large](crate::ErrorKind::TooLarge): the receipt exceeds the limit, without any row.
    pub fn check(&self, limit: usize, operation: &'static str, store: &'static str) -> Result<()> {
        check_statements(&self.statements, operation, store)?;
        self.receipt.check_size(limit, operation, store)?;
        if self.returns_rows() {
            returned::head(&self.receipt).map_err(|error| error.reported_by(operation, store))?;
        }
        Ok(())
    }

    /// The receipt to store: with these rows where statements return some, for adapters.
    ///
    /// # Errors
    /// - [Too large](crate::ErrorKind::TooLarge): it exceeds the limit of the store; roll back.
    /// - [Invalid](crate::ErrorKind::Invalid) as [`Self::check`].
    pub fn receipt_with(
        &self,
        rows: &[Rows],
        limit: usize,
        operation: &'static str,
        store: &'static str,
    ) -> Result<Receipt> {
        if !self.returns_rows() {
            return Ok(self.receipt.clone());
        }
        let receipt = Returned::receipt(&self.receipt, rows)
            .map_err(|error| error.reported_by(operation, store))?;
        receipt.check_size(limit, operation, store)?;
        Ok(receipt)
    }
}

/// How a one-shot effect ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneShotDone {
    /// The outcome, of this attempt or of the first one.
    pub outcome: Outcome,
    /// Whether it is the outcome of an earlier attempt.
    pub replayed: bool,
}

impl OneShotDone {
    /// The value and the rows of an effect whose statements [return](Statement::returning) some.
    ///
    /// # Errors
    /// - [Rejected](crate::ErrorKind::Rejected): the key was completed by work that said no.
    /// - [Unreadable](crate::ErrorKind::Unreadable): the stored receipt has no rows, as an earlier version
    ///   of the program had none.
    pub fn returned(&self) -> Result<Returned> {
        match &self.outcome {
            Outcome::Applied(receipt) => Returned::of(receipt),
            Outcome::Rejected(rejection) => {
                Err(Error::rejected(rejection.clone(), "returned", "core"))
            }
        }
    }
}

/// Applies effects that are known up front, in one round trip.
///
/// # Contract
/// As [`IdempotencyStore`]. To ensure correctness:
/// - **Each caller's failure stays its own**, where an adapter groups the effects of several callers
///   into one commit: a refused statement of one must neither fail nor undo the effect of another.
/// - **A refusal is final**: it is recorded as the outcome of the key before it is reported. Otherwise a
///   message of an earlier attempt that is still under way is applied after its caller was assured that
///   it never will be. [`settle_one_shot`](crate::adapter::settle_one_shot) does it for adapters.
/// - **What is wrong in itself is invalid before anything is done**: call [`OneShot::check`] first.
///   Otherwise a parameter whose name is forgotten is stored as NULL.
/// - **Rows are stored with the key**, where a statement [returns](Statement::returning) some: in the
///   same commit, and as they are answered. Otherwise a retry gets other rows, or none.
/// - **Each caller gets its own rows**, where the effects of several callers share a commit.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't apply statements that are known up front",
    label = "this store has no one-shot effects",
    note = "use `execute_once`, whose work may run any statement; a generic `S` needs the bound \
            `S: OneShotStore`"
)]
pub trait OneShotStore: IdempotencyStore {
    /// Claims the key, applies the statements, stores the receipt and commits; or answers with
    /// what was stored before.
    ///
    /// # Errors
    /// - [Mismatch](crate::ErrorKind::Mismatch), [in progress](crate::ErrorKind::InProgress).
    /// - [Refused](crate::ErrorKind::Refused): a statement was refused for good, or changed another
    ///   number of rows than it must. Nothing was applied, and the key keeps the refusal: every call
    ///   gets the same.
    /// - [Too large](crate::ErrorKind::TooLarge): a statement returned more rows or bytes than
    ///   [it may](Statement::returning). As a refusal: nothing was applied, and the key keeps it.
    /// - [Invalid](crate::ErrorKind::Invalid): as [`OneShot::check`]; nothing was done or recorded.
    /// - [Ambiguous](crate::ErrorKind::Ambiguous) and the other retryable kinds.
    fn execute_one_shot(
        &self,
        effect: &OneShot,
    ) -> impl Future<Output = Result<OneShotDone>> + Send;
}

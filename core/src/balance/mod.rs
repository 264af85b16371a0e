//! Versioned balance stores: amounts that change by operations with idempotency keys.
//!
//! # Layout
//! - [`operation`]: what can be asked (open, close, adjust, compare-and-set, transfer).
//! - [`change`]: what is answered and kept in the history.
//! - [`rules`]: the one place that decides what an operation does to an account; pure, so that
//!   every backend decides alike.

mod change;
mod operation;
mod refused;
pub mod rules;

use std::future::Future;

pub use change::{AccountState, Applied, Change, ChangeKind, Floor, HistoryPage, Transferred};
pub use operation::{
    Adjust, CloseAccount, CompareAndSet, Expected, Leg, MAX_LEGS, OpenAccount, Transfer,
};
pub use refused::Refused;

use crate::{
    amount::Version, error::Result, names::AccountId, store::Store, transaction::Transactional,
};

/// The most changes that one page of a history holds.
pub const MAX_HISTORY_PAGE: u32 = 1_000;

/// Balances with versions, where every change is applied once per idempotency key.
///
/// # Contract
/// To ensure correctness:
/// - **The operation's record is written atomically with the change.** Otherwise a crash between
///   the two makes a retry apply it twice, or lose it.
/// - **The replay check comes first**: before existence, version and funds. A compare-and-set that
///   won must not receive *conflict* on its retry because its own win moved the version.
/// - **A replay answers with the original [`Change`]**, equal in every field, also after a thousand
///   later changes and after the account was closed. It never answers with the current balance.
/// - **The key belongs to its parameters**: with another account, delta, expected version, floor or
///   kind of operation it is a *mismatch*.
/// - **A refusal is final.** A refused operation changes no account and no history; that it was
///   refused is recorded under its key ([`Refused`]) before it is reported, and every call with the key
///   gets the same, whatever the account holds by then. Otherwise a message of an earlier attempt
///   that is still under way is applied after its caller received *insufficient funds*. If that
///   message was faster, it was applied, and its change is the answer. Who wants to try again, after
///   a deposit or at another version, does so under a new key.
/// - **Nothing in doubt decides.** While a prepared transaction holds the account or the key, every
///   operation there is [reserved](crate::ErrorKind::Reserved) ([`rules::reserved`]), whether it
///   could be applied or would be refused. Otherwise a debit that only a prepared credit covers is
///   refused for good, although the credit commits.
/// - **Versions are gapless**: each applied change of an account has the next version, and the sum
///   of the deltas up to a version is the balance at that version. Readers never see one without
///   the other.
/// - **Arithmetic is exact** over all of `i64`; what does not fit is refused as *overflow*.
/// - Keys of balance operations are a space of their own, apart from those of
///   [`crate::IdempotencyStore`]; they are kept as long as the history is.
///
/// What an operation does to a state is decided by [`rules`](crate::adapter::rules::balances), the same for every backend.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no versioned balances",
    label = "this store has no balances",
    note = "use a store that has them; a generic `S` needs the bound `S: BalanceStore`. A balance in a table \
            of your own is changed in `execute_once`"
)]
pub trait BalanceStore: Store {
    /// Opens an account, or opens a closed one again: its versions go on.
    ///
    /// # Errors
    /// [Conflict](crate::ErrorKind::Conflict) where it is open already;
    /// [insufficient funds](crate::ErrorKind::InsufficientFunds) where the first amount is below
    /// the floor; [mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn open_account(&self, operation: &OpenAccount)
    -> impl Future<Output = Result<Applied>> + Send;

    /// Closes an account whose balance is zero.
    ///
    /// # Errors
    /// [Conflict](crate::ErrorKind::Conflict) where the balance is not zero;
    /// [unknown account](crate::ErrorKind::UnknownAccount); mismatch; retryable kinds.
    fn close_account(
        &self,
        operation: &CloseAccount,
    ) -> impl Future<Output = Result<Applied>> + Send;

    /// The account's amount, version, floor and whether it is open; `None` if it never was.
    ///
    /// # Errors
    /// Retryable kinds and configuration.
    fn balance(
        &self,
        account: &AccountId,
    ) -> impl Future<Output = Result<Option<AccountState>>> + Send;

    /// Adds a delta; zero is a change too, with a version of its own.
    ///
    /// # Errors
    /// [Unknown account](crate::ErrorKind::UnknownAccount),
    /// [conflict](crate::ErrorKind::Conflict) if a version was expected,
    /// [overflow](crate::ErrorKind::Overflow),
    /// [insufficient funds](crate::ErrorKind::InsufficientFunds),
    /// [mismatch](crate::ErrorKind::Mismatch); retryable kinds.
    fn adjust(&self, operation: &Adjust) -> impl Future<Output = Result<Applied>> + Send;

    /// Sets the amount if the version is the expected one.
    ///
    /// # Errors
    /// As [`Self::adjust`]. The delta must fit as well: from `i64::MIN` to 1 is an overflow.
    fn compare_and_set(
        &self,
        operation: &CompareAndSet,
    ) -> impl Future<Output = Result<Applied>> + Send;

    /// Applies several deltas that add up to zero, all or none, each to another account.
    ///
    /// # Errors
    /// As [`Self::adjust`], for the first leg (in the order given) that is refused; then no leg is
    /// applied. [Unsupported](crate::ErrorKind::Unsupported) where the accounts lie on different
    /// shards of a cluster: use the coordinator. Opposing transfers never deadlock towards the
    /// caller.
    fn transfer(&self, operation: &Transfer) -> impl Future<Output = Result<Transferred>> + Send;

    /// At most `limit` changes with a version above `after`, oldest first. Pages are stable: a
    /// change that is appended meanwhile moves nothing.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a limit of zero or above [`MAX_HISTORY_PAGE`];
    /// [unknown account](crate::ErrorKind::UnknownAccount) if it never was.
    fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> impl Future<Output = Result<HistoryPage>> + Send;
}

/// Balance changes inside a transaction of the user's, beside the user's own writes.
///
/// # Contract
/// As [`BalanceStore`]; the change and its record become visible with the transaction's commit, or
/// not at all. A refusal leaves the transaction usable, and is not recorded: how the transaction ends
/// is recorded under the key of the transaction. One that was recorded is reported here as well.
pub trait BalanceTransaction: Transactional + BalanceStore {
    /// Adds a delta within the transaction.
    ///
    /// # Errors
    /// As [`BalanceStore::adjust`].
    fn adjust_in(
        &self,
        tx: &mut Self::Tx,
        operation: &Adjust,
    ) -> impl Future<Output = Result<Applied>> + Send;
}

/// Refuses a page size of zero or above [`MAX_HISTORY_PAGE`]; for adapters.
///
/// # Errors
/// [Invalid](crate::ErrorKind::Invalid), with the limit.
pub fn check_page(limit: u32, store: &'static str) -> Result<u32> {
    if (1..=MAX_HISTORY_PAGE).contains(&limit) {
        return Ok(limit);
    }
    Err(
        crate::Error::new(crate::ErrorKind::Invalid, "history", store).with_message(format!(
            "a page of {limit} changes; it must be 1 to {MAX_HISTORY_PAGE}"
        )),
    )
}

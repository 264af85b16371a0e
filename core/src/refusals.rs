//! The one text of each refusal, for adapters: the same event has the same words on every backend, at
//! the first answer and at each replay.
//!
//! Most are made by [`rules`](crate::adapter::rules); an adapter calls one here only where its own server has
//! decided.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind},
    register::Decision,
    statement::Returning,
};

/// A key comes with another request than the one it was first used with; of effects and of balance
/// operations.
#[must_use]
pub fn mismatch(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Mismatch, operation, store)
        .with_message("this key was used with another request: use a new key for a new request")
}

/// Another attempt holds the key.
#[must_use]
pub fn in_progress(retry_after: Duration, operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::InProgress { retry_after }, operation, store)
        .with_message("another attempt holds this key: try again with the same key")
}

/// The key's claim was committed without an outcome.
#[must_use]
pub fn unsettled(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation, store).with_message(
        "the work of an earlier attempt ended its transaction itself (COMMIT or ROLLBACK): what it \
         committed stays and has no receipt; look at what it did, then forget the key",
    )
}

/// A lease's token is not the one that holds the key now.
#[must_use]
pub fn fenced(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Fenced, operation, store).with_message(
        "this lease is not the current one: another attempt took the key over, or it was completed \
         or released; stop, and don't report the effect as done",
    )
}

/// The lease was finalized before, with the same token and another outcome.
#[must_use]
pub fn another_outcome(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Conflict { current: None }, operation, store)
        .with_message("this lease was finalized before with another outcome: the first one stands")
}

/// A statement changed another number of rows than it must; statements count from 1.
#[must_use]
pub fn rows(
    statement: usize,
    changed: u64,
    expected: u64,
    operation: &'static str,
    store: &'static str,
) -> Error {
    Error::new(ErrorKind::Refused, operation, store).with_message(format!(
        "statement {statement} changed {changed} rows and must change exactly {expected}"
    ))
}

/// A statement returned more rows than it may; statements count from 1.
#[must_use]
pub fn too_many_rows(
    statement: usize,
    limits: Returning,
    operation: &'static str,
    store: &'static str,
) -> Error {
    Error::new(ErrorKind::TooLarge, operation, store).with_message(format!(
        "statement {statement} returned more than {} rows, its limit: return fewer, or raise it by \
         `Returning::rows`",
        limits.max_rows()
    ))
}

/// The rows of a statement have more bytes than they may; statements count from 1.
#[must_use]
pub fn rows_too_large(
    statement: usize,
    limits: Returning,
    operation: &'static str,
    store: &'static str,
) -> Error {
    Error::new(ErrorKind::TooLarge, operation, store).with_message(format!(
        "statement {statement} returned more than {} bytes of rows, its limit: return less, or raise \
         it by `Returning::within_bytes`",
        limits.max_bytes()
    ))
}

/// A statement is to return rows, and its text returns none; statements count from 1.
#[must_use]
pub fn returns_nothing(statement: usize, operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Refused, operation, store).with_message(format!(
        "statement {statement} is to return rows, and its text returns none: add RETURNING to it, or \
         don't call `returning`"
    ))
}

/// A prepared transaction holds what the call needs. `what` names that, as `the row`, and `holder` the
/// transaction.
#[must_use]
pub fn reserved(what: &str, holder: &str, operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Reserved, operation, store).with_message(format!(
        "{what} is reserved by the prepared transaction {holder}: try again after its decision"
    ))
}

/// A transaction is passed to a call that does not end what it was begun for.
#[must_use]
pub fn foreign(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation, store).with_message(
        "the transaction was not begun by the call that this one ends; it is rolled back",
    )
}

/// A transaction's name comes with another request, other deadlines, another register or other
/// participants than it was first used with.
#[must_use]
pub fn another_transaction(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Mismatch, operation, store).with_message(
        "this transaction's name was used with another request, other deadlines, another register or \
         other participants: use a new name for a new transaction",
    )
}

/// Nothing is known of the transaction, and the time to remember it has passed.
#[must_use]
pub fn forgotten(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Forgotten, operation, store).with_message(
        "the time to remember this transaction (forget_after) has passed: what became of it is not \
         known any more",
    )
}

/// The transaction was rolled back before.
#[must_use]
pub fn rolled_back(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::RolledBack, operation, store)
        .with_message("this transaction was rolled back: a new one needs a new name")
}

/// The deadline to prepare has passed.
#[must_use]
pub fn late(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::RolledBack, operation, store).with_message(
        "the deadline of this transaction (not_after) has passed: it is rolled back everywhere",
    )
}

/// The transaction is to be rolled back and was committed before.
#[must_use]
pub fn committed(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Committed, operation, store)
        .with_message("this transaction was committed, and can't be rolled back any more")
}

/// The transaction is to be committed, and nothing of it is prepared.
#[must_use]
pub fn not_prepared(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::NotPrepared, operation, store)
        .with_message("nothing is prepared under this transaction's name, and no outcome is known")
}

/// The register holds no decision about the transaction.
#[must_use]
pub fn undecided(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::NotPrepared, operation, store)
        .with_message("nothing was decided about this transaction")
}

/// The register holds another decision than a caller has carried out.
#[must_use]
pub fn decided_otherwise(
    stands: Decision,
    carried_out: Decision,
    operation: &'static str,
    store: &'static str,
) -> Error {
    Error::new(ErrorKind::Heuristic, operation, store).with_message(format!(
        "the register says {}, and {} was carried out by its earlier word: it was restored since then. \
         Compare the participants, then settle the transaction",
        stands.as_str(),
        carried_out.as_str()
    ))
}

/// The decision is disputed.
#[must_use]
pub fn disputed(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Heuristic, operation, store).with_message(
        "a participant ended otherwise than was decided, as the register has noted: compare the \
         participants, then settle the transaction",
    )
}

/// An operator settled the transaction while a caller carried out the other outcome.
#[must_use]
pub fn settled_otherwise(outcome: Decision, operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Busy, operation, store).with_message(format!(
        "an operator settled this transaction as {} while it was carried out: try again, and get that \
         outcome",
        outcome.as_str()
    ))
}

/// Another attempt at the transaction is in its work.
#[must_use]
pub fn at_work(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Busy, operation, store).with_message(
        "another attempt at this transaction is in its work, or another participant of it is this \
         very store: try again",
    )
}

/// Another attempt has prepared, committed or decided what this one was about to: whose work was kept
/// must not be taken for this attempt's.
#[must_use]
pub fn overtaken(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::Busy, operation, store)
        .with_message("another attempt at this transaction was faster: begin again")
}

//! What an implementation of the traits needs, and nothing else does.
//!
//! A store reads and writes; the decisions are here, so that every backend decides alike and replies in
//! the same words:
//!
//! - [`rules`]: what a stored row means to the next call.
//! - [`refusals`]: the one text of each refusal.
//! - [`chain`]: what an error of the user's own type means.
//! - [`nested`]: calls from inside of a store's own work.
//! - [`settle_refusal`], [`settle_one_shot`], [`refused_up_front`]: a refusal is recorded before it is
//!   reported.
//! - [`by_steps`]: a one-shot participant by the steps of the general form.
//! - [`check_statements`], [`check_statements_without_rows`]: what is wrong with statements, whatever the
//!   database; [`Word`]: statements of a backend without a syntax.
//! - [`RowsWriter`], [`returned`]: the rows that statements return, and the receipt that holds them.
//! - [`check_limit`], [`check_page`], [`check_duration`]: the limits of what a caller asks for.

pub use crate::{
    balance::{Refused, check_page},
    identity::IDENTITY_BYTES,
    one_shot_participant::by_steps,
    prepared::TERMS_BYTES,
    register::check_limit,
    rows::RowsWriter,
    settle::{refused_up_front, settle_one_shot, settle_refusal},
    statement::{Word, check_statements, check_statements_without_rows},
    time::check_duration,
};

/// The receipt of an effect whose statements return rows, for an adapter whose database writes it:
/// the [head](returned::head), the rows of each statement between
/// [separators](returned::SEPARATOR), the [end](returned::END).
pub mod returned {
    pub use crate::rows::returned::{END, SEPARATOR, head};
}

/// What is stored, and what it means to the next call: pure functions.
///
/// Each rule takes what the transaction sees and the store's own clock, and gives what to do, or the
/// refusal. Where a server decides by itself, in a script or by the condition of a statement, that
/// condition is the rule's, and what it refuses goes through the rule for the answer.
pub mod rules {
    pub use crate::rules::{keys, participants};

    pub use crate::balance::rules as balances;
}

/// The one text of each refusal that a store makes by itself.
pub mod refusals {
    pub use crate::refusals::*;
}

/// What an error of the user's own type means.
pub mod chain {
    pub use crate::chain::classify;
}

pub mod nested {
    //! Calls from inside of a store's own work.
    //!
    //! A store whose transaction holds what every other call needs (its one writer, its one
    //! connection) can only make a nested call wait for itself. Work is therefore polled [`within`] its
    //! store's place, and such a store asks [`is_within`] and refuses the call at once, instead of at
    //! its lock timeout.
    //!
    //! A call from another task is not seen here, even if the work waits for that task.

    pub use crate::nested::{is_within, within};
}

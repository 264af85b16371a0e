//! What an operation does to an account: pure functions, so that every backend decides alike.
//!
//! Each takes the account's state as the transaction sees it (locked, or guarded by its version),
//! and gives the change and the new state, or the refusal. The replay check comes **before**: by
//! the time a rule is asked, the key must be known to be new.

use crate::{
    amount::{Amount, Version},
    balance::{
        change::{AccountState, Change, ChangeKind, Floor},
        operation::{Adjust, CloseAccount, CompareAndSet, Expected, Leg, OpenAccount, Transfer},
    },
    error::{Error, ErrorKind, Result},
    names::{AccountId, IdempotencyKey},
    refusals,
};

/// A change, and the state that it leaves.
pub type Step = (Change, AccountState);

/// The answer of every operation on an account, or under a key, that a prepared transaction holds.
///
/// This rule comes right after the replay check and before every other rule. What the account holds
/// depends on a decision that has not been made, so neither a change nor a refusal is true yet: a
/// debit that only a prepared credit covers, a compare-and-set at the version that the prepared
/// change makes, the closing of an account that a prepared debit empties. A refusal that a backend
/// records here would stay wrong for good once the transaction commits.
///
/// `holder` names the prepared transaction: its digest, where the backend knows it.
#[must_use]
pub fn reserved(holder: &str, operation: &'static str, store: &'static str) -> Error {
    refusals::reserved(
        "the account or the operation's key",
        holder,
        operation,
        store,
    )
}

/// The answer of every call on an account that never was.
#[must_use]
pub fn unknown_account(operation: &'static str, store: &'static str) -> Error {
    Error::new(ErrorKind::UnknownAccount, operation, store)
        .with_message("there is no such account: open it first")
}

/// The operation, for errors.
struct Context<'a> {
    store: &'static str,
    operation: &'static str,
    key: &'a IdempotencyKey,
    account: &'a AccountId,
    kind: ChangeKind,
}

impl Context<'_> {
    fn refuse<T>(&self, kind: ErrorKind, message: impl Into<String>) -> Result<T> {
        Err(Error::new(kind, self.operation, self.store).with_message(message))
    }

    fn open_state(&self, state: Option<&AccountState>) -> Result<AccountState> {
        match state {
            Some(state) if state.open => Ok(*state),
            Some(_) => self.refuse(ErrorKind::UnknownAccount, "the account is closed"),
            None => Err(unknown_account(self.operation, self.store)),
        }
    }

    /// The change from `before` to `after`, if both the sum and the next version exist.
    fn step(
        &self,
        before: Amount,
        after: Option<Amount>,
        version: Option<Version>,
        keep: Floor,
        check: Floor,
    ) -> Result<Step> {
        let Some(after) = after else {
            return self.refuse(
                ErrorKind::Overflow,
                format!("the balance of {before} would leave the range of a 64-bit integer"),
            );
        };
        let Some(delta) = after.checked_sub(before) else {
            return self.refuse(
                ErrorKind::Overflow,
                format!("the step from {before} to {after} does not fit a 64-bit integer"),
            );
        };
        let Some(version) = version.map_or(Some(Version::FIRST), Version::next) else {
            return self.refuse(
                ErrorKind::Overflow,
                "the account has reached its last version",
            );
        };
        // A credit that leaves the account below its floor still brings it nearer: allowed.
        if !check.allows(after) && (delta < Amount::ZERO || self.kind != ChangeKind::Adjust) {
            return self.refuse(
                ErrorKind::InsufficientFunds,
                format!("a balance of {after} would be below the floor"),
            );
        }
        let change = Change {
            key: self.key.clone(),
            account: self.account.clone(),
            kind: self.kind,
            delta,
            before,
            after,
            version,
        };
        let open = self.kind != ChangeKind::Close;
        Ok((
            change,
            AccountState {
                amount: after,
                version,
                floor: keep,
                open,
            },
        ))
    }
}

/// What opening does.
///
/// # Errors
/// As [`crate::BalanceStore::open_account`], refusals only.
pub fn open(
    operation: &OpenAccount,
    state: Option<&AccountState>,
    store: &'static str,
) -> Result<Step> {
    let OpenAccount {
        key,
        account,
        floor,
        amount,
    } = operation;
    let context = Context {
        store,
        operation: "open_account",
        key,
        account,
        kind: ChangeKind::Open,
    };
    match state {
        Some(state) if state.open => context.refuse(
            ErrorKind::Conflict {
                current: Some(state.version),
            },
            "the account is open already",
        ),
        closed => context.step(
            Amount::ZERO,
            Some(*amount),
            closed.map(|state| state.version),
            *floor,
            *floor,
        ),
    }
}

/// What closing does.
///
/// # Errors
/// As [`crate::BalanceStore::close_account`], refusals only.
pub fn close(
    operation: &CloseAccount,
    state: Option<&AccountState>,
    store: &'static str,
) -> Result<Step> {
    let CloseAccount { key, account } = operation;
    let context = Context {
        store,
        operation: "close_account",
        key,
        account,
        kind: ChangeKind::Close,
    };
    let state = context.open_state(state)?;
    if state.amount != Amount::ZERO {
        return context.refuse(
            ErrorKind::Conflict {
                current: Some(state.version),
            },
            format!(
                "the balance is {}, and only an empty account can be closed",
                state.amount
            ),
        );
    }
    context.step(
        Amount::ZERO,
        Some(Amount::ZERO),
        Some(state.version),
        state.floor,
        Floor::None,
    )
}

/// What an adjustment does.
///
/// # Errors
/// As [`crate::BalanceStore::adjust`], refusals only.
pub fn adjust(
    operation: &Adjust,
    state: Option<&AccountState>,
    store: &'static str,
) -> Result<Step> {
    let Adjust {
        key,
        account,
        delta,
        expected,
        floor,
    } = operation;
    let context = Context {
        store,
        operation: "adjust",
        key,
        account,
        kind: ChangeKind::Adjust,
    };
    let state = context.open_state(state)?;
    if let Some(expected) = expected
        && *expected != state.version
    {
        return context.refuse(
            ErrorKind::Conflict {
                current: Some(state.version),
            },
            format!("version {expected} was expected"),
        );
    }
    context.step(
        state.amount,
        state.amount.checked_add(*delta),
        Some(state.version),
        state.floor,
        floor.unwrap_or(state.floor),
    )
}

/// What a compare-and-set does.
///
/// # Errors
/// As [`crate::BalanceStore::compare_and_set`], refusals only.
pub fn compare_and_set(
    operation: &CompareAndSet,
    state: Option<&AccountState>,
    store: &'static str,
) -> Result<Step> {
    let CompareAndSet {
        key,
        account,
        expected,
        amount,
        floor,
    } = operation;
    let context = Context {
        store,
        operation: "compare_and_set",
        key,
        account,
        kind: ChangeKind::CompareAndSet,
    };
    if *expected == Expected::Absent {
        let floor = floor.unwrap_or_default();
        return match state {
            Some(state) if state.open => context.refuse(
                ErrorKind::Conflict {
                    current: Some(state.version),
                },
                "the account was expected to be absent",
            ),
            closed => context.step(
                Amount::ZERO,
                Some(*amount),
                closed.map(|state| state.version),
                floor,
                floor,
            ),
        };
    }
    let state = context.open_state(state)?;
    if let Expected::Version(expected) = expected
        && *expected != state.version
    {
        return context.refuse(
            ErrorKind::Conflict {
                current: Some(state.version),
            },
            format!("version {expected} was expected"),
        );
    }
    context.step(
        state.amount,
        Some(*amount),
        Some(state.version),
        state.floor,
        floor.unwrap_or(state.floor),
    )
}

/// What one leg of a transfer does.
///
/// # Errors
/// As [`crate::BalanceStore::transfer`], refusals only.
pub fn leg(
    operation: &Transfer,
    leg: &Leg,
    state: Option<&AccountState>,
    store: &'static str,
) -> Result<Step> {
    let context = Context {
        store,
        operation: "transfer",
        key: operation.key(),
        account: &leg.account,
        kind: ChangeKind::Transfer,
    };
    let state = context.open_state(state)?;
    // A credit never fails for the floor, and a debit must respect it.
    let check = if leg.delta < Amount::ZERO {
        state.floor
    } else {
        Floor::None
    };
    context.step(
        state.amount,
        state.amount.checked_add(leg.delta),
        Some(state.version),
        state.floor,
        check,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IdempotencyKey {
        IdempotencyKey::new("k").unwrap()
    }

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    fn state(amount: i64, version: i64) -> AccountState {
        AccountState {
            amount: Amount::new(amount),
            version: Version::new(version).unwrap(),
            floor: Floor::default(),
            open: true,
        }
    }

    fn kind<T>(result: Result<T>) -> ErrorKind {
        result.err().unwrap().kind()
    }

    #[test]
    fn exact_at_both_edges() {
        let up = |delta: i64| Adjust::new(key(), account(), Amount::new(delta));
        let (change, _) = adjust(&up(7), Some(&state(i64::MAX - 7, 1)), "t").unwrap();
        assert_eq!(change.after, Amount::MAX);
        assert_eq!(
            kind(adjust(&up(8), Some(&state(i64::MAX - 7, 1)), "t")),
            ErrorKind::Overflow
        );
        let down = up(i64::MIN).with_floor(Floor::None);
        assert_eq!(
            adjust(&down, Some(&state(0, 1)), "t").unwrap().0.after,
            Amount::MIN
        );
        assert_eq!(
            kind(adjust(&down, Some(&state(-1, 1)), "t")),
            ErrorKind::Overflow
        );
    }

    #[test]
    fn the_floor_holds_to_the_unit() {
        let down = |delta: i64| Adjust::new(key(), account(), Amount::new(delta));
        assert!(adjust(&down(-5), Some(&state(5, 1)), "t").is_ok());
        assert_eq!(
            kind(adjust(&down(-6), Some(&state(5, 1)), "t")),
            ErrorKind::InsufficientFunds
        );
    }

    #[test]
    fn the_last_version_is_the_last() {
        let change = Adjust::new(key(), account(), Amount::ZERO);
        assert_eq!(
            kind(adjust(&change, Some(&state(0, i64::MAX)), "t")),
            ErrorKind::Overflow
        );
    }

    #[test]
    fn a_set_whose_delta_does_not_fit_is_an_overflow() {
        let set = CompareAndSet::new(key(), account(), Expected::Any, Amount::MAX)
            .with_floor(Floor::None);
        assert_eq!(
            kind(compare_and_set(&set, Some(&state(-1, 1)), "t")),
            ErrorKind::Overflow
        );
    }

    #[test]
    fn reopening_goes_on_with_the_version() {
        let closed = AccountState {
            open: false,
            ..state(0, 9)
        };
        let (change, after) =
            open(&OpenAccount::new(key(), account()), Some(&closed), "t").unwrap();
        assert_eq!(change.version.get(), 10);
        assert!(after.open);
    }
}

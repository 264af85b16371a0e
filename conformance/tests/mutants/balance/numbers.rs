//! Mutants that can't reckon.

use exactly_once::{
    Adjust, Amount, Applied, BalanceStore, Change, ChangeKind, CompareAndSet, Error, ErrorKind,
    Floor, Result, memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

/// An answer that was never stored, where a sum doesn't fit.
async fn overflowing(
    right: &MemoryStore,
    operation: &Adjust,
    sum: fn(i64, i64) -> i64,
) -> Result<Applied> {
    match right.adjust(operation).await {
        Err(error) if error.kind() == ErrorKind::Overflow => {
            let Some(state) = right.balance(&operation.account).await? else {
                return Err(error);
            };
            let change = Change {
                key: operation.key.clone(),
                account: operation.account.clone(),
                kind: ChangeKind::Adjust,
                delta: operation.delta,
                before: state.amount,
                after: Amount::new(sum(state.amount.get(), operation.delta.get())),
                version: state.version,
            };
            Ok(Applied {
                change,
                replayed: false,
            })
        }
        answer => answer,
    }
}

/// Sums wrap.
#[derive(Clone, Default)]
struct WrappingAdd;

impl Patch for WrappingAdd {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        overflowing(right, operation, i64::wrapping_add).await
    }
}

#[test]
fn sums_wrap() {
    assert_killed::<WrappingAdd>("balance::numbers::b30_up_to_the_largest");
    assert_killed::<WrappingAdd>("balance::numbers::b31_down_to_the_smallest");
}

/// A column that is not STRICT becomes a float where the sum doesn't fit, and reads as the nearest
/// whole number.
#[derive(Clone, Default)]
struct NotStrict;

impl Patch for NotStrict {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        overflowing(right, operation, i64::saturating_add).await
    }
}

#[test]
fn the_column_is_not_strict() {
    assert_killed::<NotStrict>("balance::numbers::b30_up_to_the_largest");
}

/// Amounts pass through a double, as in JSON or Lua.
#[derive(Clone, Default)]
struct Doubles;

fn through_a_double(amount: Amount) -> Amount {
    Amount::new(amount.get() as f64 as i64)
}

impl Patch for Doubles {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let mut rounded = operation.clone();
        rounded.delta = through_a_double(rounded.delta);
        right.adjust(&rounded).await
    }
    async fn compare_and_set(
        &self,
        right: &MemoryStore,
        operation: &CompareAndSet,
    ) -> Result<Applied> {
        let mut rounded = operation.clone();
        rounded.amount = through_a_double(rounded.amount);
        right.compare_and_set(&rounded).await
    }
}

#[test]
fn amounts_pass_through_a_double() {
    assert_killed::<Doubles>("balance::numbers::b33_exact_beyond_2_53");
    assert_killed::<Doubles>("balance::numbers::b34_exact_below_minus_2_53");
}

/// Only the check for funds is made with doubles.
#[derive(Clone, Default)]
struct FundsByDoubles;

impl Patch for FundsByDoubles {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let Some(state) = right.balance(&operation.account).await? else {
            return right.adjust(operation).await;
        };
        let floor = match operation.floor.unwrap_or(state.floor) {
            Floor::At(floor) => floor.get() as f64,
            Floor::None => f64::NEG_INFINITY,
        };
        let after = state.amount.get() as f64 + operation.delta.get() as f64;
        if operation.delta < Amount::ZERO && after < floor {
            return Err(Error::new(ErrorKind::InsufficientFunds, "adjust", "mutant"));
        }
        right
            .adjust(&operation.clone().with_floor(Floor::None))
            .await
    }
}

#[test]
fn funds_are_checked_with_doubles() {
    assert_killed::<FundsByDoubles>("balance::numbers::b36_overdraft_at_2_53");
}

/// Zero is no change.
#[derive(Clone, Default)]
struct ZeroSkipped;

impl Patch for ZeroSkipped {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match right.balance(&operation.account).await? {
            Some(state) if state.open && operation.delta == Amount::ZERO => {
                let change = Change {
                    key: operation.key.clone(),
                    account: operation.account.clone(),
                    kind: ChangeKind::Adjust,
                    delta: Amount::ZERO,
                    before: state.amount,
                    after: state.amount,
                    version: state.version,
                };
                Ok(Applied {
                    change,
                    replayed: false,
                })
            }
            _ => right.adjust(operation).await,
        }
    }
}

#[test]
fn zero_is_no_change() {
    assert_killed::<ZeroSkipped>("balance::basic::b05_zero_delta_is_a_change");
}

/// One below the floor is let through.
#[derive(Clone, Default)]
struct OffByOne;

impl Patch for OffByOne {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        let own = state.map_or_else(Floor::default, |state| state.floor);
        let lower = match operation.floor.unwrap_or(own) {
            Floor::At(floor) => Floor::At(Amount::new(floor.get().saturating_sub(1))),
            Floor::None => Floor::None,
        };
        right.adjust(&operation.clone().with_floor(lower)).await
    }
}

#[test]
fn the_floor_is_off_by_one() {
    assert_killed::<OffByOne>("balance::numbers::b35_overdraft_by_one");
}

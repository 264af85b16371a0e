//! Mutants that refuse by what is committed, while a prepared transaction is about to change it.

use exactly_once::{
    Adjust, Applied, BalanceStore, BalanceTransaction, CloseAccount, CompareAndSet, Error,
    ErrorKind, Result, Transfer, Transferred,
    adapter::rules::balances::{self, Step},
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// The rules' refusal, in place of *reserved*.
fn refusal_first<T>(answer: Result<T>, ruled: Result<Step>) -> Result<T> {
    match (answer, ruled) {
        (Err(answer), Err(refusal)) if answer.kind() == ErrorKind::Reserved => Err(refusal),
        (answer, _) => answer,
    }
}

/// Refuses before it looks for reservations.
#[derive(Clone, Default)]
struct RefusesUndecided;

impl Patch for RefusesUndecided {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        let ruled = balances::adjust(operation, state.as_ref(), "mutant");
        refusal_first(right.adjust(operation).await, ruled)
    }
    async fn compare_and_set(
        &self,
        right: &MemoryStore,
        operation: &CompareAndSet,
    ) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        let ruled = balances::compare_and_set(operation, state.as_ref(), "mutant");
        refusal_first(right.compare_and_set(operation).await, ruled)
    }
    async fn close_account(
        &self,
        right: &MemoryStore,
        operation: &CloseAccount,
    ) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        let ruled = balances::close(operation, state.as_ref(), "mutant");
        refusal_first(right.close_account(operation).await, ruled)
    }
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        let mut ruled = Err(Error::new(ErrorKind::Reserved, "transfer", "mutant"));
        for leg in operation.legs() {
            let state = right.balance(&leg.account).await?;
            ruled = balances::leg(operation, leg, state.as_ref(), "mutant");
            if ruled.is_err() {
                break;
            }
        }
        refusal_first(right.transfer(operation).await, ruled)
    }
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        let ruled = balances::adjust(operation, state.as_ref(), "mutant");
        refusal_first(right.adjust_in(tx, operation).await, ruled)
    }
}

#[test]
fn a_refusal_comes_before_the_reservation() {
    assert_killed::<RefusesUndecided>("prepared::undecided::f04_debit_beside_a_credit");
    assert_killed::<RefusesUndecided>("prepared::undecided::f04_next_version");
    assert_killed::<RefusesUndecided>("prepared::undecided::f04_close_beside_a_debit");
    assert_killed::<RefusesUndecided>("prepared::undecided::f04_transfer_beside_a_credit");
    assert_killed::<RefusesUndecided>("prepared::undecided::f04_debit_in_a_transaction");
}

/// A reservation is reported as any other lock.
#[derive(Clone, Default)]
struct OnlyBusy;

impl Patch for OnlyBusy {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match right.adjust(operation).await {
            Err(error) if error.kind() == ErrorKind::Reserved => {
                Err(Error::new(ErrorKind::Busy, "adjust", "mutant"))
            }
            answer => answer,
        }
    }
}

#[test]
fn a_reservation_is_told_as_any_lock() {
    assert_killed::<OnlyBusy>("prepared::undecided::f04_it_is_reserved");
}

//! Mutants whose refusals do not stay true.

use exactly_once::{
    Adjust, Applied, BalanceStore, Error, ErrorKind, IdempotencyStore as _, Leg, OneShot,
    OneShotDone, OneShotStore, Result, Transfer, Transferred, adapter::rules::balances,
    memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

/// What the rules say of the account as it is now; nothing is recorded.
async fn refused_now(right: &MemoryStore, operation: &Adjust) -> Result<()> {
    let state = right.balance(&operation.account).await?;
    balances::adjust(operation, state.as_ref(), "mutant").map(drop)
}

/// Whether the key was used for an applied change.
async fn applied(right: &MemoryStore, operation: &Adjust) -> bool {
    right
        .history(&operation.account, None, 1_000)
        .await
        .is_ok_and(|page| {
            page.changes
                .iter()
                .any(|change| change.key == operation.key)
        })
}

/// A refusal is reported and not recorded: asked again, it is decided again.
#[derive(Clone, Default)]
struct DecidedAnew;

impl Patch for DecidedAnew {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        if !applied(right, operation).await {
            refused_now(right, operation).await?;
        }
        right.adjust(operation).await
    }
}

#[test]
fn a_refusal_is_not_recorded() {
    assert_killed::<DecidedAnew>("balance::refusals::b13_refusal_is_final");
    assert_killed::<DecidedAnew>("balance::refusals::b13_zombie_after_its_refusal");
}

/// Only what lacks funds is recorded.
#[derive(Clone, Default)]
struct OnlyFunds;

impl Patch for OnlyFunds {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        if !applied(right, operation).await {
            match refused_now(right, operation).await {
                Err(error) if error.kind() != ErrorKind::InsufficientFunds => return Err(error),
                _ => {}
            }
        }
        right.adjust(operation).await
    }
}

#[test]
fn only_insufficient_funds_are_recorded() {
    assert_killed::<OnlyFunds>("balance::refusals::b13_every_refusal_is_final");
}

/// A refused transfer is decided again.
#[derive(Clone, Default)]
struct TransfersAnew;

impl Patch for TransfersAnew {
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        for leg in operation.legs() {
            let Leg { account, .. } = leg;
            let page = right.history(account, None, 1_000).await;
            let known = page.is_ok_and(|page| {
                page.changes
                    .iter()
                    .any(|change| change.key == *operation.key())
            });
            if !known {
                let state = right.balance(account).await?;
                balances::leg(operation, leg, state.as_ref(), "mutant")?;
            }
        }
        right.transfer(operation).await
    }
}

#[test]
fn a_refused_transfer_is_not_recorded() {
    assert_killed::<TransfersAnew>("balance::refusals::b13_refused_transfer_is_final");
}

/// A refusal is kept without what was asked: another request under its key is refused, too.
#[derive(Clone, Default)]
struct WithoutFingerprint;

impl Patch for WithoutFingerprint {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match right.adjust(operation).await {
            Err(error)
                if error.kind() == ErrorKind::Mismatch && !applied(right, operation).await =>
            {
                Err(Error::new(ErrorKind::InsufficientFunds, "adjust", "mutant"))
            }
            answer => answer,
        }
    }
}

#[test]
fn a_refusal_is_recorded_without_its_fingerprint() {
    assert_killed::<WithoutFingerprint>("balance::refusals::b13_key_of_a_refusal");
}

/// A refused statement leaves its key free.
#[derive(Clone, Default)]
struct KeyLeftFree;

impl Patch for KeyLeftFree {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let answer = right.execute_one_shot(effect).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::Refused)
        {
            right.forget(effect.claim.key()).await?;
        }
        answer
    }
}

#[test]
fn a_refused_effect_leaves_its_key_free() {
    assert_killed::<KeyLeftFree>("one_shot::basic::i06s_refused_statement");
    assert_killed::<KeyLeftFree>("one_shot::groups::i06s_racers_have_one_outcome");
}

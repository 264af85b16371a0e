//! Mutants that replay wrongly, or forget.

use std::sync::{Arc, Mutex, PoisonError};

use exactly_once::{
    AccountId, Adjust, Applied, BalanceStore, Change, ChangeKind, CloseAccount, CompareAndSet,
    Error, ErrorKind, Expected, HistoryPage, IdempotencyKey, Namespace, Result, Version,
    memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

fn refuse<T>(kind: ErrorKind) -> Result<T> {
    Err(Error::new(kind, "adjust", "mutant"))
}

/// The change that the history has under this key.
async fn stored(
    right: &MemoryStore,
    account: &AccountId,
    key: &IdempotencyKey,
) -> Result<Option<Change>> {
    let page = right.history(account, None, 1_000).await?;
    Ok(page.changes.into_iter().find(|change| change.key == *key))
}

/// A replay answers with the balance of now.
#[derive(Clone, Default)]
struct CurrentBalance;

impl Patch for CurrentBalance {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let mut applied = right.adjust(operation).await?;
        if applied.replayed
            && let Some(state) = right.balance(&operation.account).await?
        {
            applied.change.after = state.amount;
            applied.change.version = state.version;
        }
        Ok(applied)
    }
}

#[test]
fn a_replay_returns_the_current_balance() {
    assert_killed::<CurrentBalance>("balance::replay::b11_after_many_later_changes");
}

/// A key that is known is replayed, whatever is asked.
#[derive(Clone, Default)]
struct ParametersIgnored;

impl Patch for ParametersIgnored {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match right.adjust(operation).await {
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                match stored(right, &operation.account, &operation.key).await? {
                    Some(change) => Ok(Applied {
                        change,
                        replayed: true,
                    }),
                    None => Err(error),
                }
            }
            answer => answer,
        }
    }
}

#[test]
fn the_parameters_of_a_replay_are_ignored() {
    assert_killed::<ParametersIgnored>("balance::replay::b14_other_delta_is_a_mismatch");
    assert_killed::<ParametersIgnored>("balance::replay::b14_other_floor_is_a_mismatch");
    assert_killed::<ParametersIgnored>("balance::crash::b57_retry_with_another_floor");
}

/// A replay counts as a change.
#[derive(Clone, Default)]
struct VersionBumped;

impl Patch for VersionBumped {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let applied = right.adjust(operation).await?;
        if applied.replayed {
            let state = right.balance(&operation.account).await?;
            let version = state.map_or(0, |state| state.version.get());
            let key = IdempotencyKey::new(format!("bump/{version}"))?;
            right
                .adjust(&Adjust::new(key, operation.account.clone(), 0.into()))
                .await?;
        }
        Ok(applied)
    }
}

#[test]
fn the_version_is_bumped_on_replay() {
    assert_killed::<VersionBumped>("balance::replay::b11_after_many_later_changes");
    assert_killed::<VersionBumped>("balance::concurrency::b50_racers_with_one_key");
}

/// The version is compared before the key is looked up.
#[derive(Clone, Default)]
struct VersionFirst;

impl Patch for VersionFirst {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let state = right.balance(&operation.account).await?;
        if let (Some(expected), Some(state)) = (operation.expected, state)
            && expected != state.version
        {
            return refuse(ErrorKind::Conflict {
                current: Some(state.version),
            });
        }
        right.adjust(operation).await
    }
}

#[test]
fn the_version_is_compared_before_the_replay() {
    assert_killed::<VersionFirst>("balance::replay::b16_stale_version_of_a_replay");
}

/// Existence is checked before the key is looked up.
#[derive(Clone, Default)]
struct ExistenceFirst;

impl Patch for ExistenceFirst {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        match right.balance(&operation.account).await? {
            Some(state) if state.open => right.adjust(operation).await,
            _ => refuse(ErrorKind::UnknownAccount),
        }
    }
}

#[test]
fn existence_is_checked_before_the_replay() {
    assert_killed::<ExistenceFirst>("balance::replay::b12_after_the_account_is_closed");
}

/// The amount is compared instead of the version.
#[derive(Clone, Default)]
struct AmountCompared;

impl Patch for AmountCompared {
    async fn compare_and_set(
        &self,
        right: &MemoryStore,
        operation: &CompareAndSet,
    ) -> Result<Applied> {
        if let Expected::Version(version) = operation.expected
            && let Some(state) = right.balance(&operation.account).await?
        {
            let page = right.history(&operation.account, None, 1_000).await?;
            let then = page.changes.iter().find(|change| change.version == version);
            if then.is_some_and(|change| change.after == state.amount) {
                let mut any = operation.clone();
                any.expected = Expected::Any;
                return right.compare_and_set(&any).await;
            }
        }
        right.compare_and_set(operation).await
    }
}

#[test]
fn the_amount_is_compared_instead_of_the_version() {
    assert_killed::<AmountCompared>("balance::version::b25_aba");
}

/// All namespaces are one.
#[derive(Clone, Default)]
struct OneNamespace;

impl Patch for OneNamespace {
    fn namespace(&self, _asked: Namespace) -> Namespace {
        Namespace::new("default").unwrap()
    }
}

#[test]
fn the_namespace_is_missing() {
    assert_killed::<OneNamespace>("balance::replay::b15_other_namespace");
    assert_killed::<OneNamespace>("prepared::in_doubt::t51_only_its_own");
    assert_killed::<OneNamespace>("register::lists::r08_unfinished");
}

/// The cursor belongs to the next page.
#[derive(Clone, Default)]
struct CursorIncluded;

impl Patch for CursorIncluded {
    async fn history(
        &self,
        right: &MemoryStore,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let before = after.and_then(|after| Version::new(after.get() - 1).ok());
        right.history(account, before, limit).await
    }
}

#[test]
fn a_page_repeats_the_last_change_of_the_page_before() {
    assert_killed::<CursorIncluded>("balance::history::b62_history_pages");
}

/// Closing is acknowledged at once and written with the next change: `synchronous=NORMAL` does the
/// same to whatever the power takes away.
#[derive(Clone, Default)]
struct AcknowledgedTooSoon(Arc<Mutex<Option<CloseAccount>>>);

impl AcknowledgedTooSoon {
    fn waiting(&self) -> Option<CloseAccount> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Patch for AcknowledgedTooSoon {
    async fn close_account(
        &self,
        right: &MemoryStore,
        operation: &CloseAccount,
    ) -> Result<Applied> {
        let Some(state) = right.balance(&operation.account).await? else {
            return refuse(ErrorKind::UnknownAccount);
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(operation.clone());
        let change = Change {
            key: operation.key.clone(),
            account: operation.account.clone(),
            kind: ChangeKind::Close,
            delta: 0.into(),
            before: state.amount,
            after: state.amount,
            version: state.version.next().unwrap_or(state.version),
        };
        Ok(Applied {
            change,
            replayed: false,
        })
    }
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        if let Some(waiting) = self.waiting() {
            right.close_account(&waiting).await?;
        }
        right.adjust(operation).await
    }
}

#[test]
fn a_write_is_acknowledged_before_it_is_kept() {
    assert_killed::<AcknowledgedTooSoon>("balance::history::b60_reopen");
}

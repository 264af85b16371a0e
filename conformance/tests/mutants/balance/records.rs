//! Mutants that keep the wrong records: of names, of parameters, of what has expired.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, Claim, Claimed,
    CompareAndSet, ErrorKind, HistoryPage, IdempotencyKey, IdempotencyStore, OpenAccount, Result,
    Transfer, Transferred, Version,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

macro_rules! account_mutant {
    ($(#[$doc:meta])* $name:ident: $change:expr; $test:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default)]
        struct $name;

        impl $name {
            fn change(account: &AccountId) -> Result<AccountId> {
                let change: fn(&str) -> String = $change;
                Ok(AccountId::new(change(account.as_str()))?)
            }
        }

        impl Patch for $name {
            async fn open_account(
                &self,
                right: &MemoryStore,
                operation: &OpenAccount,
            ) -> Result<Applied> {
                let account = Self::change(&operation.account)?;
                right.open_account(&OpenAccount { account, ..operation.clone() }).await
            }
            async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
                let account = Self::change(&operation.account)?;
                right.adjust(&Adjust { account, ..operation.clone() }).await
            }
            async fn balance(
                &self,
                right: &MemoryStore,
                account: &AccountId,
            ) -> Result<Option<AccountState>> {
                right.balance(&Self::change(account)?).await
            }
        }

        #[test]
        fn $test() {
            assert_killed::<$name>("balance::names::b65_accounts_are_apart");
        }
    };
}

account_mutant! {
    /// A collation folds case.
    FoldsAccounts: |name| name.to_lowercase();
    accounts_are_folded
}

account_mutant! {
    /// A column of fixed length ignores trailing space.
    TrimsAccounts: |name| format!("{}.", name.trim_end());
    accounts_are_trimmed
}

account_mutant! {
    /// A column is a little short.
    CutsAccounts: |name| name.chars().take(254).collect();
    accounts_are_cut
}

/// Quotes by doubling only, at a server that reads backslashes as escapes: `a\b` arrives as `ab`.
#[derive(Clone, Default)]
struct QuotedByDoubling;

impl Patch for QuotedByDoubling {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let (mut arrived, mut escaped) = (String::new(), false);
        for letter in operation.key.as_str().chars() {
            escaped = letter == '\\' && !escaped;
            if !escaped {
                arrived.push(letter);
            }
        }
        let key = IdempotencyKey::new(arrived)?;
        let mut applied = right
            .adjust(&Adjust {
                key,
                ..operation.clone()
            })
            .await?;
        applied.change.key = operation.key.clone();
        Ok(applied)
    }
}

#[test]
fn keys_are_quoted_by_doubling_only() {
    assert_killed::<QuotedByDoubling>("balance::names::b66_keys_are_apart");
}

/// Closing takes the history along.
#[derive(Clone, Default)]
struct CloseRemoves;

impl Patch for CloseRemoves {
    async fn history(
        &self,
        right: &MemoryStore,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let page = right.history(account, after, limit).await?;
        let open = right
            .balance(account)
            .await?
            .is_some_and(|state| state.open);
        if open {
            return Ok(page);
        }
        let (changes, next) = (Vec::new(), None);
        Ok(HistoryPage { changes, next })
    }
}

#[test]
fn closing_takes_the_history_along() {
    assert_killed::<CloseRemoves>("balance::names::b67_closed_account_keeps_its_history");
}

/// Says of a page that is just full that there is a next one.
#[derive(Clone, Default)]
struct AlwaysNext;

impl Patch for AlwaysNext {
    async fn history(
        &self,
        right: &MemoryStore,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let mut page = right.history(account, after, limit).await?;
        if page.changes.len() == limit as usize {
            page.next = page.changes.last().map(|change| change.version);
        }
        Ok(page)
    }
}

#[test]
fn a_full_page_of_history_has_a_next_one() {
    assert_killed::<AlwaysNext>("balance::history::b62_the_last_page");
}

/// What the history has under this key.
async fn recorded(
    right: &MemoryStore,
    accounts: impl Iterator<Item = &AccountId>,
    key: &IdempotencyKey,
) -> Result<Option<Vec<exactly_once::Change>>> {
    let mut changes = Vec::new();
    for account in accounts {
        let page = right.history(account, None, 1_000).await?;
        match page.changes.into_iter().find(|change| change.key == *key) {
            Some(change) => changes.push(change),
            None => return Ok(None),
        }
    }
    Ok(Some(changes))
}

/// The key of a transfer belongs to its accounts, and not to its amounts.
#[derive(Clone, Default)]
struct AmountsNotCompared;

impl Patch for AmountsNotCompared {
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        let answer = right.transfer(operation).await;
        match &answer {
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                let accounts = operation.legs().iter().map(|leg| &leg.account);
                Ok(match recorded(right, accounts, operation.key()).await? {
                    Some(changes) => Transferred {
                        changes,
                        replayed: true,
                    },
                    None => return answer,
                })
            }
            _ => answer,
        }
    }
}

#[test]
fn amounts_of_a_transfer_are_not_compared() {
    assert_killed::<AmountsNotCompared>("balance::replay::b17_transfer_is_replayed");
}

/// A key of a set or an opening belongs to its account only.
#[derive(Clone, Default)]
struct SetsNotCompared;

impl SetsNotCompared {
    async fn lax(
        right: &MemoryStore,
        answer: Result<Applied>,
        account: &AccountId,
        key: &IdempotencyKey,
    ) -> Result<Applied> {
        if !matches!(&answer, Err(error) if error.kind() == ErrorKind::Mismatch) {
            return answer;
        }
        let known = right.balance(account).await?.is_some();
        let found = if known {
            recorded(right, std::iter::once(account), key).await?
        } else {
            None
        };
        match found.and_then(|changes| changes.into_iter().next()) {
            Some(change) => Ok(Applied {
                change,
                replayed: true,
            }),
            None => answer,
        }
    }
}

impl Patch for SetsNotCompared {
    async fn compare_and_set(
        &self,
        right: &MemoryStore,
        operation: &CompareAndSet,
    ) -> Result<Applied> {
        let answer = right.compare_and_set(operation).await;
        Self::lax(right, answer, &operation.account, &operation.key).await
    }
    async fn open_account(&self, right: &MemoryStore, operation: &OpenAccount) -> Result<Applied> {
        let answer = right.open_account(operation).await;
        Self::lax(right, answer, &operation.account, &operation.key).await
    }
}

#[test]
fn parameters_of_sets_are_not_compared() {
    assert_killed::<SetsNotCompared>("balance::replay::b14_other_parameters_are_a_mismatch");
}

/// One table for the keys of effects and of operations.
#[derive(Clone, Default)]
struct OneSpaceOfKeys(Arc<Mutex<HashSet<IdempotencyKey>>>);

impl Patch for OneSpaceOfKeys {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let applied = right.adjust(operation).await?;
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.insert(operation.key.clone());
        Ok(applied)
    }
    async fn claim(&self, right: &MemoryStore, claim: &Claim) -> Result<Claimed<MemoryTx>> {
        let taken = {
            let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys.contains(claim.key())
        };
        if taken {
            return Ok(Claimed::Mismatch);
        }
        right.claim(claim).await
    }
}

#[test]
fn effects_and_operations_share_their_keys() {
    assert_killed::<OneSpaceOfKeys>("together::b72_two_spaces_of_keys");
}

/// Changes in a transaction are made at once, on a connection of their own.
#[derive(Clone, Default)]
struct OnItsOwnConnection;

impl Patch for OnItsOwnConnection {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        _tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        right.adjust(operation).await
    }
}

#[test]
fn changes_are_made_on_another_connection() {
    assert_killed::<OnItsOwnConnection>("balance_tx::bt02_rolled_back_together");
    assert_killed::<OnItsOwnConnection>("together::b71_rejected_together");
}

/// A rejection undoes the user's writes, and keeps the changes of balances.
#[derive(Clone, Default)]
struct RejectionKeepsChanges(Arc<Mutex<Vec<Adjust>>>);

impl Patch for RejectionKeepsChanges {
    async fn adjust_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        operation: &Adjust,
    ) -> Result<Applied> {
        let applied = right.adjust_in(tx, operation).await?;
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        made.push(operation.clone());
        Ok(applied)
    }
    async fn reject(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        claim: &Claim,
        rejection: &exactly_once::Rejection,
    ) -> Result<exactly_once::Settled> {
        let settled = right.reject(tx, claim, rejection).await?;
        let made = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for operation in made {
            right.adjust(&operation).await?;
        }
        Ok(settled)
    }
}

#[test]
fn a_rejection_keeps_the_changes() {
    assert_killed::<RejectionKeepsChanges>("together::b71_rejected_together");
}

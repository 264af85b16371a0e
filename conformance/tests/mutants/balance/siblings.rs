//! Mutants that are right in one operation and wrong in its sibling, or right up to a size.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once::{
    AccountId, Adjust, Applied, BalanceStore, CloseAccount, HistoryPage, IdempotencyKey,
    MAX_HISTORY_PAGE, OpenAccount, Result, Transfer, Transferred, Version, memory::MemoryStore,
};
use tokio::time::sleep;

use crate::{harness::assert_killed, patch::Patch};

/// Long enough for another caller to come between two statements.
const BETWEEN: Duration = Duration::from_millis(2);

/// An adjustment compares the version through the balance: the amount at that version is the amount now.
#[derive(Clone, Default)]
struct VersionThroughTheBalance;

impl Patch for VersionThroughTheBalance {
    async fn adjust(&self, right: &MemoryStore, operation: &Adjust) -> Result<Applied> {
        let Some(expected) = operation.expected else {
            return right.adjust(operation).await;
        };
        let before = (expected.get() > 1)
            .then(|| Version::new(expected.get() - 1))
            .and_then(Result::ok);
        let page = right.history(&operation.account, before, 1).await?;
        let now = right.balance(&operation.account).await?;
        let same = match (page.changes.first(), now) {
            (Some(then), Some(now)) => then.after == now.amount && now.open,
            _ => false,
        };
        if !same {
            return right.adjust(operation).await;
        }
        sleep(BETWEEN).await;
        let mut any = operation.clone();
        any.expected = None;
        right.adjust(&any).await
    }
}

#[test]
fn an_adjustment_compares_the_version_through_the_balance() {
    assert_killed::<VersionThroughTheBalance>("balance::version::b25_aba");
    assert_killed::<VersionThroughTheBalance>(
        "balance::version::b29_racing_adjustments_on_one_version",
    );
}

/// Openings and closings look their key up in a statement of its own, and take a rival's for another
/// operation.
#[derive(Clone, Default)]
struct KeyLookedUpApart(Arc<Mutex<HashSet<IdempotencyKey>>>);

impl KeyLookedUpApart {
    /// Whether another caller is between its two statements with this key.
    fn enter(&self, key: &IdempotencyKey) -> bool {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inside.insert(key.clone())
    }

    fn other(key: &IdempotencyKey) -> IdempotencyKey {
        IdempotencyKey::new(format!("{}/rival", key.as_str())).unwrap()
    }
}

impl Patch for KeyLookedUpApart {
    async fn open_account(&self, right: &MemoryStore, operation: &OpenAccount) -> Result<Applied> {
        let mut operation = operation.clone();
        if !self.enter(&operation.key) {
            sleep(BETWEEN).await;
            operation.key = Self::other(&operation.key);
        }
        right.open_account(&operation).await
    }
    async fn close_account(
        &self,
        right: &MemoryStore,
        operation: &CloseAccount,
    ) -> Result<Applied> {
        let mut operation = operation.clone();
        if !self.enter(&operation.key) {
            sleep(BETWEEN).await;
            operation.key = Self::other(&operation.key);
        }
        right.close_account(&operation).await
    }
}

#[test]
fn the_key_of_an_opening_is_looked_up_apart() {
    assert_killed::<KeyLookedUpApart>("balance::concurrency::b47_racers_that_open_set_and_close");
}

/// The number of legs is kept in a byte.
#[derive(Clone, Default)]
struct LegsInAByte;

impl Patch for LegsInAByte {
    async fn transfer(&self, right: &MemoryStore, operation: &Transfer) -> Result<Transferred> {
        let mut done = right.transfer(operation).await?;
        let kept = done.changes.len() % 256;
        done.changes.truncate(kept);
        Ok(done)
    }
}

#[test]
fn the_number_of_legs_is_kept_in_a_byte() {
    assert_killed::<LegsInAByte>("balance::legs::b68_the_most_legs");
}

/// A full page of the largest size is taken for the last one.
#[derive(Clone, Default)]
struct NothingBehindTheLargestPage;

impl Patch for NothingBehindTheLargestPage {
    async fn history(
        &self,
        right: &MemoryStore,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let mut page = right.history(account, after, limit).await?;
        if page.changes.len() == MAX_HISTORY_PAGE as usize {
            page.next = None;
        }
        Ok(page)
    }
}

#[test]
fn nothing_comes_behind_the_largest_page() {
    assert_killed::<NothingBehindTheLargestPage>("balance::history::b69_more_than_a_page");
}

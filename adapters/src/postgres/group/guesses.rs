//! What accounts held when we last knew. Never the truth: whatever is written by it is guarded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exactly_once_core::AccountState;

use super::balances::Moved;

/// How many accounts are remembered; some 10 MB.
const ACCOUNTS_MAX: usize = 65_536;

/// A name of an account, as it stands in an array.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct AccountName {
    pub(super) namespace: Arc<str>,
    pub(super) account: Arc<str>,
}

/// What is guessed.
#[derive(Default)]
pub(super) struct Guesses(Mutex<HashMap<AccountName, AccountState>>);

impl Guesses {
    fn lock(&self) -> MutexGuard<'_, HashMap<AccountName, AccountState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A guess of each, or `None` if one is missing.
    pub(super) fn of<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountName>,
    ) -> Option<HashMap<AccountName, AccountState>> {
        let known = self.lock();
        accounts
            .map(|account| Some((account.clone(), *known.get(account)?)))
            .collect()
    }

    pub(super) fn learn(&self, moved: &[Moved]) {
        let mut known = self.lock();
        if known.len() + moved.len() > ACCOUNTS_MAX {
            // All will be read anew.
            known.clear();
        }
        for one in moved {
            known.insert(one.account.clone(), one.after);
        }
    }

    pub(super) fn forget(&self, moved: &[Moved]) {
        let mut known = self.lock();
        for one in moved {
            known.remove(&one.account);
        }
    }
}

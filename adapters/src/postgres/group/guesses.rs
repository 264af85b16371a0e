//! What accounts held when we last knew. Never the truth: whatever is written by it is guarded.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exactly_once_core::AccountState;

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

    /// The guesses, and the accounts of which there is none.
    pub(super) fn of<'a>(
        &self,
        accounts: impl Iterator<Item = &'a AccountName>,
    ) -> (HashMap<AccountName, AccountState>, HashSet<&'a AccountName>) {
        let known = self.lock();
        let (mut guessed, mut unknown) = (HashMap::new(), HashSet::new());
        for account in accounts {
            match known.get(account) {
                Some(state) => {
                    guessed.insert(account.clone(), *state);
                }
                None => {
                    unknown.insert(account);
                }
            }
        }
        (guessed, unknown)
    }

    /// Of two that come out of order, the later state stays.
    pub(super) fn learn(&self, states: impl ExactSizeIterator<Item = (AccountName, AccountState)>) {
        let mut known = self.lock();
        if known.len() + states.len() > ACCOUNTS_MAX {
            // All are read again.
            known.clear();
        }
        for (account, state) in states {
            let guess = known.entry(account).or_insert(state);
            if guess.version < state.version {
                *guess = state;
            }
        }
    }

    pub(super) fn forget<'a>(&self, accounts: impl Iterator<Item = &'a AccountName>) {
        let mut known = self.lock();
        for account in accounts {
            known.remove(account);
        }
    }
}

//! Versioned balances. What an operation does is decided by the core's rules.

use exactly_once_core::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, Change,
    CloseAccount, CompareAndSet, Error, Fingerprint, HistoryPage, IdempotencyKey, OpenAccount,
    Result, Transfer, Transferred, Version,
    adapter::{Refused, check_page, refusals, rules::balances},
};

use super::{
    MemoryStore,
    error::{BACKEND, busy},
    state::{Account, Operation, Space, State},
    transaction::{AccountWrite, MemoryTx, check_account, check_operation},
};

fn mismatch(operation: &'static str) -> Error {
    refusals::mismatch(operation, BACKEND)
}

/// A refusal is final: the key keeps it.
fn record_refusal(
    space: &mut Space,
    key: &IdempotencyKey,
    fingerprint: Fingerprint,
    refusal: Error,
) -> Error {
    if let Some(refused) = Refused::of(&refusal) {
        let ended = Err(refused);
        let refused = Operation { fingerprint, ended };
        space.operations.insert(key.clone(), refused);
    }
    refusal
}

impl MemoryStore {
    /// Applies an operation with one step for each of its accounts: all of them, or none.
    fn apply<'a>(
        &self,
        operation: &'static str,
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
        accounts: impl Iterator<Item = &'a AccountId>,
        step: impl Fn(usize, Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Transferred> {
        let mut state = self.state(operation)?;
        // The replay comes first: before reservations, existence, version and funds.
        if let Some(done) = state.space(&self.namespace).operations.get(key) {
            if done.fingerprint != fingerprint {
                return Err(mismatch(operation));
            }
            return match &done.ended {
                Ok(changes) => Ok(Transferred {
                    changes: changes.clone(),
                    replayed: true,
                }),
                Err(refused) => refused.replay(operation, BACKEND),
            };
        }
        check_operation(&state, &self.namespace, key, operation)?;
        let mut steps = Vec::new();
        for (index, account) in accounts.enumerate() {
            check_account(&state, &self.namespace, account, operation)?;
            let current = state.space(&self.namespace).accounts.get(account);
            match step(index, current.map(|account| &account.state)) {
                Ok(step) => steps.push(step),
                Err(refusal) => {
                    return Err(record_refusal(
                        state.space(&self.namespace),
                        key,
                        fingerprint,
                        refusal,
                    ));
                }
            }
        }
        let changes: Vec<Change> = steps.iter().map(|(change, _)| change.clone()).collect();
        let space = state.space(&self.namespace);
        for (change, after) in steps {
            let account = space
                .accounts
                .entry(change.account.clone())
                .or_insert_with(|| Account {
                    state: after,
                    history: Vec::new(),
                });
            account.state = after;
            account.history.push(change);
        }
        let done = Operation {
            fingerprint,
            ended: Ok(changes.clone()),
        };
        space.operations.insert(key.clone(), done);
        Ok(Transferred {
            changes,
            replayed: false,
        })
    }

    /// An operation on one account.
    fn apply_one(
        &self,
        operation: &'static str,
        key: &IdempotencyKey,
        fingerprint: Fingerprint,
        account: &AccountId,
        step: impl Fn(Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Applied> {
        let accounts = std::iter::once(account);
        let done = self.apply(operation, key, fingerprint, accounts, |_, state| {
            step(state)
        })?;
        let replayed = done.replayed;
        match done.changes.into_iter().next() {
            Some(change) => Ok(Applied { change, replayed }),
            // Only a transfer has any other number of changes, and its fingerprint differs.
            None => Err(mismatch(operation)),
        }
    }
}

impl BalanceStore for MemoryStore {
    async fn open_account(&self, operation: &OpenAccount) -> Result<Applied> {
        let OpenAccount { key, account, .. } = operation;
        self.apply_one(
            "open_account",
            key,
            operation.fingerprint()?,
            account,
            |state| balances::open(operation, state, BACKEND),
        )
    }

    async fn close_account(&self, operation: &CloseAccount) -> Result<Applied> {
        let CloseAccount { key, account } = operation;
        self.apply_one(
            "close_account",
            key,
            operation.fingerprint()?,
            account,
            |state| balances::close(operation, state, BACKEND),
        )
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<AccountState>> {
        let mut state = self.state("balance")?;
        let account = state.space(&self.namespace).accounts.get(account);
        Ok(account.map(|account| account.state))
    }

    async fn adjust(&self, operation: &Adjust) -> Result<Applied> {
        let Adjust { key, account, .. } = operation;
        self.apply_one("adjust", key, operation.fingerprint()?, account, |state| {
            balances::adjust(operation, state, BACKEND)
        })
    }

    async fn compare_and_set(&self, operation: &CompareAndSet) -> Result<Applied> {
        let CompareAndSet { key, account, .. } = operation;
        self.apply_one(
            "compare_and_set",
            key,
            operation.fingerprint()?,
            account,
            |state| balances::compare_and_set(operation, state, BACKEND),
        )
    }

    async fn transfer(&self, operation: &Transfer) -> Result<Transferred> {
        let legs = operation.legs();
        let accounts = legs.iter().map(|leg| &leg.account);
        let fingerprint = operation.fingerprint()?;
        self.apply(
            "transfer",
            operation.key(),
            fingerprint,
            accounts,
            |index, state| balances::leg(operation, &legs[index], state, BACKEND),
        )
    }

    async fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let limit = usize::try_from(check_page(limit, BACKEND)?).unwrap_or(usize::MAX);
        let mut state = self.state("history")?;
        let Some(account) = state.space(&self.namespace).accounts.get(account) else {
            return Err(balances::unknown_account("history", BACKEND));
        };
        let mut rest = account
            .history
            .iter()
            .filter(|change| after.is_none_or(|after| change.version > after));
        let changes: Vec<Change> = rest.by_ref().take(limit).cloned().collect();
        let more = rest.next().is_some();
        let next = changes.last().filter(|_| more).map(|change| change.version);
        Ok(HistoryPage { changes, next })
    }
}

impl BalanceTransaction for MemoryStore {
    async fn adjust_in(&self, tx: &mut MemoryTx, operation: &Adjust) -> Result<Applied> {
        tx.check_home(self, OPERATION)?;
        let fingerprint = operation.fingerprint()?;
        let mut state = self.state(OPERATION)?;
        if let Some((first, ended)) = ended_before(tx, &mut state, operation) {
            if first != fingerprint {
                return Err(mismatch(OPERATION));
            }
            return match ended {
                Ok(change) => Ok(Applied {
                    change,
                    replayed: true,
                }),
                Err(refused) => refused.replay(OPERATION, BACKEND),
            };
        }
        check_operation(&state, &self.namespace, &operation.key, OPERATION)?;
        check_account(&state, &self.namespace, &operation.account, OPERATION)?;
        let account = state
            .space(&self.namespace)
            .accounts
            .get(&operation.account);
        let committed = account.map(|account| account.state);
        let base = committed.map(|state| state.version);
        let own = tx.writes.accounts.get(&operation.account);
        if own.is_some_and(|own| own.base != base) {
            return Err(busy(OPERATION));
        }
        let current = own.map(|own| own.state).or(committed);
        let (change, after) = balances::adjust(operation, current.as_ref(), BACKEND)?;
        let write = tx
            .writes
            .accounts
            .entry(operation.account.clone())
            .or_insert_with(|| AccountWrite {
                base,
                state: after,
                changes: Vec::new(),
            });
        write.state = after;
        write.changes.push(change.clone());
        let own = (fingerprint, change.clone());
        tx.writes.operations.insert(operation.key.clone(), own);
        Ok(Applied {
            change,
            replayed: false,
        })
    }
}

const OPERATION: &str = "adjust_in";

/// What the operation's key was used for, before or in this very transaction.
fn ended_before(
    tx: &MemoryTx,
    state: &mut State,
    operation: &Adjust,
) -> Option<(Fingerprint, std::result::Result<Change, Refused>)> {
    if let Some((fingerprint, change)) = tx.writes.operations.get(&operation.key) {
        return Some((*fingerprint, Ok(change.clone())));
    }
    let done = state.space(&tx.namespace).operations.get(&operation.key)?;
    let ended = match &done.ended {
        Ok(changes) => Ok(changes.first()?.clone()),
        Err(refused) => Err(refused.clone()),
    };
    Some((done.fingerprint, ended))
}

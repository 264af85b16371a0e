//! Versioned balances: decided by the rules of the core on rows read inside of the write
//! transaction, and recorded in the history by the same commit.

use exactly_once_core::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, CloseAccount,
    CompareAndSet, Fingerprint, HistoryPage, IdempotencyKey, OpenAccount, Result, Transfer,
    Transferred, Version,
    adapter::{check_page, rules::balances},
};
use rusqlite::params;

use super::{
    SqliteStore,
    error::STORE,
    history::{self, ACCOUNT, read_account},
    ledger::{Ended, Ledger},
    queue::Undo,
    transaction::SqliteTx,
};

impl SqliteStore {
    /// Runs a balance operation in a group commit; a refusal is committed as well. It decides before
    /// it writes, so it needs no savepoint of its own where it writes only once.
    async fn ledger<T, F>(
        &self,
        operation: &'static str,
        undo: Undo,
        key: IdempotencyKey,
        fingerprint: Fingerprint,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Ledger<'_>) -> Result<Ended<T>> + Send + 'static,
    {
        let (namespace, replays) = (self.namespace.clone(), self.replayed_changes.clone());
        self.write(operation, undo, None, move |bench| {
            let ledger = Ledger {
                bench,
                namespace: &namespace,
                operation,
                key: &key,
                fingerprint,
                replays: &replays,
            };
            match work(&ledger)? {
                Ok(answer) => Ok(Ok(answer)),
                Err(refusal) => ledger.refuse(refusal),
            }
        })
        .await?
    }
}

macro_rules! one_account {
    ($($method:ident($type:ty) by $rule:ident;)*) => {$(
        async fn $method(&self, operation: &$type) -> Result<Applied> {
            let (key, fingerprint) = (operation.key.clone(), operation.fingerprint()?);
            let operation = operation.clone();
            self.ledger(stringify!($method), Undo::Nothing, key, fingerprint, move |ledger| {
                ledger.apply(&operation.account, |state| balances::$rule(&operation, state, STORE))
            })
            .await
        }
    )*};
}

impl BalanceStore for SqliteStore {
    one_account! {
        open_account(OpenAccount) by open;
        close_account(CloseAccount) by close;
        adjust(Adjust) by adjust;
        compare_and_set(CompareAndSet) by compare_and_set;
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<AccountState>> {
        let (namespace, account) = (self.namespace.clone(), account.clone());
        self.readers
            .read("balance", move |connection| {
                let names = params![namespace.as_str(), account.as_str()];
                let account = read_account(connection, "balance", ACCOUNT, names)?;
                Ok(account.map(|account| account.state))
            })
            .await
    }

    async fn transfer(&self, operation: &Transfer) -> Result<Transferred> {
        let (key, fingerprint) = (operation.key().clone(), operation.fingerprint()?);
        let operation = operation.clone();
        self.ledger(
            "transfer",
            Undo::Savepoint,
            key,
            fingerprint,
            move |ledger| ledger.transfer(&operation),
        )
        .await
    }

    async fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let limit = check_page(limit, STORE)?;
        let (namespace, account) = (self.namespace.clone(), account.clone());
        self.readers
            .read("history", move |connection| {
                history::page(connection, &namespace, &account, after, limit)
            })
            .await
    }
}

impl BalanceTransaction for SqliteStore {
    async fn adjust_in(&self, tx: &mut SqliteTx, operation: &Adjust) -> Result<Applied> {
        self.check_home(tx, "adjust_in")?;
        let fingerprint = operation.fingerprint()?;
        let (namespace, operation) = (self.namespace.clone(), operation.clone());
        let replays = self.replayed_changes.clone();
        tx.step("adjust_in", move |bench| {
            let ledger = Ledger {
                bench,
                namespace: &namespace,
                operation: "adjust_in",
                key: &operation.key,
                fingerprint,
                replays: &replays,
            };
            // Account and record stand or fall together, also where a reservation stops one of
            // them: a refusal leaves the transaction as it was.
            bench.savepoint("adjust_in", || {
                ledger.apply(&operation.account, |state| {
                    balances::adjust(&operation, state, STORE)
                })?
            })
        })
        .await
    }
}

//! Versioned balances. What an operation does to an account is decided by the core's rules.

use exactly_once_core::{
    AccountId, AccountState, Adjust, Amount, Applied, BalanceStore, BalanceTransaction, Change,
    ChangeKind, CloseAccount, CompareAndSet, ErrorKind, Fingerprint, Floor, HistoryPage,
    IdempotencyKey, OpenAccount, Result, Transfer, Transferred, Version,
    adapter::{Refused, check_page, refusals, rules::balances},
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During, error},
    schema::{ACCOUNTS, AccountValue, HISTORY, OPERATIONS, REFUSED},
    store::{RedbStore, Then},
    transaction::RedbTx,
};

/// An operation, whichever it is, on one account or on many.
struct Operation<'a> {
    name: &'static str,
    namespace: &'a str,
    key: &'a IdempotencyKey,
    fingerprint: Fingerprint,
}

impl Operation<'_> {
    /// Applies it, or answers as the first time. The replay comes before everything else. The inner
    /// error is a refusal by the rules.
    fn apply<'l>(
        &self,
        tx: &WriteTransaction,
        accounts: impl Iterator<Item = &'l AccountId>,
        step: impl Fn(usize, Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Then<Result<Transferred>>> {
        if let Some(ended) = self.ended_before(tx)? {
            return Ok(Then::Leave(ended));
        }
        // All steps are decided before the first is written: a refusal changes no account.
        let mut steps = Vec::new();
        {
            let table = tx.open_table(ACCOUNTS).during(self.name)?;
            for (index, account) in accounts.enumerate() {
                let state = read_account(&table, self.namespace, account, self.name)?;
                match step(index, state.as_ref()) {
                    Ok(step) => steps.push(step),
                    Err(refusal) => return Ok(Then::Commit(Err(refusal))),
                }
            }
        }
        for (change, state) in &steps {
            self.write_step(tx, change, *state)?;
        }
        let changes: Vec<Change> = steps.into_iter().map(|(change, _)| change).collect();
        let made = changes
            .iter()
            .map(|change| (change.account.as_str(), change.version.get()))
            .collect::<Vec<_>>();
        tx.open_table(OPERATIONS)
            .during(self.name)?
            .insert(
                (self.namespace, self.key.as_str()),
                (self.fingerprint.as_bytes(), made),
            )
            .during(self.name)?;
        Ok(Then::Commit(Ok(Transferred {
            changes,
            replayed: false,
        })))
    }

    /// As [`Self::apply`], in a transaction of the store's own. A refusal is final: its key keeps it,
    /// so that it stays true for a late caller.
    fn apply_for_good<'l>(
        &self,
        tx: &WriteTransaction,
        accounts: impl Iterator<Item = &'l AccountId>,
        step: impl Fn(usize, Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Then<Result<Transferred>>> {
        let refusal = match self.apply(tx, accounts, step)? {
            Then::Commit(Err(refusal)) => refusal,
            done => return Ok(done),
        };
        let Some(refused) = Refused::of(&refusal) else {
            return Err(refusal);
        };
        tx.open_table(REFUSED)
            .during(self.name)?
            .insert(
                (self.namespace, self.key.as_str()),
                (self.fingerprint.as_bytes(), refused.as_str()),
            )
            .during(self.name)?;
        Ok(Then::Commit(Err(refusal)))
    }

    /// How the operation of this key ended, if it did.
    fn ended_before(&self, tx: &WriteTransaction) -> Result<Option<Result<Transferred>>> {
        if let Some(changes) = self.applied_before(tx)? {
            return Ok(Some(Ok(Transferred {
                changes,
                replayed: true,
            })));
        }
        let table = tx.open_table(REFUSED).during(self.name)?;
        let stored = table
            .get((self.namespace, self.key.as_str()))
            .during(self.name)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let (fingerprint, text) = stored.value();
        self.must_be_ours(fingerprint)?;
        let refused = Refused::parse(text).ok_or_else(|| damaged(self.name))?;
        Ok(Some(refused.replay(self.name, BACKEND)))
    }

    fn must_be_ours(&self, fingerprint: &[u8; 32]) -> Result<()> {
        if fingerprint == self.fingerprint.as_bytes() {
            return Ok(());
        }
        Err(refusals::mismatch(self.name, BACKEND))
    }

    /// The changes that this key made, if it did; they are kept in the history.
    fn applied_before(&self, tx: &WriteTransaction) -> Result<Option<Vec<Change>>> {
        let operations = tx.open_table(OPERATIONS).during(self.name)?;
        let stored = operations
            .get((self.namespace, self.key.as_str()))
            .during(self.name)?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let (fingerprint, made) = stored.value();
        self.must_be_ours(fingerprint)?;
        let history = tx.open_table(HISTORY).during(self.name)?;
        let mut changes = Vec::new();
        for (account, version) in made {
            let row = history
                .get((self.namespace, account, version))
                .during(self.name)?;
            let row = row.ok_or_else(|| damaged(self.name))?;
            changes.push(change(account, version, row.value(), self.name)?);
        }
        Ok(Some(changes))
    }

    fn write_step(
        &self,
        tx: &WriteTransaction,
        change: &Change,
        state: AccountState,
    ) -> Result<()> {
        let (account, version) = (change.account.as_str(), state.version.get());
        let floor = match state.floor {
            Floor::At(amount) => Some(amount.get()),
            Floor::None => None,
        };
        let row = (state.amount.get(), version, floor, state.open);
        tx.open_table(ACCOUNTS)
            .during(self.name)?
            .insert((self.namespace, account), row)
            .during(self.name)?;
        let (delta, before, after) = (change.delta, change.before, change.after);
        let row = (
            change.key.as_str(),
            change.kind.as_str(),
            delta.get(),
            before.get(),
            after.get(),
        );
        tx.open_table(HISTORY)
            .during(self.name)?
            .insert((self.namespace, account, version), row)
            .during(self.name)?;
        Ok(())
    }
}

fn damaged(operation: &'static str) -> exactly_once_core::Error {
    let message = "the file holds a row of a balance that this version can't read";
    error(ErrorKind::Configuration, operation, message)
}

fn read_account(
    table: &impl ReadableTable<(&'static str, &'static str), AccountValue>,
    namespace: &str,
    account: &AccountId,
    operation: &'static str,
) -> Result<Option<AccountState>> {
    let Some(row) = table.get((namespace, account.as_str())).during(operation)? else {
        return Ok(None);
    };
    let (amount, version, floor, open) = row.value();
    Ok(Some(AccountState {
        amount: Amount::new(amount),
        version: Version::new(version)?,
        floor: floor.map_or(Floor::None, |floor| Floor::At(Amount::new(floor))),
        open,
    }))
}

fn change(
    account: &str,
    version: i64,
    (key, kind, delta, before, after): (&str, &str, i64, i64, i64),
    operation: &'static str,
) -> Result<Change> {
    Ok(Change {
        key: IdempotencyKey::new(key)?,
        account: AccountId::new(account)?,
        kind: ChangeKind::parse(kind).ok_or_else(|| damaged(operation))?,
        delta: Amount::new(delta),
        before: Amount::new(before),
        after: Amount::new(after),
        version: Version::new(version)?,
    })
}

/// The answer to an operation on one account.
fn one(done: Transferred, operation: &'static str) -> Result<Applied> {
    let Transferred { changes, replayed } = done;
    let change = changes
        .into_iter()
        .next()
        .ok_or_else(|| damaged(operation))?;
    Ok(Applied { change, replayed })
}

/// The operations on one account differ in their rule only.
macro_rules! on_one_account {
    ($self:ident, $operation:ident, $name:literal, $rule:path) => {{
        let (namespace, operation) = ($self.namespace.clone(), $operation.clone());
        let fingerprint = operation.fingerprint()?;
        let done = $self.write($name, move |tx| {
            let asked = Operation {
                name: $name,
                namespace: namespace.as_str(),
                key: &operation.key,
                fingerprint,
            };
            asked.apply_for_good(tx, std::iter::once(&operation.account), |_, state| {
                $rule(&operation, state, BACKEND)
            })
        });
        one(done.await??, $name)
    }};
}

impl BalanceStore for RedbStore {
    async fn open_account(&self, operation: &OpenAccount) -> Result<Applied> {
        on_one_account!(self, operation, "open_account", balances::open)
    }

    async fn close_account(&self, operation: &CloseAccount) -> Result<Applied> {
        on_one_account!(self, operation, "close_account", balances::close)
    }

    async fn balance(&self, account: &AccountId) -> Result<Option<AccountState>> {
        let (namespace, account) = (self.namespace.clone(), account.clone());
        self.read("balance", move |tx| {
            let table = tx.open_table(ACCOUNTS).during("balance")?;
            read_account(&table, namespace.as_str(), &account, "balance")
        })
        .await
    }

    async fn adjust(&self, operation: &Adjust) -> Result<Applied> {
        on_one_account!(self, operation, "adjust", balances::adjust)
    }

    async fn compare_and_set(&self, operation: &CompareAndSet) -> Result<Applied> {
        on_one_account!(
            self,
            operation,
            "compare_and_set",
            balances::compare_and_set
        )
    }

    async fn transfer(&self, operation: &Transfer) -> Result<Transferred> {
        let (namespace, operation) = (self.namespace.clone(), operation.clone());
        let fingerprint = operation.fingerprint()?;
        self.write("transfer", move |tx| {
            let asked = Operation {
                name: "transfer",
                namespace: namespace.as_str(),
                key: operation.key(),
                fingerprint,
            };
            let legs = operation.legs();
            asked.apply_for_good(tx, legs.iter().map(|leg| &leg.account), |index, state| {
                balances::leg(&operation, &legs[index], state, BACKEND)
            })
        })
        .await?
    }

    async fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        let limit = check_page(limit, BACKEND)? as usize;
        let (namespace, account) = (self.namespace.clone(), account.clone());
        self.read("history", move |tx| {
            let (namespace, id) = (namespace.as_str(), account.as_str());
            let accounts = tx.open_table(ACCOUNTS).during("history")?;
            if read_account(&accounts, namespace, &account, "history")?.is_none() {
                return Err(balances::unknown_account("history", BACKEND));
            }
            let table = tx.open_table(HISTORY).during("history")?;
            let first = after.map_or(0, |after| after.get().saturating_add(1));
            let range = (namespace, id, first)..=(namespace, id, i64::MAX);
            let mut changes = Vec::new();
            // One more than asked for, to see whether this page is the last.
            for row in table.range(range).during("history")?.take(limit + 1) {
                let (key, row) = row.during("history")?;
                changes.push(change(id, key.value().2, row.value(), "history")?);
            }
            let more = changes.len() > limit;
            changes.truncate(limit);
            let next = changes.last().filter(|_| more).map(|change| change.version);
            Ok(HistoryPage { changes, next })
        })
        .await
    }
}

impl BalanceTransaction for RedbStore {
    async fn adjust_in(&self, tx: &mut RedbTx, operation: &Adjust) -> Result<Applied> {
        let fingerprint = operation.fingerprint()?;
        let asked = Operation {
            name: "adjust_in",
            namespace: self.namespace.as_str(),
            key: &operation.key,
            fingerprint,
        };
        let account = std::iter::once(&operation.account);
        let done = asked.apply(tx.transaction(), account, |_, state| {
            balances::adjust(operation, state, BACKEND)
        });
        match done? {
            Then::Commit(done) | Then::Leave(done) => one(done?, "adjust_in"),
        }
    }
}

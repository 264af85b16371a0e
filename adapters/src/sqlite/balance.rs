//! Versioned balances: decided by the rules of the core on rows read inside of the write
//! transaction, and recorded in the history by the same commit.

use exactly_once_core::{
    AccountId, AccountState, Adjust, Amount, Applied, BalanceStore, BalanceTransaction, Change,
    ChangeKind, CloseAccount, CompareAndSet, Error, ErrorKind, Fingerprint, Floor, HistoryPage,
    IdempotencyKey, Namespace, OpenAccount, Result, Transfer, Transferred, Version,
    balance::{check_page, rules},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    SqliteStore,
    error::{STORE, error, statement},
    queue::{Bench, Undo},
    transaction::{SqliteTx, explain},
};

/// A balance operation at work: where, under which key, and as what.
pub(super) struct Ledger<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) namespace: &'a Namespace,
    pub(super) operation: &'static str,
    pub(super) key: &'a IdempotencyKey,
    pub(super) fingerprint: Fingerprint,
}

const CHANGE: &str = "SELECT key, account, kind, delta, before, after, version, fingerprint FROM \
                      exactly_once_change";

/// What is committed: the answer, or a refusal that its key now keeps.
pub(super) type Ended<T> = std::result::Result<T, Error>;

impl Ledger<'_> {
    pub(super) fn failed(&self, source: rusqlite::Error) -> Error {
        explain(self.bench, self.operation, source)
    }

    pub(super) fn mismatch(&self) -> Error {
        error(
            ErrorKind::Mismatch,
            self.operation,
            "this key was used for another operation: use a new key for a new operation",
        )
    }

    /// The changes that this key made before, in the order of their legs; none if it is new. An
    /// error too if it was refused before.
    fn replay(&self) -> Result<Vec<Change>> {
        let sql = format!("{CHANGE} WHERE namespace = ?1 AND key = ?2 ORDER BY leg");
        let stored = self
            .bench
            .connection
            .prepare_cached(&sql)
            .and_then(|mut query| {
                query
                    .query_map(
                        params![self.namespace.as_str(), self.key.as_str()],
                        read_change,
                    )?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(|source| self.failed(source))?;
        let mut changes = Vec::with_capacity(stored.len());
        for (change, fingerprint) in stored {
            if fingerprint != self.fingerprint {
                return Err(self.mismatch());
            }
            changes.push(change.ok_or_else(|| unreadable(self.operation))?);
        }
        if changes.is_empty() {
            self.replay_refusal()?;
        }
        Ok(changes)
    }

    fn state(&self, account: &AccountId) -> Result<Option<AccountState>> {
        read_state(
            self.bench.connection,
            self.operation,
            self.namespace,
            account,
        )
    }

    fn record(&self, leg: i64, (change, state): rules::Step) -> Result<Change> {
        let floor = match state.floor {
            Floor::At(amount) => Some(amount.get()),
            Floor::None => None,
        };
        let connection = self.bench.connection;
        connection
            .prepare_cached(
                "INSERT INTO exactly_once_account (namespace, account, amount, version, floor, \
                 open) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET amount = ?3, \
                 version = ?4, floor = ?5, open = ?6",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![
                    self.namespace.as_str(),
                    change.account.as_str(),
                    state.amount.get(),
                    state.version.get(),
                    floor,
                    state.open
                ])
            })
            .map_err(|source| self.failed(source))?;
        connection
            .prepare_cached(
                "INSERT INTO exactly_once_change (namespace, account, version, key, leg, \
                 fingerprint, kind, delta, before, after) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
                 ?9, ?10)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    self.namespace.as_str(),
                    change.account.as_str(),
                    change.version.get(),
                    self.key.as_str(),
                    leg,
                    self.fingerprint.as_bytes(),
                    change.kind.as_str(),
                    change.delta.get(),
                    change.before.get(),
                    change.after.get()
                ])
            })
            .map_err(|source| self.failed(source))?;
        Ok(change)
    }

    /// One change: replayed, or decided by `rule` on the account as it is now. The inner error is
    /// the rule's.
    fn apply(
        &self,
        account: &AccountId,
        rule: impl FnOnce(Option<&AccountState>) -> Result<rules::Step>,
    ) -> Result<Ended<Applied>> {
        if let Some(change) = self.replay()?.into_iter().next() {
            return Ok(Ok(Applied {
                change,
                replayed: true,
            }));
        }
        let step = match rule(self.state(account)?.as_ref()) {
            Ok(step) => step,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(Ok(Applied {
            change: self.record(0, step)?,
            replayed: false,
        }))
    }

    /// All legs, or none: they are decided before anything is written.
    fn transfer(&self, operation: &Transfer) -> Result<Ended<Transferred>> {
        let changes = self.replay()?;
        if !changes.is_empty() {
            return Ok(Ok(Transferred {
                changes,
                replayed: true,
            }));
        }
        let mut steps = Vec::with_capacity(operation.legs().len());
        for leg in operation.legs() {
            let state = self.state(&leg.account)?;
            match rules::leg(operation, leg, state.as_ref(), STORE) {
                Ok(step) => steps.push(step),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
        let changes = (0..)
            .zip(steps)
            .map(|(position, step)| self.record(position, step))
            .collect::<Result<Vec<_>>>()?;
        Ok(Ok(Transferred {
            changes,
            replayed: false,
        }))
    }
}

pub(super) fn unreadable(operation: &'static str) -> Error {
    error(
        ErrorKind::Configuration,
        operation,
        "a stored balance is not as this library writes it: it was changed by hand",
    )
}

/// `None` inside for a row that this library can't have written.
fn read_change(row: &Row<'_>) -> rusqlite::Result<(Option<Change>, Fingerprint)> {
    let names = (
        IdempotencyKey::new(row.get::<_, String>(0)?),
        AccountId::new(row.get::<_, String>(1)?),
        ChangeKind::parse(&row.get::<_, String>(2)?),
        Version::new(row.get(6)?),
    );
    let fingerprint = Fingerprint::from_bytes(row.get(7)?);
    let (Ok(key), Ok(account), Some(kind), Ok(version)) = names else {
        return Ok((None, fingerprint));
    };
    let change = Change {
        key,
        account,
        kind,
        delta: Amount::new(row.get(3)?),
        before: Amount::new(row.get(4)?),
        after: Amount::new(row.get(5)?),
        version,
    };
    Ok((Some(change), fingerprint))
}

fn read_state(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    account: &AccountId,
) -> Result<Option<AccountState>> {
    let stored = connection
        .prepare_cached(
            "SELECT amount, version, floor, open FROM exactly_once_account WHERE namespace = ?1 \
             AND account = ?2",
        )
        .and_then(|mut query| {
            query
                .query_row(params![namespace.as_str(), account.as_str()], |row| {
                    let (amount, floor) = (row.get(0)?, row.get::<_, Option<i64>>(2)?);
                    let open = row.get(3)?;
                    Ok(Version::new(row.get(1)?).ok().map(|version| AccountState {
                        amount: Amount::new(amount),
                        version,
                        floor: floor.map_or(Floor::None, |at| Floor::At(Amount::new(at))),
                        open,
                    }))
                })
                .optional()
        })
        .map_err(statement(operation))?;
    stored.map_or(Ok(None), |state| {
        state.map(Some).ok_or_else(|| unreadable(operation))
    })
}

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
        let namespace = self.namespace.clone();
        self.write_again(operation, undo, None, move |bench| {
            let ledger = Ledger {
                bench,
                namespace: &namespace,
                operation,
                key: &key,
                fingerprint,
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
                ledger.apply(&operation.account, |state| rules::$rule(&operation, state, STORE))
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
                read_state(connection, "balance", &namespace, &account)
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
                read_page(connection, &namespace, &account, after, limit)
            })
            .await
    }
}

fn read_page(
    connection: &Connection,
    namespace: &Namespace,
    account: &AccountId,
    after: Option<Version>,
    limit: u32,
) -> Result<HistoryPage> {
    const OPERATION: &str = "history";
    if read_state(connection, OPERATION, namespace, account)?.is_none() {
        return Err(error(
            ErrorKind::UnknownAccount,
            OPERATION,
            "there is no such account: open it first",
        ));
    }
    let sql = format!(
        "{CHANGE} WHERE namespace = ?1 AND account = ?2 AND version > ?3 ORDER BY version LIMIT ?4"
    );
    let stored = connection
        .prepare_cached(&sql)
        .and_then(|mut query| {
            let after = after.map_or(0, Version::get);
            query
                .query_map(
                    params![
                        namespace.as_str(),
                        account.as_str(),
                        after,
                        i64::from(limit) + 1
                    ],
                    read_change,
                )?
                .collect::<rusqlite::Result<Vec<_>>>()
        })
        .map_err(statement(OPERATION))?;
    let more = stored.len() > limit as usize;
    let changes = stored
        .into_iter()
        .take(limit as usize)
        .map(|(change, _)| change.ok_or_else(|| unreadable(OPERATION)))
        .collect::<Result<Vec<_>>>()?;
    let next = changes.last().filter(|_| more).map(|change| change.version);
    Ok(HistoryPage { changes, next })
}

impl BalanceTransaction for SqliteStore {
    async fn adjust_in(&self, tx: &mut SqliteTx, operation: &Adjust) -> Result<Applied> {
        self.check_home(tx, "adjust_in")?;
        let fingerprint = operation.fingerprint()?;
        let (namespace, operation) = (self.namespace.clone(), operation.clone());
        tx.step("adjust_in", move |bench| {
            let ledger = Ledger {
                bench,
                namespace: &namespace,
                operation: "adjust_in",
                key: &operation.key,
                fingerprint,
            };
            // Account and record stand or fall together, also where a reservation stops one of
            // them: a refusal leaves the transaction as it was.
            bench.savepoint("adjust_in", || {
                ledger.apply(&operation.account, |state| {
                    rules::adjust(&operation, state, STORE)
                })?
            })
        })
        .await
    }
}

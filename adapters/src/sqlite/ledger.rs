//! One balance operation at work: replayed by its key, or decided by the rules of the core on what
//! is stored, and recorded.

use std::sync::atomic::{AtomicBool, Ordering};

use exactly_once_core::{
    AccountId, AccountState, Applied, Change, Error, Fingerprint, Floor, IdempotencyKey, Namespace,
    Result, Transfer, Transferred,
    adapter::{refusals, rules::balances},
};
use rusqlite::params;

use super::{
    error::STORE,
    history::{ACCOUNT, Account, CHANGE, Link, read_account, read_change, unreadable},
    queue::Bench,
    staging::reservation::holder_of_account,
    transaction::explain,
};

/// A balance operation at work: where, under which key, and as what.
pub(super) struct Ledger<'a> {
    pub(super) bench: &'a Bench<'a>,
    pub(super) namespace: &'a Namespace,
    pub(super) operation: &'static str,
    pub(super) key: &'a IdempotencyKey,
    pub(super) fingerprint: Fingerprint,
    /// Whether the last key was a replay, as the next one is likely to be then.
    pub(super) replays: &'a AtomicBool,
}

const INSERT: &str = "INSERT INTO exactly_once_change (namespace, account, version, key, leg, \
                      fingerprint, kind, delta, before, after, previous_key, previous_leg) VALUES \
                      (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// Changes nothing where the key is known.
const INSERT_NEW: &str = "INSERT INTO exactly_once_change (namespace, account, version, key, leg, \
                          fingerprint, kind, delta, before, after, previous_key, previous_leg) \
                          VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT \
                          (namespace, key, leg) DO NOTHING";

/// The account, where the key was not refused before.
const ACCOUNT_OF_NEW: &str = "SELECT amount, version, floor, open, last_key, last_leg FROM \
                              exactly_once_account WHERE namespace = ?1 AND account = ?2 AND NOT \
                              EXISTS (SELECT 1 FROM exactly_once_refused WHERE namespace = ?1 AND \
                              key = ?3)";

/// What is committed: the answer, or a refusal that its key now keeps.
pub(super) type Ended<T> = std::result::Result<T, Error>;

impl Ledger<'_> {
    pub(super) fn failed(&self, source: rusqlite::Error) -> Error {
        explain(self.bench, self.operation, source)
    }

    pub(super) fn mismatch(&self) -> Error {
        refusals::mismatch(self.operation, STORE)
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
        for entry in stored {
            if entry.fingerprint != self.fingerprint {
                return Err(self.mismatch());
            }
            changes.push(entry.change.ok_or_else(|| unreadable(self.operation))?);
        }
        if changes.is_empty() {
            self.replay_refusal()?;
        }
        Ok(changes)
    }

    /// Fails where a prepared transaction holds the account: its decision may make a refusal wrong.
    /// A change that is applied meets the reservation by itself.
    fn ensure_decided(&self, account: &AccountId) -> Result<()> {
        let connection = self.bench.connection;
        match holder_of_account(connection, self.operation, self.namespace, account)? {
            None => Ok(()),
            Some(holder) => Err(balances::reserved(&holder, self.operation, STORE)),
        }
    }

    fn account(&self, account: &AccountId) -> Result<Option<Account>> {
        let names = params![self.namespace.as_str(), account.as_str()];
        read_account(self.bench.connection, self.operation, ACCOUNT, names)
    }

    fn record(
        &self,
        leg: i64,
        (change, state): balances::Step,
        previous: Option<&Link>,
    ) -> Result<Change> {
        let floor = match state.floor {
            Floor::At(amount) => Some(amount.get()),
            Floor::None => None,
        };
        let connection = self.bench.connection;
        connection
            .prepare_cached(
                "INSERT INTO exactly_once_account (namespace, account, amount, version, floor, \
                 open, last_key, last_leg) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO \
                 UPDATE SET amount = ?3, version = ?4, floor = ?5, open = ?6, last_key = ?7, \
                 last_leg = ?8",
            )
            .and_then(|mut upsert| {
                upsert.execute(params![
                    self.namespace.as_str(),
                    change.account.as_str(),
                    state.amount.get(),
                    state.version.get(),
                    floor,
                    state.open,
                    self.key.as_str(),
                    leg
                ])
            })
            .map_err(|source| self.failed(source))?;
        self.write_change(INSERT, leg, &change, previous)
            .map_err(|source| self.failed(source))?;
        Ok(change)
    }

    fn write_change(
        &self,
        sql: &str,
        leg: i64,
        change: &Change,
        previous: Option<&Link>,
    ) -> rusqlite::Result<usize> {
        self.bench.connection.prepare_cached(sql)?.execute(params![
            self.namespace.as_str(),
            change.account.as_str(),
            change.version.get(),
            self.key.as_str(),
            leg,
            self.fingerprint.as_bytes(),
            change.kind.as_str(),
            change.delta.get(),
            change.before.get(),
            change.after.get(),
            previous.map(|link| &link.key),
            previous.map(|link| link.leg)
        ])
    }

    /// One change: replayed, or decided by `rule` on the account as it is now. The inner error is
    /// the rule's.
    pub(super) fn apply(
        &self,
        account: &AccountId,
        rule: impl Fn(Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Ended<Applied>> {
        if !self.replays.load(Ordering::Relaxed)
            && let Some(change) = self.apply_new(account, &rule)?
        {
            return Ok(Ok(Applied {
                change,
                replayed: false,
            }));
        }
        let replayed = self.replay()?.into_iter().next();
        self.replays.store(replayed.is_some(), Ordering::Relaxed);
        if let Some(change) = replayed {
            return Ok(Ok(Applied {
                change,
                replayed: true,
            }));
        }
        let known = self.account(account)?;
        let step = match rule(known.as_ref().map(|known| &known.state)) {
            Ok(step) => step,
            Err(refusal) => {
                self.ensure_decided(account)?;
                return Ok(Err(refusal));
            }
        };
        Ok(Ok(Applied {
            change: self.record(0, step, known.as_ref().map(|known| &known.last))?,
            replayed: false,
        }))
    }

    /// The usual case, in three statements: an account that is there, a rule that has nothing
    /// against it, and a key that is new, which is seen as its change is written. `None` if anything
    /// is otherwise, with nothing written.
    fn apply_new(
        &self,
        account: &AccountId,
        rule: impl Fn(Option<&AccountState>) -> Result<balances::Step>,
    ) -> Result<Option<Change>> {
        let names = params![self.namespace.as_str(), account.as_str(), self.key.as_str()];
        let connection = self.bench.connection;
        let known = read_account(connection, self.operation, ACCOUNT_OF_NEW, names)?;
        let Some(Account {
            state: before,
            last,
        }) = known
        else {
            return Ok(None);
        };
        let (change, after) = match rule(Some(&before)) {
            Ok(step) => step,
            // It may be the replay of a change that was allowed.
            Err(_) => return Ok(None),
        };
        if (after.floor, after.open) != (before.floor, before.open) {
            return Ok(None);
        }
        match self.write_change(INSERT_NEW, 0, &change, Some(&last)) {
            Ok(1) => {}
            // Where a reservation or a full disk stopped it, the long way says so.
            Err(source) if self.bench.connection.is_autocommit() => {
                return Err(self.failed(source));
            }
            Ok(_) | Err(_) => return Ok(None),
        }
        let moved = connection
            .prepare_cached(
                "UPDATE exactly_once_account SET amount = ?3, version = ?4, last_key = ?5, last_leg \
                 = 0 WHERE namespace = ?1 AND account = ?2",
            )
            .and_then(|mut update| {
                update.execute(params![
                    self.namespace.as_str(),
                    account.as_str(),
                    after.amount.get(),
                    after.version.get(),
                    self.key.as_str()
                ])
            })
            .map_err(|source| self.failed(source))?;
        if moved == 1 {
            Ok(Some(change))
        } else {
            Err(unreadable(self.operation))
        }
    }

    /// All legs, or none: they are decided before anything is written.
    pub(super) fn transfer(&self, operation: &Transfer) -> Result<Ended<Transferred>> {
        let changes = self.replay()?;
        if !changes.is_empty() {
            return Ok(Ok(Transferred {
                changes,
                replayed: true,
            }));
        }
        let mut steps = Vec::with_capacity(operation.legs().len());
        for leg in operation.legs() {
            let known = self.account(&leg.account)?;
            match balances::leg(
                operation,
                leg,
                known.as_ref().map(|known| &known.state),
                STORE,
            ) {
                Ok(step) => steps.push((step, known.map(|known| known.last))),
                Err(refusal) => {
                    for leg in operation.legs() {
                        self.ensure_decided(&leg.account)?;
                    }
                    return Ok(Err(refusal));
                }
            }
        }
        let changes = (0..)
            .zip(steps)
            .map(|(leg, (step, last))| self.record(leg, step, last.as_ref()))
            .collect::<Result<Vec<_>>>()?;
        Ok(Ok(Transferred {
            changes,
            replayed: false,
        }))
    }
}

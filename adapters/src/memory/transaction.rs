//! A transaction: writes that are collected, checked against what it read, and applied in one go.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use exactly_once_core::{
    AccountId, AccountState, BoxError, Change, Claim, Error, ErrorKind, Fingerprint,
    IdempotencyKey, Namespace, Participation, Result, TransactionDigest, Transactional, Version,
    adapter::{refusals, rules::balances},
};

use super::{
    MemoryStore, Shared, check_open,
    error::{BACKEND, busy, classify, error, reserved},
    state::{Account, Operation, Row, Stage, State},
};

/// An open transaction. The user's own data are rows of bytes under a name, shared by all
/// namespaces, as a table of the user's would be.
///
/// Nothing waits: a transaction that loses a race gets [busy](ErrorKind::Busy) at its commit.
/// Dropping it rolls back.
///
/// ```
/// use exactly_once::{Transactional, memory::MemoryStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> exactly_once::Result<()> {
/// let store = MemoryStore::new();
/// let mut tx = store.begin().await?;
/// tx.put("greeting", "hello");
/// tx.append("greeting", ", world");
/// assert_eq!(tx.add("greeted", 1)?, 1);
/// assert_eq!(tx.get("greeting").as_deref(), Some(&b"hello, world"[..]));
/// assert_eq!(store.get("greeting"), None); // not committed yet
/// store.commit(tx).await?;
/// assert_eq!(store.get("greeted").as_deref(), Some(&b"1"[..]));
/// # Ok(())
/// # }
/// ```
#[must_use = "a transaction that is dropped is rolled back"]
pub struct MemoryTx {
    shared: Arc<Shared>,
    closed: Arc<AtomicBool>,
    pub(super) namespace: Namespace,
    pub(super) purpose: Purpose,
    pub(super) writes: Writes,
    /// Whether a statement failed: then nothing of the transaction may be committed.
    failed: bool,
}

/// What a transaction holds, and which call may end it.
#[derive(Debug)]
pub(super) enum Purpose {
    Plain,
    Claimed(Claim),
    Participant(Participation),
}

/// What a transaction read and would change.
#[derive(Debug, Default)]
pub(super) struct Writes {
    rows: BTreeMap<String, Write>,
    /// The version of each row when it was first read.
    read: BTreeMap<String, u64>,
    pub(super) accounts: BTreeMap<AccountId, AccountWrite>,
    pub(super) operations: BTreeMap<IdempotencyKey, (Fingerprint, Change)>,
}

#[derive(Debug)]
enum Write {
    Set(Option<Bytes>),
    /// Blind: two transactions may append to one row.
    Append(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct AccountWrite {
    /// The committed version that the changes build on.
    pub(super) base: Option<Version>,
    pub(super) state: AccountState,
    pub(super) changes: Vec<Change>,
}

impl MemoryTx {
    /// The caller has checked, under the same lock, that the purpose's key or marker is free.
    pub(super) fn open(store: &MemoryStore, state: &mut State, purpose: Purpose) -> Self {
        state.open += 1;
        Self {
            shared: store.shared.clone(),
            closed: store.closed.clone(),
            namespace: store.namespace.clone(),
            purpose,
            writes: Writes::default(),
            failed: false,
        }
    }

    /// The row as this transaction sees it.
    pub fn get(&mut self, row: &str) -> Option<Bytes> {
        match self.writes.rows.get(row) {
            Some(Write::Set(value)) => value.clone(),
            Some(Write::Append(more)) => {
                let more = more.clone();
                let mut value = self.read(row).map_or_else(Vec::new, |value| value.to_vec());
                value.extend(more);
                Some(value.into())
            }
            None => self.read(row),
        }
    }

    /// What is committed; the commit will check that it still is.
    fn read(&mut self, row: &str) -> Option<Bytes> {
        let state = self.shared.lock();
        let committed = state.rows.get(row).cloned().unwrap_or_default();
        self.writes
            .read
            .entry(row.to_owned())
            .or_insert(committed.version);
        committed.value
    }

    /// Sets a row.
    pub fn put(&mut self, row: impl Into<String>, value: impl Into<Bytes>) {
        self.writes
            .rows
            .insert(row.into(), Write::Set(Some(value.into())));
    }

    /// Adds bytes to the end of a row, which is made where there is none.
    pub fn append(&mut self, row: impl Into<String>, value: impl AsRef<[u8]>) {
        let more = value.as_ref();
        let write = self
            .writes
            .rows
            .entry(row.into())
            .or_insert(Write::Append(Vec::new()));
        match write {
            Write::Append(bytes) => bytes.extend_from_slice(more),
            Write::Set(value) => {
                let mut bytes = value.take().map_or_else(Vec::new, |value| value.to_vec());
                bytes.extend_from_slice(more);
                *value = Some(bytes.into());
            }
        }
    }

    /// Adds to a row that holds a whole number in decimal digits, 0 where there is none; gives the
    /// sum.
    ///
    /// # Errors
    /// [Refused](ErrorKind::Refused) where the row holds something else, or the sum does not fit.
    /// As in a database, the transaction is then aborted: work that swallows the error will not be
    /// able to commit.
    pub fn add(&mut self, row: &str, delta: i64) -> Result<i64> {
        let before = match self.get(row) {
            None => Some(0),
            Some(value) => std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse().ok()),
        };
        let Some(sum) = before.and_then(|number: i64| number.checked_add(delta)) else {
            return Err(self.refuse("add", "the row holds no number, or the sum does not fit"));
        };
        self.put(row, sum.to_string());
        Ok(sum)
    }

    /// Removes a row; says whether there was one.
    pub fn delete(&mut self, row: &str) -> bool {
        let there = self.get(row).is_some();
        self.writes.rows.insert(row.to_owned(), Write::Set(None));
        there
    }

    /// The error of a failed statement, after which nothing can be committed.
    pub(super) fn refuse(&mut self, operation: &'static str, message: &str) -> Error {
        self.failed = true;
        error(ErrorKind::Refused, operation, message)
    }

    /// An error of a statement that did its work, after which nothing can be committed.
    pub(super) fn failed_with(&mut self, failure: Error) -> Error {
        self.failed = true;
        failure
    }

    /// Refuses a transaction of another store or namespace.
    pub(super) fn check_home(&self, store: &MemoryStore, operation: &'static str) -> Result<()> {
        if Arc::ptr_eq(&self.shared, &store.shared) && self.namespace == store.namespace {
            return Ok(());
        }
        Err(refusals::foreign(operation, BACKEND))
    }

    /// Whether it may be committed or prepared: nothing failed, nothing that it read has changed,
    /// and nothing that it writes is reserved.
    pub(super) fn check(&self, state: &State, operation: &'static str) -> Result<()> {
        check_open(&self.closed, operation)?;
        if self.failed {
            return Err(error(
                ErrorKind::WorkFailed,
                operation,
                "a statement of this transaction failed and its error was swallowed; it is rolled \
                 back",
            ));
        }
        self.check_reads(state, operation)?;
        self.check_reservations(state, operation)
    }

    fn check_reads(&self, state: &State, operation: &'static str) -> Result<()> {
        let version = |row: &String| state.rows.get(row).map_or(0, |row| row.version);
        let space = state.spaces.get(&self.namespace);
        let account = |id| space.and_then(|space| space.accounts.get(id));
        let used = |key| space.is_some_and(|space| space.operations.contains_key(key));
        let moved =
            self.writes
                .read
                .iter()
                .any(|(row, seen)| version(row) != *seen)
                || self.writes.accounts.iter().any(|(id, write)| {
                    account(id).map(|account| account.state.version) != write.base
                })
                || self.writes.operations.keys().any(used);
        if moved { Err(busy(operation)) } else { Ok(()) }
    }

    fn check_reservations(&self, state: &State, operation: &'static str) -> Result<()> {
        for row in self.writes.rows.keys() {
            check_row(state, row, operation)?;
        }
        for id in self.writes.accounts.keys() {
            check_account(state, &self.namespace, id, operation)?;
        }
        for key in self.writes.operations.keys() {
            check_operation(state, &self.namespace, key, operation)?;
        }
        Ok(())
    }
}

/// Refuses a write to a row that a prepared transaction has read or written.
fn check_row(state: &State, row: &str, operation: &'static str) -> Result<()> {
    let holder = state
        .staged()
        .find(|(_, _, staged)| staged.rows.contains_key(row) || staged.read.contains_key(row));
    match holder {
        None => Ok(()),
        Some((_, digest, _)) => Err(reserved(operation, &digest.to_string())),
    }
}

/// Refuses a change of an account that a prepared transaction changes.
pub(super) fn check_account(
    state: &State,
    namespace: &Namespace,
    id: &AccountId,
    operation: &'static str,
) -> Result<()> {
    let holder = state
        .staged()
        .find(|(space, _, staged)| *space == namespace && staged.accounts.contains_key(id));
    refuse_in_doubt(holder, operation)
}

/// Refuses the key of a balance operation that a prepared transaction has used.
pub(super) fn check_operation(
    state: &State,
    namespace: &Namespace,
    key: &IdempotencyKey,
    operation: &'static str,
) -> Result<()> {
    let holder = state
        .staged()
        .find(|(space, _, staged)| *space == namespace && staged.operations.contains_key(key));
    refuse_in_doubt(holder, operation)
}

fn refuse_in_doubt(
    holder: Option<(&Namespace, &TransactionDigest, &Writes)>,
    operation: &'static str,
) -> Result<()> {
    match holder {
        None => Ok(()),
        Some((_, digest, _)) => Err(balances::reserved(&digest.to_string(), operation, BACKEND)),
    }
}

impl Writes {
    /// Applies everything; the caller has checked that it can be.
    pub(super) fn apply(self, state: &mut State, namespace: &Namespace) {
        for (name, write) in self.rows {
            let row = state.rows.entry(name).or_default();
            let value = match write {
                Write::Set(value) => value,
                Write::Append(more) => {
                    let mut value = row
                        .value
                        .take()
                        .map_or_else(Vec::new, |value| value.to_vec());
                    value.extend(more);
                    Some(value.into())
                }
            };
            *row = Row {
                value,
                version: row.version + 1,
            };
        }
        let space = state.space(namespace);
        for (id, write) in self.accounts {
            let account = space.accounts.entry(id).or_insert_with(|| Account {
                state: write.state,
                history: Vec::new(),
            });
            account.state = write.state;
            account.history.extend(write.changes);
        }
        for (key, (fingerprint, change)) in self.operations {
            space.operations.insert(
                key,
                Operation {
                    fingerprint,
                    ended: Ok(vec![change]),
                },
            );
        }
    }
}

/// Rolls back: what was collected goes with it, and what it held is free again.
impl Drop for MemoryTx {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.open -= 1;
        let space = state.space(&self.namespace);
        match &self.purpose {
            Purpose::Plain => {}
            Purpose::Claimed(claim) => {
                space.claims.remove(claim.key());
            }
            Purpose::Participant(participation) => {
                let digest = participation.transaction();
                let working = space.participants.get(digest);
                if working.is_some_and(|participant| matches!(participant.stage, Stage::Working)) {
                    space.participants.remove(digest);
                }
            }
        }
    }
}

impl fmt::Debug for MemoryTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTx")
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

impl Transactional for MemoryStore {
    type Tx = MemoryTx;

    async fn begin(&self) -> Result<MemoryTx> {
        let mut state = self.state("begin")?;
        Ok(MemoryTx::open(self, &mut state, Purpose::Plain))
    }

    async fn commit(&self, mut tx: MemoryTx) -> Result<()> {
        tx.check_home(self, "commit")?;
        if !matches!(tx.purpose, Purpose::Plain) {
            return Err(refusals::foreign("commit", BACKEND));
        }
        let mut state = self.shared.lock();
        let writes = tx
            .check(&state, "commit")
            .map(|()| std::mem::take(&mut tx.writes));
        let done = writes.map(|writes| writes.apply(&mut state, &self.namespace));
        // The transaction takes the lock again when it is dropped.
        drop(state);
        done
    }

    async fn rollback(&self, tx: MemoryTx) -> Result<()> {
        drop(tx);
        Ok(())
    }

    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        classify(operation, source)
    }
}

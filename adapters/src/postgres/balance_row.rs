//! The rows of accounts, operations and history, and the SQL that reads and writes them.

use exactly_once_core::{
    AccountId, AccountState, Amount, Change, ChangeKind, Fingerprint, Floor, IdempotencyKey,
    Result, Version,
    balance::{Refused, rules::Step},
};

use super::{
    driver::{Driver, Reply},
    error::garbled,
    literal,
    store::PostgresStore,
};

/// What is being asked, apart from what it does.
pub(super) struct Asked<'a> {
    pub(super) operation: &'static str,
    pub(super) key: &'a IdempotencyKey,
    pub(super) fingerprint: Fingerprint,
    /// The accounts that it touches, each once.
    pub(super) accounts: Vec<&'a AccountId>,
}

/// An operation that was applied or refused before.
pub(super) struct Known {
    pub(super) fingerprint: Fingerprint,
    pub(super) ended: Ended,
}

/// How an operation ended, for good.
pub(super) enum Ended {
    Applied(Vec<Change>),
    Refused(Refused),
}

impl Ended {
    /// As it is stored: the changes as JSON, or the refusal as text.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.first() == Some(&b'[') {
            return serde_json::from_slice(bytes).ok().map(Self::Applied);
        }
        let text = std::str::from_utf8(bytes).ok()?;
        Refused::parse(text).map(Self::Refused)
    }
}

fn bytes(row: &[Option<String>], column: usize) -> Option<Vec<u8>> {
    literal::unhex(row.get(column)?.as_deref()?)
}

fn number(row: &[Option<String>], column: usize) -> Option<i64> {
    row.get(column)?.as_deref()?.parse().ok()
}

fn flag(row: &[Option<String>], column: usize) -> Option<bool> {
    Some(row.get(column)?.as_deref()? == "t")
}

/// `amount, version, floor, open` from this column on.
pub(super) fn state(row: &[Option<String>], first: usize) -> Option<AccountState> {
    Some(AccountState {
        amount: Amount::new(number(row, first)?),
        version: Version::new(number(row, first + 1)?).ok()?,
        floor: match row.get(first + 2)?.as_deref() {
            None => Floor::None,
            Some(floor) => Floor::At(Amount::new(floor.parse().ok()?)),
        },
        open: flag(row, first + 3)?,
    })
}

/// The states of the accounts, in the order of `accounts`.
pub(super) fn states(
    reply: Option<&Reply>,
    asked: &Asked<'_>,
) -> Result<Vec<Option<AccountState>>> {
    let rows = reply.map_or(&[][..], |reply| &reply.rows);
    let mut found = std::collections::HashMap::with_capacity(rows.len());
    for row in rows {
        match (bytes(row, 0), state(row, 1)) {
            (Some(account), Some(state)) => found.insert(account, state),
            _ => return Err(garbled(asked.operation)),
        };
    }
    Ok(asked
        .accounts
        .iter()
        .map(|account| found.get(account.as_str().as_bytes()).copied())
        .collect())
}

/// The operation of this key, if it was applied or refused before.
pub(super) fn known(reply: Option<&Reply>, operation: &'static str) -> Result<Option<Known>> {
    let Some(row) = reply.and_then(|reply| reply.rows.first()) else {
        return Ok(None);
    };
    known_row(row).map(Some).ok_or_else(|| garbled(operation))
}

/// `fingerprint, changes`.
pub(super) fn known_row(row: &[Option<String>]) -> Option<Known> {
    Some(Known {
        fingerprint: Fingerprint::from_bytes(bytes(row, 0)?.try_into().ok()?),
        ended: Ended::read(&bytes(row, 1)?)?,
    })
}

/// A line of the history of an account.
pub(super) fn line(row: &[Option<String>], account: &AccountId) -> Option<Change> {
    Some(Change {
        key: IdempotencyKey::from_bytes(&bytes(row, 0)?).ok()?,
        account: account.clone(),
        kind: ChangeKind::parse(row.get(1)?.as_deref()?)?,
        delta: Amount::new(number(row, 2)?),
        before: Amount::new(number(row, 3)?),
        after: Amount::new(number(row, 4)?),
        version: Version::new(number(row, 5)?).ok()?,
    })
}

/// The single account of a reply to [`PostgresStore::select_account`].
pub(super) fn account(
    reply: Option<&Reply>,
    operation: &'static str,
) -> Result<Option<AccountState>> {
    match reply.and_then(|reply| reply.rows.first()) {
        None => Ok(None),
        Some(row) => state(row, 1).map(Some).ok_or_else(|| garbled(operation)),
    }
}

fn floor(floor: Floor) -> String {
    match floor {
        Floor::At(amount) => literal::int(amount.get()),
        Floor::None => "NULL::int8".to_owned(),
    }
}

impl<D: Driver> PostgresStore<D> {
    pub(super) fn select_account(&self, id: &AccountId) -> String {
        format!(
            "SELECT pg_catalog.encode(account, 'hex'), amount, version, floor, open FROM {} \
             WHERE namespace = {} AND account = {}",
            self.tables().accounts,
            self.namespace_sql(),
            literal::bytes(id.as_str().as_bytes())
        )
    }

    /// Locks the accounts in one order for everybody, then reads the operation's record: whoever
    /// waited for a rival with the same key sees what it did. Nothing is locked for a replay.
    pub(super) fn lock_accounts(&self, asked: &Asked<'_>) -> String {
        let accounts: Vec<String> = asked
            .accounts
            .iter()
            .map(|account| literal::bytes(account.as_str().as_bytes()))
            .collect();
        let known = format!(
            "FROM {} WHERE namespace = {} AND key = {}",
            self.tables().operations,
            self.namespace_sql(),
            literal::bytes(asked.key.as_str().as_bytes())
        );
        format!(
            "SELECT pg_catalog.encode(account, 'hex'), amount, version, floor, open FROM {} \
             WHERE namespace = {} AND account IN ({}) AND NOT EXISTS (SELECT {known}) \
             ORDER BY account FOR UPDATE; \
             SELECT pg_catalog.encode(fingerprint, 'hex'), pg_catalog.encode(changes, 'hex') \
             {known}",
            self.tables().accounts,
            self.namespace_sql(),
            accounts.join(", "),
        )
    }

    /// The operation's record; a rival with the same key makes it fail, or wait and fail.
    pub(super) fn insert_operation(&self, asked: &Asked<'_>, changes: &[u8]) -> String {
        format!(
            "INSERT INTO {} (namespace, key, fingerprint, changes) VALUES ({}, {}, {}, {})",
            self.tables().operations,
            self.namespace_sql(),
            literal::bytes(asked.key.as_str().as_bytes()),
            literal::bytes(asked.fingerprint.as_bytes()),
            literal::bytes(changes),
        )
    }

    fn history_values(&self, steps: &[Step]) -> String {
        let rows: Vec<String> = steps
            .iter()
            .map(|(change, _)| {
                format!(
                    "({}, {}, {}, {}, '{}', {}, {}, {})",
                    self.namespace_sql(),
                    literal::bytes(change.account.as_str().as_bytes()),
                    literal::int(change.version.get()),
                    literal::bytes(change.key.as_str().as_bytes()),
                    change.kind.as_str(),
                    literal::int(change.delta.get()),
                    literal::int(change.before.get()),
                    literal::int(change.after.get()),
                )
            })
            .collect();
        rows.join(", ")
    }

    fn account_values(steps: &[Step]) -> String {
        let rows: Vec<String> = steps
            .iter()
            .map(|(change, state)| {
                format!(
                    "({}, {}, {}, {}, {})",
                    literal::bytes(change.account.as_str().as_bytes()),
                    literal::int(state.amount.get()),
                    literal::int(state.version.get()),
                    floor(state.floor),
                    state.open,
                )
            })
            .collect();
        rows.join(", ")
    }

    /// Writes everything: the record first, so that a rival's key is met before anything else.
    pub(super) fn write_steps(
        &self,
        asked: &Asked<'_>,
        steps: &[Step],
        changes: &[u8],
        is_new: bool,
    ) -> String {
        let (accounts, namespace) = (&self.tables().accounts, self.namespace_sql());
        let values = Self::account_values(steps);
        let write = if is_new {
            format!(
                "INSERT INTO {accounts} (namespace, account, amount, version, floor, open) \
                 SELECT {namespace}, v.* FROM (VALUES {values}) v"
            )
        } else {
            format!(
                "UPDATE {accounts} a SET amount = v.amount, version = v.version, \
                 floor = v.floor, open = v.open \
                 FROM (VALUES {values}) v (account, amount, version, floor, open) \
                 WHERE a.namespace = {namespace} AND a.account = v.account"
            )
        };
        format!(
            "{}; {write}; INSERT INTO {} \
             (namespace, account, version, key, kind, delta, before, after) VALUES {}",
            self.insert_operation(asked, changes),
            self.tables().history,
            self.history_values(steps),
        )
    }

    /// The same for one account that exists, in a transaction of the user's: a rival with the same
    /// key makes it do nothing, as an error would abort the user's work. Its reply counts 1 or 0.
    pub(super) fn write_step_quietly(
        &self,
        asked: &Asked<'_>,
        step: &Step,
        changes: &[u8],
    ) -> String {
        let steps = std::slice::from_ref(step);
        format!(
            "WITH operation AS ({} ON CONFLICT DO NOTHING RETURNING 1), \
             changed AS (UPDATE {} a SET amount = v.amount, version = v.version \
             FROM (VALUES {}) v (account, amount, version, floor, open) \
             WHERE a.namespace = {} AND a.account = v.account \
             AND EXISTS (SELECT FROM operation) RETURNING 1) \
             INSERT INTO {} (namespace, account, version, key, kind, delta, before, after) \
             SELECT v.* FROM (VALUES {}) v WHERE EXISTS (SELECT FROM changed)",
            self.insert_operation(asked, changes),
            self.tables().accounts,
            Self::account_values(steps),
            self.namespace_sql(),
            self.tables().history,
            self.history_values(steps),
        )
    }
}

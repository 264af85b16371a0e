//! The rows of accounts and of their changes, and the SQL that reads and writes them.

use exactly_once_core::{
    AccountId, AccountState, Amount, Change, ChangeKind, Fingerprint, Floor, IdempotencyKey,
    Result, Version,
    adapter::{Refused, rules::balances::Step},
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

/// The columns of a record; see [`known_row`].
pub(super) const RECORD: &str = "pg_catalog.encode(t.fingerprint, 'hex'), \
     pg_catalog.encode(t.account, 'hex'), t.version, t.kind, t.delta, t.after, \
     pg_catalog.encode(t.refusal, 'hex')";

/// The operation of this key, if it was applied or refused before.
pub(super) fn known(reply: Option<&Reply>, asked: &Asked<'_>) -> Result<Option<Known>> {
    let garbled = || garbled(asked.operation);
    let mut known = None;
    for row in reply.map_or(&[][..], |reply| &reply.rows) {
        let leg = known_row(row, asked.key).ok_or_else(garbled)?;
        match (&mut known, leg) {
            (None, leg) => known = Some(leg),
            (
                Some(Known {
                    ended: Ended::Applied(changes),
                    ..
                }),
                Known {
                    ended: Ended::Applied(mut leg),
                    ..
                },
            ) => changes.append(&mut leg),
            _ => return Err(garbled()),
        }
    }
    Ok(known)
}

/// One row of [`RECORD`]: an operation on one account, or a leg of a transfer.
pub(super) fn known_row(row: &[Option<String>], key: &IdempotencyKey) -> Option<Known> {
    let ended = match row.get(6)? {
        Some(_) => {
            let text = String::from_utf8(bytes(row, 6)?).ok()?;
            Ended::Refused(Refused::parse(&text)?)
        }
        None => {
            let account = AccountId::from_bytes(&bytes(row, 1)?).ok()?;
            Ended::Applied(vec![change(row, 2, key.clone(), account)?])
        }
    };
    Some(Known {
        fingerprint: Fingerprint::from_bytes(bytes(row, 0)?.try_into().ok()?),
        ended,
    })
}

/// `version, kind, delta, after` from this column on. What was before follows from them.
fn change(
    row: &[Option<String>],
    first: usize,
    key: IdempotencyKey,
    account: AccountId,
) -> Option<Change> {
    let (delta, after) = (number(row, first + 2)?, number(row, first + 3)?);
    Some(Change {
        key,
        account,
        kind: ChangeKind::parse(row.get(first + 1)?.as_deref()?)?,
        delta: Amount::new(delta),
        before: Amount::new(after.checked_sub(delta)?),
        after: Amount::new(after),
        version: Version::new(number(row, first)?).ok()?,
    })
}

/// A line of the history of an account: `key, version, kind, delta, after`.
pub(super) fn line(row: &[Option<String>], account: &AccountId) -> Option<Change> {
    let key = IdempotencyKey::from_bytes(&bytes(row, 0)?).ok()?;
    change(row, 1, key, account.clone())
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

    /// Locks the accounts in one order for all callers, then reads the operation's record: a caller that
    /// waited for a rival with the same key sees what it did. Nothing is locked for a replay.
    pub(super) fn lock_accounts(&self, asked: &Asked<'_>) -> String {
        let accounts: Vec<String> = asked
            .accounts
            .iter()
            .map(|account| literal::bytes(account.as_str().as_bytes()))
            .collect();
        let known = format!(
            "FROM {} t WHERE t.namespace = {} AND t.key = {}",
            self.tables().changes,
            self.namespace_sql(),
            literal::bytes(asked.key.as_str().as_bytes())
        );
        format!(
            "SELECT pg_catalog.encode(account, 'hex'), amount, version, floor, open FROM {} \
             WHERE namespace = {} AND account IN ({}) AND NOT EXISTS (SELECT {known}) \
             ORDER BY account FOR UPDATE; \
             SELECT {RECORD} {known} ORDER BY t.leg",
            self.tables().accounts,
            self.namespace_sql(),
            accounts.join(", "),
        )
    }

    /// The identifier of a prepared transaction that holds one of the accounts: the visible row names
    /// the transaction that changed or locked it last.
    pub(super) fn select_holder(&self, asked: &Asked<'_>) -> String {
        let accounts: Vec<String> = asked
            .accounts
            .iter()
            .map(|account| literal::bytes(account.as_str().as_bytes()))
            .collect();
        format!(
            "SELECT p.gid FROM {} a JOIN pg_catalog.pg_prepared_xact() p ON p.transaction = a.xmax \
             WHERE a.namespace = {} AND a.account IN ({}) LIMIT 1",
            self.tables().accounts,
            self.namespace_sql(),
            accounts.join(", "),
        )
    }

    /// Records of operations; a rival with the same key makes it fail, or wait and fail.
    fn insert_changes(&self, rows: &[String]) -> String {
        format!(
            "INSERT INTO {} (namespace, key, leg, fingerprint, \
             account, version, kind, delta, after, refusal) VALUES {}",
            self.tables().changes,
            rows.join(", "),
        )
    }

    /// A row of the record of what was applied. The kind is one of our words.
    fn applied_row(
        namespace: &str,
        leg: usize,
        fingerprint: Fingerprint,
        change: &Change,
    ) -> String {
        format!(
            "({namespace}, {}, {leg}, {}, {}, {}, '{}', {}, {}, NULL::bytea)",
            literal::bytes(change.key.as_str().as_bytes()),
            literal::bytes(fingerprint.as_bytes()),
            literal::bytes(change.account.as_str().as_bytes()),
            literal::int(change.version.get()),
            change.kind.as_str(),
            literal::int(change.delta.get()),
            literal::int(change.after.get()),
        )
    }

    /// The record of what was refused.
    pub(super) fn insert_refusal(&self, asked: &Asked<'_>, refused: &Refused) -> String {
        self.insert_changes(&[format!(
            "({}, {}, 0, {}, NULL, NULL, NULL, NULL, NULL, {})",
            self.namespace_sql(),
            literal::bytes(asked.key.as_str().as_bytes()),
            literal::bytes(asked.fingerprint.as_bytes()),
            literal::bytes(refused.as_str().as_bytes()),
        )])
    }

    /// The record of what was applied.
    fn insert_applied(&self, asked: &Asked<'_>, steps: &[Step]) -> String {
        let rows: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(leg, (change, _))| {
                Self::applied_row(self.namespace_sql(), leg, asked.fingerprint, change)
            })
            .collect();
        self.insert_changes(&rows)
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
    pub(super) fn write_steps(&self, asked: &Asked<'_>, steps: &[Step], is_new: bool) -> String {
        let (accounts, namespace) = (&self.tables().accounts, self.namespace_sql());
        let record = self.insert_applied(asked, steps);
        let values = Self::account_values(steps);
        if is_new {
            return format!(
                "{record}; INSERT INTO {accounts} \
                 (namespace, account, amount, version, floor, open) \
                 SELECT {namespace}, v.* FROM (VALUES {values}) v"
            );
        }
        format!(
            "{record}; UPDATE {accounts} a SET amount = v.amount, version = v.version, \
             floor = v.floor, open = v.open \
             FROM (VALUES {values}) v (account, amount, version, floor, open) \
             WHERE a.namespace = {namespace} AND a.account = v.account"
        )
    }

    /// The same for one account that exists, in a transaction of the user's: a rival with the same
    /// key makes it do nothing, as an error would abort the user's work. Its reply counts 1 or 0.
    pub(super) fn write_step_quietly(&self, asked: &Asked<'_>, step: &Step) -> String {
        let steps = std::slice::from_ref(step);
        format!(
            "WITH change AS ({} ON CONFLICT (namespace, key, leg) DO NOTHING RETURNING 1) \
             UPDATE {} a SET amount = v.amount, version = v.version \
             FROM (VALUES {}) v (account, amount, version, floor, open) \
             WHERE a.namespace = {} AND a.account = v.account AND EXISTS (SELECT FROM change)",
            self.insert_applied(asked, steps),
            self.tables().accounts,
            Self::account_values(steps),
            self.namespace_sql(),
        )
    }
}

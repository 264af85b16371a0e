//! Accounts and their histories, as rows.
//!
//! A change's row is found by its key, where a retry looks for it. Keys that come in order share their
//! pages, and so do the changes of one batch, though their accounts don't. A history is a chain: an
//! account's row names its last change, and each change the one before it. Versions have no gaps, so an
//! index of every 64th one is enough to begin a page anywhere and walk back.

use exactly_once_core::{
    AccountId, AccountState, Amount, Change, ChangeKind, Error, ErrorKind, Fingerprint, Floor,
    HistoryPage, IdempotencyKey, Namespace, Result, Version, adapter::rules::balances,
};
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::error::{STORE, error, statement};

/// What [`read_change`] reads.
pub(super) const CHANGE: &str = "SELECT key, account, kind, delta, before, after, version, \
                                 fingerprint, previous_key, previous_leg FROM exactly_once_change";

/// What [`read_account`] reads.
pub(super) const ACCOUNT: &str = "SELECT amount, version, floor, open, last_key, last_leg FROM \
                                  exactly_once_account WHERE namespace = ?1 AND account = ?2";

/// The next version above, of those that the index has.
pub(super) const ANCHOR: &str = "SELECT version, key, leg FROM exactly_once_change INDEXED BY \
                                 exactly_once_change_anchor WHERE namespace = ?1 AND account = ?2 \
                                 AND version % 64 = 0 AND version >= ?3 ORDER BY version LIMIT 1";

/// Which change: the key of its operation, and the leg in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) key: String,
    pub(super) leg: i64,
}

/// An account's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) state: AccountState,
    pub(super) last: Link,
}

/// A change's row.
pub(super) struct Entry {
    /// `None` for one that this library can't have written.
    pub(super) change: Option<Change>,
    pub(super) fingerprint: Fingerprint,
    previous: Option<Link>,
}

pub(super) fn unreadable(operation: &'static str) -> Error {
    error(
        ErrorKind::Configuration,
        operation,
        "a stored balance is not as this library writes it: it was changed by hand",
    )
}

pub(super) fn read_change(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let names = (
        IdempotencyKey::new(row.get::<_, String>(0)?),
        AccountId::new(row.get::<_, String>(1)?),
        ChangeKind::parse(&row.get::<_, String>(2)?),
        Version::new(row.get(6)?),
    );
    let change = match names {
        (Ok(key), Ok(account), Some(kind), Ok(version)) => Some(Change {
            key,
            account,
            kind,
            delta: Amount::new(row.get(3)?),
            before: Amount::new(row.get(4)?),
            after: Amount::new(row.get(5)?),
            version,
        }),
        _ => None,
    };
    let (key, leg): (Option<String>, Option<i64>) = (row.get(8)?, row.get(9)?);
    Ok(Entry {
        change,
        fingerprint: Fingerprint::from_bytes(row.get(7)?),
        previous: key.zip(leg).map(|(key, leg)| Link { key, leg }),
    })
}

/// The account as it is, found by `sql`.
pub(super) fn read_account(
    connection: &Connection,
    operation: &'static str,
    sql: &str,
    names: &[&dyn ToSql],
) -> Result<Option<Account>> {
    let stored = connection
        .prepare_cached(sql)
        .and_then(|mut query| {
            query
                .query_row(names, |row| {
                    let (amount, floor) = (row.get(0)?, row.get::<_, Option<i64>>(2)?);
                    let open = row.get(3)?;
                    let (key, leg) = (row.get(4)?, row.get(5)?);
                    Ok(Version::new(row.get(1)?).ok().map(|version| Account {
                        state: AccountState {
                            amount: Amount::new(amount),
                            version,
                            floor: floor.map_or(Floor::None, |at| Floor::At(Amount::new(at))),
                            open,
                        },
                        last: Link { key, leg },
                    }))
                })
                .optional()
        })
        .map_err(statement(operation))?;
    stored.map_or(Ok(None), |account| {
        account.map(Some).ok_or_else(|| unreadable(operation))
    })
}

/// One page of an account's history.
///
/// # Errors
/// [Unknown account](ErrorKind::UnknownAccount); [configuration](ErrorKind::Configuration) where the
/// chain was broken by hand; retryable kinds.
pub(super) fn page(
    connection: &Connection,
    namespace: &Namespace,
    account: &AccountId,
    after: Option<Version>,
    limit: u32,
) -> Result<HistoryPage> {
    const OPERATION: &str = "history";
    let names = params![namespace.as_str(), account.as_str()];
    let Some(known) = read_account(connection, OPERATION, ACCOUNT, names)? else {
        return Err(balances::unknown_account(OPERATION, STORE));
    };
    let newest = known.state.version.get();
    let after = after.map_or(0, Version::get);
    let last = after.saturating_add(i64::from(limit)).min(newest);
    let mut changes = Vec::new();
    if after < last {
        let (mut version, mut link) =
            anchor(connection, namespace, account, last)?.unwrap_or((newest, known.last));
        loop {
            let entry = entry(connection, namespace, &link)?;
            let change = entry
                .change
                .filter(|change| (&change.account, change.version.get()) == (account, version));
            let change = change.ok_or_else(|| unreadable(OPERATION))?;
            if version <= last {
                changes.push(change);
            }
            version -= 1;
            if version == after {
                break;
            }
            link = entry.previous.ok_or_else(|| unreadable(OPERATION))?;
        }
        changes.reverse();
    }
    let next = changes.last().filter(|_| last < newest);
    Ok(HistoryPage {
        next: next.map(|change| change.version),
        changes,
    })
}

fn anchor(
    connection: &Connection,
    namespace: &Namespace,
    account: &AccountId,
    version: i64,
) -> Result<Option<(i64, Link)>> {
    let found = connection.prepare_cached(ANCHOR).and_then(|mut query| {
        let names = params![namespace.as_str(), account.as_str(), version];
        let read = |row: &Row<'_>| {
            let (key, leg) = (row.get(1)?, row.get(2)?);
            Ok((row.get(0)?, Link { key, leg }))
        };
        query.query_row(names, read).optional()
    });
    found.map_err(statement("history"))
}

fn entry(connection: &Connection, namespace: &Namespace, link: &Link) -> Result<Entry> {
    const OPERATION: &str = "history";
    let sql = format!("{CHANGE} WHERE namespace = ?1 AND key = ?2 AND leg = ?3");
    let found = connection.prepare_cached(&sql).and_then(|mut query| {
        let names = params![namespace.as_str(), link.key, link.leg];
        query.query_row(names, read_change).optional()
    });
    let found = found.map_err(statement(OPERATION))?;
    found.ok_or_else(|| unreadable(OPERATION))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rusqlite::trace::{TraceEvent, TraceEventCodes};

    use super::*;
    use crate::sqlite::schema;

    fn name() -> Namespace {
        Namespace::new("n").unwrap()
    }

    fn account(name: &str) -> AccountId {
        AccountId::new(name).unwrap()
    }

    /// Two accounts that change in turns, under keys that come in no order.
    fn filled(versions: i64) -> Connection {
        let db = Connection::open_in_memory().unwrap();
        schema::migrate(&db).unwrap();
        let key = |account: &str, version: i64| format!("{}/{account}", version * 7919 % 1009);
        for version in 1..=versions {
            for account in ["a", "b"] {
                let previous = (version > 1).then(|| key(account, version - 1));
                let leg = previous.as_ref().map(|_| 0);
                db.execute(
                    "INSERT INTO exactly_once_change VALUES ('n', ?1, 0, ?2, ?3, zeroblob(32), \
                     'adjust', 1, ?3 - 1, ?3, ?4, ?5)",
                    params![key(account, version), account, version, previous, leg],
                )
                .unwrap();
            }
        }
        for account in ["a", "b"] {
            db.execute(
                "INSERT INTO exactly_once_account VALUES ('n', ?1, ?2, ?2, 0, 1, ?3, 0)",
                params![account, versions, key(account, versions)],
            )
            .unwrap();
        }
        db
    }

    fn versions(page: &HistoryPage) -> Vec<i64> {
        let changes = page.changes.iter();
        changes.map(|change| change.version.get()).collect()
    }

    #[test]
    fn every_page_of_a_history_is_the_part_that_was_asked_for() {
        for newest in [1, 63, 64, 65, 200] {
            let db = filled(newest);
            for after in (0..=newest + 1).filter(|after| newest < 100 || after % 9 < 3) {
                for limit in [1, 2, 63, 64, 65, 150, 1_000] {
                    let from = (after > 0).then(|| Version::new(after).unwrap());
                    let page = page(&db, &name(), &account("a"), from, limit).unwrap();
                    let last = newest.min(after + i64::from(limit));
                    let expected: Vec<i64> = (after + 1..=last).collect();
                    assert_eq!(versions(&page), expected, "{newest} {after} {limit}");
                    let more = !expected.is_empty() && last < newest;
                    assert_eq!(page.next.map(Version::get), more.then_some(last));
                }
            }
        }
        let unknown = page(&filled(1), &name(), &account("c"), None, 1).unwrap_err();
        assert_eq!(
            unknown.kind(),
            balances::unknown_account("history", STORE).kind()
        );
    }

    static READ: AtomicU32 = AtomicU32::new(0);

    fn count(event: TraceEvent<'_>) {
        if let TraceEvent::Stmt(..) = event {
            READ.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_page_costs_its_own_changes_and_few_more_wherever_it_is() {
        let db = filled(1_000);
        db.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count));
        for after in [1, 400, 447, 990] {
            READ.store(0, Ordering::SeqCst);
            let from = Some(Version::new(after).unwrap());
            page(&db, &name(), &account("a"), from, 10).unwrap();
            // The account, the index, ten changes, and at most 63 above them.
            let read = READ.load(Ordering::SeqCst);
            assert!(read <= 2 + 10 + 63, "{read} statements after {after}");
        }
    }

    #[test]
    fn a_chain_that_was_broken_by_hand_is_no_shorter_history() {
        for broken in [
            "DELETE FROM exactly_once_change WHERE account = 'a' AND version = 5",
            "UPDATE exactly_once_change SET previous_key = NULL WHERE account = 'a' AND version = 5",
            "UPDATE exactly_once_change SET account = 'b' WHERE account = 'a' AND version = 5",
            "UPDATE exactly_once_account SET version = 11 WHERE account = 'a'",
        ] {
            let db = filled(10);
            db.execute(broken, []).unwrap();
            let failure = page(&db, &name(), &account("a"), None, 20).unwrap_err();
            assert_eq!(failure.kind(), ErrorKind::Configuration, "{broken}");
            page(&db, &name(), &account("b"), None, 20).unwrap();
        }
    }
}

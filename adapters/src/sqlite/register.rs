//! Decisions, written once. The first writer wins, because there is one writer at a time.

use exactly_once_core::{
    Decision, DecisionRegister, Dispute, ErrorKind, Namespace, Participation, RegisterEntry,
    RegisterPage, Result, Settlement, StoreIdentity, TransactionDigest,
    adapter::{check_limit, refusals, rules::participants::Note},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::{
    SqliteStore,
    error::{STORE, error, statement},
    outcome::read_participation,
    queue::{Bench, Undo},
};

const ENTRY: &str = "SELECT tx, terms, not_after, forget_after, decision, finished, \
                     participants, settled, disputed FROM exactly_once_decision";

fn read_entry(row: &Row<'_>) -> rusqlite::Result<Option<RegisterEntry>> {
    let decision = Decision::parse(&row.get::<_, String>(4)?);
    let finished = row.get(5)?;
    let participation = read_participation(row, 0)?.ok();
    let members: Vec<u8> = row.get(6)?;
    let settled = match row.get::<_, Option<String>>(7)? {
        None => None,
        Some(text) => match Settlement::parse(&text) {
            None => return Ok(None),
            settled => settled,
        },
    };
    let Some(disputes) = Dispute::parse_all(&row.get::<_, String>(8)?) else {
        return Ok(None);
    };
    Ok(participation
        .zip(decision)
        .map(|(participation, decision)| RegisterEntry {
            participation: participation.with_named(&members),
            decision,
            finished,
            disputes,
            settled,
        }))
}

/// The identity of the data. It is read each time: another process may have adopted them.
pub(super) fn identity(connection: &Connection, operation: &'static str) -> Result<StoreIdentity> {
    connection
        .prepare_cached("SELECT identity FROM exactly_once_meta")
        .and_then(|mut query| query.query_row([], |row| row.get(0)))
        .map(StoreIdentity::from_bytes)
        .map_err(statement(operation))
}

/// Gives the data another identity.
pub(super) fn adopt(connection: &Connection, operation: &'static str) -> Result<StoreIdentity> {
    let adopted = StoreIdentity::random();
    connection
        .prepare_cached("UPDATE exactly_once_meta SET identity = ?1")
        .and_then(|mut update| update.execute([adopted.as_bytes()]))
        .map(|_| adopted)
        .map_err(statement(operation))
}

/// How much is prepared, or decided and not carried out, in every namespace.
#[cfg(feature = "cli")]
pub(super) fn left_anywhere(connection: &Connection, operation: &'static str) -> Result<u64> {
    connection
        .query_row(
            "SELECT (SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared') + \
             (SELECT count(*) FROM exactly_once_decision WHERE finished = 0)",
            [],
            |row| row.get::<_, i64>(0),
        )
        .map(i64::unsigned_abs)
        .map_err(statement(operation))
}

fn unreadable(operation: &'static str) -> exactly_once_core::Error {
    error(
        ErrorKind::Configuration,
        operation,
        "a row of exactly_once_decision is not as this library writes it",
    )
}

/// What was decided; a name that was used otherwise is a mismatch.
fn find(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<Option<RegisterEntry>> {
    let held = identity(connection, operation)?.within(namespace);
    participation.check_register(&held, operation, STORE)?;
    match find_by_digest(
        connection,
        operation,
        namespace,
        participation.transaction(),
    )? {
        Some(entry) if entry.participation != *participation => {
            Err(refusals::another_transaction(operation, STORE))
        }
        entry => Ok(entry),
    }
}

/// What stands under a digest, whatever its terms.
fn find_by_digest(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    transaction: &TransactionDigest,
) -> Result<Option<RegisterEntry>> {
    let stored = connection
        .prepare_cached(&format!("{ENTRY} WHERE namespace = ?1 AND tx = ?2"))
        .and_then(|mut query| {
            query
                .query_row(
                    params![namespace.as_str(), transaction.as_bytes()],
                    read_entry,
                )
                .optional()
        })
        .map_err(statement(operation))?;
    match stored {
        None => Ok(None),
        Some(None) => Err(unreadable(operation)),
        Some(entry) => Ok(entry),
    }
}

fn decide(
    store: &SqliteStore,
    bench: &Bench<'_>,
    participation: &Participation,
    proposal: Decision,
) -> Result<Decision> {
    let namespace = &store.namespace;
    if let Some(known) = find(bench.connection, "decide", namespace, participation)? {
        return Ok(known.in_force());
    }
    let decision = store.asked(participation, "decide").decide(proposal)?;
    bench
        .connection
        .prepare_cached(
            "INSERT INTO exactly_once_decision (namespace, tx, terms, decision, finished, \
             not_after, forget_after, participants) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                namespace.as_str(),
                participation.transaction().as_bytes(),
                participation.terms(),
                decision.as_str(),
                participation.not_after().as_micros(),
                participation.forget_after().as_micros(),
                participation.participants().to_bytes()
            ])
        })
        .map_err(statement("decide"))?;
    Ok(decision)
}

/// What is not carried out yet, by its digest; the index is named, as for what is prepared.
pub(super) fn unfinished() -> String {
    format!(
        "{ENTRY} INDEXED BY exactly_once_decision_unfinished WHERE namespace = ?1 AND \
         finished = 0 AND (?2 IS NULL OR tx > ?2) ORDER BY tx LIMIT ?3"
    )
}

/// What has expired, the oldest first; a commit only when it is carried out, and nothing settled or disputed.
pub(super) const FORGET: &str = "DELETE FROM exactly_once_decision WHERE (namespace, tx) IN (SELECT \
     namespace, tx FROM exactly_once_decision WHERE namespace = ?1 AND forget_after < ?2 AND \
     (finished = 1 OR decision = 'rollback') AND settled IS NULL AND disputed = '' ORDER BY forget_after LIMIT ?3)";

impl DecisionRegister for SqliteStore {
    async fn decide(&self, participation: &Participation, proposal: Decision) -> Result<Decision> {
        let (store, participation) = (self.clone(), participation.clone());
        self.write("decide", Undo::Nothing, None, move |bench| {
            decide(&store, bench, &participation, proposal)
        })
        .await
    }

    async fn decision(&self, participation: &Participation) -> Result<Option<RegisterEntry>> {
        let (namespace, participation) = (self.namespace.clone(), participation.clone());
        self.readers
            .read("decision", move |connection| {
                find(connection, "decision", &namespace, &participation)
            })
            .await
    }

    async fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> Result<Option<RegisterEntry>> {
        let (namespace, transaction) = (self.namespace.clone(), *transaction);
        self.readers
            .read("find_decision", move |connection| {
                find_by_digest(connection, "find_decision", &namespace, &transaction)
            })
            .await
    }

    async fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> Result<Option<Settlement>> {
        const OPERATION: &str = "dispute";
        let (store, participation) = (self.clone(), participation.clone());
        let dispute = dispute.clone();
        self.write(OPERATION, Undo::Nothing, None, move |bench| {
            let namespace = &store.namespace;
            let known = find(bench.connection, OPERATION, namespace, &participation)?;
            let asked = store.asked(&participation, OPERATION);
            let (note, settled) = asked.dispute(known.as_ref(), &dispute)?;
            if note == Note::Done {
                return Ok(settled);
            }
            bench
                .connection
                .prepare_cached(
                    "UPDATE exactly_once_decision SET finished = 0, \
                     disputed = trim(disputed || ' ' || ?3) WHERE namespace = ?1 AND tx = ?2",
                )
                .and_then(|mut update| {
                    update.execute(params![
                        namespace.as_str(),
                        participation.transaction().as_bytes(),
                        dispute.to_text()
                    ])
                })
                .map(|_| settled)
                .map_err(statement(OPERATION))
        })
        .await
    }

    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        const OPERATION: &str = "settle";
        let (store, participation) = (self.clone(), participation.clone());
        let settlement = settlement.clone();
        self.write(OPERATION, Undo::Nothing, None, move |bench| {
            let namespace = &store.namespace;
            let known = find(bench.connection, OPERATION, namespace, &participation)?;
            let known = known.ok_or_else(|| store.asked(&participation, OPERATION).undecided())?;
            if let Some(settled) = known.settled {
                return Ok(settled);
            }
            bench
                .connection
                .prepare_cached(
                    "UPDATE exactly_once_decision SET finished = 1, settled = ?3 \
                     WHERE namespace = ?1 AND tx = ?2",
                )
                .and_then(|mut update| {
                    update.execute(params![
                        namespace.as_str(),
                        participation.transaction().as_bytes(),
                        settlement.to_text()
                    ])
                })
                .map_err(statement(OPERATION))?;
            Ok(settlement.clone())
        })
        .await
    }

    async fn finish(&self, participation: &Participation, decision: Decision) -> Result<()> {
        let (store, participation) = (self.clone(), participation.clone());
        self.write("finish", Undo::Nothing, None, move |bench| {
            let namespace = &store.namespace;
            let known = find(bench.connection, "finish", namespace, &participation)?;
            let asked = store.asked(&participation, "finish");
            if asked.finish(known.as_ref(), decision)? == Note::Done {
                return Ok(());
            }
            bench
                .connection
                .prepare_cached(
                    "UPDATE exactly_once_decision SET finished = 1 WHERE namespace = ?1 AND tx = ?2",
                )
                .and_then(|mut update| {
                    update.execute(params![
                        namespace.as_str(),
                        participation.transaction().as_bytes()
                    ])
                })
                .map(drop)
                .map_err(statement("finish"))
        })
        .await
    }

    async fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        const OPERATION: &str = "unfinished";
        let limit = check_limit(limit, OPERATION, STORE)?;
        let (namespace, after) = (self.namespace.clone(), after.copied());
        self.readers
            .read(OPERATION, move |connection| {
                let after = after.map(|digest| *digest.as_bytes());
                let found = connection
                    .prepare_cached(&unfinished())
                    .and_then(|mut query| {
                        query
                            .query_map(
                                params![namespace.as_str(), after, i64::from(limit) + 1],
                                read_entry,
                            )?
                            .collect::<rusqlite::Result<Vec<_>>>()
                    })
                    .map_err(statement(OPERATION))?;
                let more = found.len() > limit as usize;
                let entries = found
                    .into_iter()
                    .take(limit as usize)
                    .map(|entry| entry.ok_or_else(|| unreadable(OPERATION)))
                    .collect::<Result<Vec<_>>>()?;
                let last = entries.last().filter(|_| more);
                let next = last.map(|entry| *entry.participation.transaction());
                Ok(RegisterPage { entries, next })
            })
            .await
    }

    async fn forget_decisions(&self, limit: u32) -> Result<u64> {
        const OPERATION: &str = "forget_decisions";
        let limit = check_limit(limit, OPERATION, STORE)?;
        let namespace = self.namespace.clone();
        self.write(OPERATION, Undo::Nothing, None, move |bench| {
            bench
                .connection
                .prepare_cached(FORGET)
                .and_then(|mut delete| {
                    let now = bench.settings.now().as_micros();
                    delete.execute(params![namespace.as_str(), now, limit])
                })
                .map(|removed| removed as u64)
                .map_err(statement(OPERATION))
        })
        .await
    }
}

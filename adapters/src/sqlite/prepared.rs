//! Two-phase commit: one participant's side, staged. See [`staging`](super::staging).

use exactly_once_core::{
    BegunPrepared, ErrorKind, InDoubt, InDoubtPage, Participation, PreparedStatus,
    PreparedTransactions, Result, Timestamp, TransactionDigest,
    adapter::{
        check_limit, refusals,
        rules::participants::{Asked, Begin, Commit, Known, RollBack, Stage},
    },
};
use rusqlite::{Connection, Row, params};

use super::{
    SqliteStore,
    connection::Purpose,
    error::{STORE, error, statement},
    outcome,
    queue::{Bench, Opening, Undo},
    staging::{capture, plan, redo, reservation},
    transaction::{Intent, SqliteTx, end_work, mark_work},
};

impl SqliteStore {
    pub(super) fn asked<'a>(
        &self,
        participation: &'a Participation,
        operation: &'static str,
    ) -> Asked<'a> {
        Asked {
            participation,
            now: self.settings.now(),
            operation,
            store: STORE,
        }
    }

    fn known(
        &self,
        connection: &Connection,
        operation: &'static str,
        participation: &Participation,
    ) -> Result<Known> {
        outcome::find(connection, operation, &self.namespace, participation)
    }

    /// What a new attempt finds.
    pub(super) fn look(
        &self,
        connection: &Connection,
        operation: &'static str,
        participation: &Participation,
    ) -> Result<Begin> {
        let known = self.known(connection, operation, participation)?;
        self.asked(participation, operation).begin(known)
    }

    /// Undoes the work and stores it, in the transaction that it ran in.
    pub(super) fn stage(&self, bench: &Bench<'_>, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "prepare";
        if let Some(reason) = bench.guard.take_refused() {
            return Err(error(ErrorKind::Refused, OPERATION, reason));
        }
        let connection = bench.connection;
        let captured = capture::read(connection, bench.guard, OPERATION)?;
        end_work(bench, OPERATION, false)?;
        let tables = bench.guard.tables();
        let steps = plan::plan(&captured, &tables, OPERATION)?;
        redo::rehearse(bench, OPERATION, &steps, &tables)?;
        // The marker first, then the clock: an attempt that slept in between must not prepare
        // after the sweep.
        let prepared_at = bench.settings.now();
        let namespace = &self.namespace;
        let stage = Stage::Prepared;
        outcome::set(
            connection,
            OPERATION,
            namespace,
            participation,
            stage,
            prepared_at,
        )?;
        self.asked(participation, OPERATION).in_time()?;
        redo::store(connection, OPERATION, namespace, participation, &steps)?;
        let reserve = reservation::reserve;
        reserve(
            connection,
            OPERATION,
            namespace,
            participation,
            &captured,
            &tables,
        )
    }

    /// Keeps the work and notes that it is committed, in the transaction that it ran in.
    fn keep(&self, bench: &Bench<'_>, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "commit_alone";
        if let Some(reason) = bench.guard.take_refused() {
            return Err(error(ErrorKind::Refused, OPERATION, reason));
        }
        let connection = bench.connection;
        end_work(bench, OPERATION, true)?;
        capture::clear(connection, OPERATION)?;
        let now = bench.settings.now();
        let (namespace, stage) = (&self.namespace, Stage::Committed);
        outcome::set(connection, OPERATION, namespace, participation, stage, now)?;
        self.asked(participation, OPERATION).in_time()
    }

    fn clear(
        &self,
        bench: &Bench<'_>,
        operation: &'static str,
        participation: &Participation,
        stage: Stage,
    ) -> Result<()> {
        let (connection, namespace) = (bench.connection, &self.namespace);
        redo::remove(connection, operation, namespace, participation)?;
        reservation::release(connection, operation, namespace, participation)?;
        let now = bench.settings.now();
        outcome::set(connection, operation, namespace, participation, stage, now)
    }

    fn apply_prepared(&self, bench: &Bench<'_>, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "commit_prepared";
        let known = self.known(bench.connection, OPERATION, participation)?;
        match self.asked(participation, OPERATION).commit(known)? {
            Commit::Done => return Ok(()),
            Commit::Apply => {}
        }
        let namespace = &self.namespace;
        redo::apply(bench.connection, OPERATION, namespace, participation)?;
        self.clear(bench, OPERATION, participation, Stage::Committed)
    }

    fn undo_prepared(&self, bench: &Bench<'_>, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "rollback_prepared";
        let known = self.known(bench.connection, OPERATION, participation)?;
        match self.asked(participation, OPERATION).roll_back(known)? {
            RollBack::Done => return Ok(()),
            RollBack::Undo | RollBack::Bury => {}
        }
        self.clear(bench, OPERATION, participation, Stage::RolledBack)
    }

    async fn end_prepared(
        &self,
        operation: &'static str,
        purpose: Purpose,
        participation: &Participation,
        work: fn(&Self, &Bench<'_>, &Participation) -> Result<()>,
    ) -> Result<()> {
        let ticket = self.ticket(operation, purpose, Undo::Savepoint);
        let (store, participation) = (self.clone(), participation.clone());
        self.submit(ticket, move |bench| work(&store, bench, &participation))
            .await
    }
}

impl PreparedTransactions for SqliteStore {
    async fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> Result<BegunPrepared<SqliteTx>> {
        const OPERATION: &str = "begin_prepared";
        let (store, asked) = (self.clone(), participation.clone());
        // What is prepared already is found without waiting for the writer.
        let found = self
            .readers
            .read(OPERATION, move |connection| {
                store.look(connection, OPERATION, &asked)
            })
            .await?;
        if let Some(answer) = found.known() {
            return Ok(answer);
        }
        let ticket = self.ticket(OPERATION, Purpose::Stage, Undo::Own);
        let (store, asked) = (self.clone(), participation.clone());
        let opened = self
            .open_session(
                ticket,
                Intent::Prepare(participation.clone()),
                move |bench| match store.look(bench.connection, OPERATION, &asked)? {
                    Begin::Fresh => {
                        mark_work(bench, OPERATION)?;
                        Ok(Opening::Fresh)
                    }
                    found => Ok(Opening::Answer(found)),
                },
            )
            .await?;
        match opened {
            Ok(tx) => Ok(BegunPrepared::Fresh(tx)),
            Err(found) => (found.known()).ok_or_else(|| refusals::foreign(OPERATION, STORE)),
        }
    }

    async fn prepare(&self, tx: SqliteTx, participation: &Participation) -> Result<()> {
        self.check_home(&tx, "prepare")?;
        if !matches!(&tx.intent, Intent::Prepare(own) if own == participation) {
            return Err(refusals::foreign("prepare", STORE));
        }
        let (store, participation) = (self.clone(), participation.clone());
        tx.finish("prepare", move |bench| store.stage(bench, &participation))
            .await
    }

    async fn commit_alone(&self, tx: SqliteTx, participation: &Participation) -> Result<()> {
        self.check_home(&tx, "commit_alone")?;
        if !matches!(&tx.intent, Intent::Prepare(own) if own == participation) {
            return Err(refusals::foreign("commit_alone", STORE));
        }
        let (store, participation) = (self.clone(), participation.clone());
        tx.finish("commit_alone", move |bench| {
            store.keep(bench, &participation)
        })
        .await
    }

    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        let work = Self::apply_prepared;
        self.end_prepared("commit_prepared", Purpose::Apply, participation, work)
            .await
    }

    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        let work = Self::undo_prepared;
        self.end_prepared("rollback_prepared", Purpose::Write, participation, work)
            .await
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        const OPERATION: &str = "prepared_status";
        let (store, participation) = (self.clone(), participation.clone());
        // One snapshot holds marker and outcome, so no commit can come between the two.
        self.readers
            .read(OPERATION, move |connection| {
                let known = store.known(connection, OPERATION, &participation)?;
                store.asked(&participation, OPERATION).status(known)
            })
            .await
    }

    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        let limit = check_limit(limit, "in_doubt", STORE)?;
        let (store, after) = (self.clone(), after.copied());
        self.readers
            .read("in_doubt", move |connection| {
                store.read_in_doubt(connection, after, limit)
            })
            .await
    }

    async fn forget_prepared(&self, limit: u32) -> Result<u64> {
        const OPERATION: &str = "forget_prepared";
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

/// What is prepared, by its digest. The index is named: without statistics SQLite takes the primary
/// key for as good, and reads all outcomes.
pub(super) const IN_DOUBT: &str = "SELECT tx, terms, not_after, forget_after, prepared_at \
     FROM exactly_once_outcome INDEXED BY exactly_once_outcome_prepared WHERE namespace = ?1 AND \
     state = 'prepared' AND (?2 IS NULL OR tx > ?2) ORDER BY tx LIMIT ?3";

/// What has expired, the oldest first.
pub(super) const FORGET: &str = "DELETE FROM exactly_once_outcome WHERE (namespace, tx) IN (SELECT \
     namespace, tx FROM exactly_once_outcome WHERE namespace = ?1 AND forget_after < ?2 AND \
     state <> 'prepared' ORDER BY forget_after LIMIT ?3)";

impl SqliteStore {
    /// Drops the triggers that guard reserved rows from tables in which nothing is reserved. Says
    /// how many there were; the next prepare that needs them makes them again.
    ///
    /// Do it before a migration of your own that drops or renames a column of a table that has
    /// been part of a two-phase commit: SQLite refuses that while a trigger names the column.
    ///
    /// # Errors
    /// Retryable kinds.
    pub async fn remove_guards(&self) -> Result<u64> {
        const OPERATION: &str = "remove_guards";
        self.write(OPERATION, Undo::Savepoint, None, |bench| {
            reservation::remove_guards(bench.connection, OPERATION)
        })
        .await
    }

    fn read_in_doubt(
        &self,
        connection: &Connection,
        after: Option<TransactionDigest>,
        limit: u32,
    ) -> Result<InDoubtPage> {
        let after = after.map(|digest| *digest.as_bytes());
        let found = connection
            .prepare_cached(IN_DOUBT)
            .and_then(|mut query| {
                query
                    .query_map(
                        params![self.namespace.as_str(), after, i64::from(limit) + 1],
                        read_in_doubt,
                    )?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
            .map_err(statement("in_doubt"))?;
        let now = self.settings.now();
        let more = found.len() > limit as usize;
        let mut entries = Vec::new();
        for (participation, prepared_at) in found.into_iter().take(limit as usize) {
            entries.push(InDoubt {
                participation: participation?,
                prepared_at,
                age: now.since(prepared_at),
            });
        }
        let last = entries.last().filter(|_| more);
        let next = last.map(|entry| *entry.participation.transaction());
        Ok(InDoubtPage { entries, next })
    }
}

fn read_in_doubt(row: &Row<'_>) -> rusqlite::Result<(Result<Participation>, Timestamp)> {
    let prepared_at = Timestamp::from_micros(row.get(4)?);
    Ok((outcome::read_participation(row, 0)?, prepared_at))
}

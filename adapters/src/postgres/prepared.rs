//! Two-phase commit by the server's own prepared transactions.
//!
//! The marker row *committed* is inserted first in the work's transaction, and is visible exactly
//! if that commits; the tombstone is the same row, *rolled back*, and can only be inserted where
//! nothing holds the marker.

use std::time::{Duration, Instant};

use exactly_once_core::{
    BegunPrepared, ErrorKind, InDoubt, InDoubtPage, Participation, PreparedStatus,
    PreparedTransactions, Result, Timestamp, TransactionDigest,
    adapter::{
        check_limit, refusals,
        rules::participants::{Commit, Known, RollBack},
    },
};
use tokio::time::sleep;

use super::{
    PostgresTx, STORE,
    checks::two_phase_off,
    driver::{Driver, DriverError},
    error::{convert, error},
    expiry::Over,
    identifier::DIGEST_CHARS,
    literal,
    outcome::Found,
    session::Session,
    sqlstate::{
        DIVISION_BY_ZERO, DUPLICATE_OBJECT, FEATURE, LOCK_NOT_AVAILABLE, NOT_IN_STATE, PRIVILEGE,
        Stage, UNDEFINED_OBJECT,
    },
    standby::SLOW,
    statements::{NOW, number},
    store::PostgresStore,
    transaction::end_error,
};

/// How often to look again at what is just changing hands.
const ROUNDS: u32 = 50;

/// How often to wait for the lock of an attempt that is in its work.
const WAITS: u32 = 2;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// How COMMIT PREPARED or ROLLBACK PREPARED went.
enum Finished {
    Done {
        /// Whether the wait for a standby may have been cancelled, or there was none.
        unheard: bool,
    },
    /// 42704: committed, rolled back, or never prepared.
    Unknown,
    /// Another session is at it.
    Busy,
}

impl<D: Driver> PostgresStore<D> {
    async fn begin_round(
        &self,
        participation: &Participation,
        waiting: bool,
    ) -> Result<Option<BegunPrepared<PostgresTx<D::Connection>>>> {
        let begun = match self.open_marked(participation, waiting).await {
            Ok(begun) => begun,
            Err(failed) if failed.code() == Some(LOCK_NOT_AVAILABLE) => {
                return self.begin_blocked(participation).await;
            }
            Err(failed) => return Err(convert(failed, BEGIN, Stage::Ours)),
        };
        let marked_at = number(begun.replies.first(), 0).map(Timestamp::from_micros);
        let mut tx = PostgresTx::new(begun.session, begun.identity);
        let Some(now) = marked_at else {
            // A new statement sees what the marker has met, also if that was committed just now.
            let replies = (tx.session().batch(&self.select_known(participation)).await)
                .map_err(|failed| convert(failed, BEGIN, Stage::Ours))?;
            let found = Self::read_known(&replies, BEGIN);
            tx.abandon().await;
            return self.begin_known(&found?, participation);
        };
        // The clock is read after the marker is in: from here on a sweeper's tombstone waits for us,
        // however long we sleep.
        match Self::asked(participation, now, BEGIN).in_time() {
            Ok(()) => Ok(Some(BegunPrepared::Fresh(self.lent(tx, BEGIN).await?))),
            Err(late) => {
                tx.abandon().await;
                Err(late)
            }
        }
    }

    /// The answer to an attempt that does not hold the marker; `None` where it is just changing.
    fn begin_known(
        &self,
        found: &Found,
        participation: &Participation,
    ) -> Result<Option<BegunPrepared<PostgresTx<D::Connection>>>> {
        let known = self.known(found, participation);
        if known == Known::Nothing {
            // Whether it is late shows where the marker is in: another attempt may be preparing just now.
            return Ok(None);
        }
        let begin = Self::asked(participation, found.now, BEGIN).begin(known)?;
        Ok(begin.known())
    }

    /// Another attempt holds the marker: it has prepared meanwhile, or is at it still.
    async fn begin_blocked(
        &self,
        participation: &Participation,
    ) -> Result<Option<BegunPrepared<PostgresTx<D::Connection>>>> {
        let found = self.look_at(participation, BEGIN).await?;
        match self.begin_known(&found, participation)? {
            Some(answer) => Ok(Some(answer)),
            None => Err(refusals::at_work(BEGIN, STORE)),
        }
    }

    /// COMMIT PREPARED and ROLLBACK PREPARED can't stand in a transaction or beside another
    /// statement.
    async fn finish_prepared(
        &self,
        verb: &str,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<Finished> {
        let mut session = self
            .session()
            .await
            .map_err(|failed| convert(failed, operation, Stage::Ours))?;
        let sql = format!("{verb} PREPARED '{}'", self.prefix().gid(participation));
        let started = Instant::now();
        match session.batch(&sql).await {
            Ok(_) => {
                session.release();
                let unheard = self.server().commits_unheard || started.elapsed() >= SLOW;
                Ok(Finished::Done { unheard })
            }
            Err(failed) => Self::finish_failed(session, failed, verb, operation),
        }
    }

    fn finish_failed(
        session: Session<D::Connection>,
        failed: DriverError,
        verb: &str,
        operation: &'static str,
    ) -> Result<Finished> {
        match failed.code() {
            Some(UNDEFINED_OBJECT) => {
                session.release();
                Ok(Finished::Unknown)
            }
            Some(NOT_IN_STATE) => {
                session.release();
                Ok(Finished::Busy)
            }
            // Within a transaction that was left on the pool's connection: not ours, so the
            // connection is closed by dropping the session, and another one is taken.
            Some("25001" | "25P02") => Ok(Finished::Busy),
            Some(PRIVILEGE | FEATURE) => Err(error(
                ErrorKind::Configuration,
                operation,
                format!(
                    "only the role that prepared a transaction, or a superuser, may send {verb} \
                     PREPARED, from the same database: connect as that role (SELECT owner, \
                     database FROM pg_prepared_xacts), or GRANT it"
                ),
            )
            .with_hidden_source(
                failed
                    .source
                    .unwrap_or_else(|| "no more is known".to_owned().into()),
            )),
            _ => Err(convert(failed, operation, Stage::Durable)),
        }
    }

    /// Inserts the tombstone, if nothing holds the marker. Says what is known afterwards, and whether
    /// it is this call's, which has waited for it; `None` where the marker is held.
    async fn bury(&self, participation: &Participation) -> Result<Option<(Found, bool)>> {
        let sql = format!(
            "INSERT INTO {} (namespace, transaction, terms, not_after, forget_after, \
             committed) VALUES ({}, false) ON CONFLICT DO NOTHING; {}",
            self.tables().outcomes,
            self.participation_values(participation),
            self.select_known(participation),
        );
        match self.try_transact(&sql).await {
            Ok(replies) => {
                let inserted = replies.first().is_some_and(|reply| reply.affected == 1);
                let found = Self::read_known(replies.get(1..).unwrap_or_default(), ROLLBACK)?;
                Ok(Some((found, inserted)))
            }
            Err(failed) if failed.code() == Some(LOCK_NOT_AVAILABLE) => Ok(None),
            Err(failed) => Err(convert(failed, ROLLBACK, Stage::Durable)),
        }
    }

    /// What went wrong at PREPARE, or at a commit in one phase. Whatever it was, nothing is left of the transaction.
    pub(super) async fn prepare_failed(
        &self,
        failed: DriverError,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        match failed.code() {
            Some(DIVISION_BY_ZERO) => {
                let found = self.look_at(participation, operation).await?;
                let known = self.known(&found, participation);
                let asked = Self::asked(participation, found.now, operation);
                // It is none of ours, or late, or the work has ended its transaction.
                asked.status(known)?;
                asked.in_time()?;
                Err(end_error(failed, operation))
            }
            // Our own identifier, by an attempt whose marker came before ours: it can't be.
            Some(DUPLICATE_OBJECT) => Err(error(
                ErrorKind::Busy,
                operation,
                "the identifier is in use; rolled back",
            )),
            Some(NOT_IN_STATE) => Err(two_phase_off(operation)),
            Some("53200") => Err(error(
                ErrorKind::Busy,
                operation,
                "no slot for a prepared transaction is free; rolled back. If that lasts, finish \
                 what is in doubt or raise max_prepared_transactions",
            )),
            _ => Err(convert(failed, operation, Stage::Durable)),
        }
    }
}

const BEGIN: &str = "begin_prepared";
const PREPARE: &str = "prepare";
const ALONE: &str = "commit_alone";
const COMMIT: &str = "commit_prepared";
const ROLLBACK: &str = "rollback_prepared";

impl<D: Driver> PreparedTransactions for PostgresStore<D> {
    async fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> Result<BegunPrepared<Self::Tx>> {
        let mut begun = self.begin_round(participation, false).await?;
        for round in 0..ROUNDS {
            if begun.is_some() {
                break;
            }
            if round > 0 {
                sleep(PAUSE).await;
            }
            begun = self.begin_round(participation, true).await?;
        }
        match begun {
            Some(BegunPrepared::Fresh(tx)) => Ok(BegunPrepared::Fresh(tx)),
            // A vote, which the others will rely on.
            Some(known) => self.await_standbys(BEGIN).await.map(|()| known),
            None => Err(error(ErrorKind::Busy, BEGIN, "its state keeps changing")),
        }
    }

    async fn prepare(&self, tx: Self::Tx, participation: &Participation) -> Result<()> {
        let tx = self.at_home(tx, PREPARE).await?;
        let sql = format!(
            "{}PREPARE TRANSACTION '{}'",
            self.guard(tx.identity(), participation),
            self.prefix().gid(participation),
        );
        match tx.end(&sql).await {
            Ok(()) => Ok(()),
            Err(failed) => self.prepare_failed(failed, participation, PREPARE).await,
        }
    }

    async fn commit_alone(&self, tx: Self::Tx, participation: &Participation) -> Result<()> {
        let tx = self.at_home(tx, ALONE).await?;
        let guard = self.guard(tx.identity(), participation);
        match tx.end(&format!("{guard}COMMIT")).await {
            Ok(()) => Ok(()),
            Err(failed) => self.prepare_failed(failed, participation, ALONE).await,
        }
    }

    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        for _ in 0..ROUNDS {
            match self
                .finish_prepared("COMMIT", participation, COMMIT)
                .await?
            {
                Finished::Done { unheard: false } => return Ok(()),
                Finished::Done { unheard: true } => return self.await_standbys(COMMIT).await,
                Finished::Busy => sleep(PAUSE).await,
                Finished::Unknown => {
                    let found = self.look_at(participation, COMMIT).await?;
                    let known = self.known(&found, participation);
                    match Self::asked(participation, found.now, COMMIT).commit(known)? {
                        Commit::Done => return self.await_standbys(COMMIT).await,
                        // Prepared just now, by a late attempt.
                        Commit::Apply => {}
                    }
                }
            }
        }
        Err(error(
            ErrorKind::Busy,
            COMMIT,
            "another session is finishing it",
        ))
    }

    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        let mut found = self.look_at(participation, ROLLBACK).await?;
        let (mut waited, mut ended, mut buried) = (0, false, false);
        for _ in 0..ROUNDS {
            let known = self.known(&found, participation);
            let to_do = Self::asked(participation, found.now, ROLLBACK).roll_back(known);
            match to_do {
                Ok(RollBack::Done) if buried => return Ok(()),
                // By a call whose wait may have been cut short.
                Ok(RollBack::Done) => return self.await_standbys(ROLLBACK).await,
                // No tombstone is due any more, but what was prepared is gone by this call.
                Err(refusal) if ended && refusal.kind() == ErrorKind::Forgotten => return Ok(()),
                Err(refusal) => return Err(refusal),
                Ok(RollBack::Bury) => match self.bury(participation).await? {
                    Some(after) => (found, buried) = after,
                    // An attempt holds the marker, in its work or prepared by now.
                    None if waited < WAITS => {
                        waited += 1;
                        found = self.look_at(participation, ROLLBACK).await?;
                    }
                    None => break,
                },
                Ok(RollBack::Undo) => {
                    if let Finished::Busy = self
                        .finish_prepared("ROLLBACK", participation, ROLLBACK)
                        .await?
                    {
                        sleep(PAUSE).await;
                    } else {
                        ended = true;
                    }
                    found = self.look_at(participation, ROLLBACK).await?;
                }
            }
        }
        Err(error(
            ErrorKind::Busy,
            ROLLBACK,
            "an attempt still holds the marker: again, and it ends with its idle timeout",
        ))
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        const STATUS: &str = "prepared_status";
        let found = self.look_at(participation, STATUS).await?;
        let known = self.known(&found, participation);
        let status = Self::asked(participation, found.now, STATUS).status(known)?;
        if !matches!(status, PreparedStatus::None | PreparedStatus::Forgotten) {
            self.await_standbys(STATUS).await?;
        }
        Ok(status)
    }

    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        let limit = check_limit(limit, "in_doubt", STORE)?;
        let prefix = self.prefix().as_str();
        let digest = format!(
            "pg_catalog.substr(gid, {}, {DIGEST_CHARS}) COLLATE \"C\"",
            prefix.len() + 1
        );
        let after = after.map_or_else(String::new, |after| {
            format!(" AND {digest} > '{}'", literal::hex(after.as_bytes()))
        });
        let sql = format!(
            "SELECT gid, (extract(epoch FROM prepared) * 1000000)::int8, {NOW} {}{after} \
             ORDER BY gid COLLATE \"C\" LIMIT {}",
            Self::prepared_with_prefix(prefix),
            u64::from(limit) + 1,
        );
        let replies = self.read("in_doubt", &sql).await?;
        let rows = replies.first().map_or(&[][..], |reply| &reply.rows);
        let more = rows.len() > limit as usize;
        // What only begins as ours do was prepared by another program, which has to end it.
        let entries: Vec<InDoubt> = rows
            .iter()
            .take(limit as usize)
            .filter_map(|row| self.entry(row))
            .collect();
        let next = entries
            .last()
            .filter(|_| more)
            .map(|entry| *entry.participation.transaction());
        Ok(InDoubtPage { entries, next })
    }

    async fn forget_prepared(&self, limit: u32) -> Result<u64> {
        let limit = check_limit(limit, "forget_prepared", STORE)?;
        // The marker of what is prepared can't be seen, so it is never removed.
        let over = Over {
            table: &self.tables().outcomes,
            moment: "forget_after",
            is: "<",
            and: "true",
        };
        self.remove_over("forget_prepared", &over, limit).await
    }
}

impl<D: Driver> PostgresStore<D> {
    fn entry(&self, row: &[Option<String>]) -> Option<InDoubt> {
        let moment = |column: usize| -> Option<Timestamp> {
            let micros = row.get(column)?.as_deref()?.parse().ok()?;
            Some(Timestamp::from_micros(micros))
        };
        let prepared_at = moment(1)?;
        Some(InDoubt {
            participation: self.prefix().parse(row.first()?.as_deref()?)?,
            prepared_at,
            age: moment(2)?.since(prepared_at),
        })
    }
}

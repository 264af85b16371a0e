//! Effects that are known up front. A look at the key, so that a replay writes nothing; then claim,
//! statements, receipt and commit in one message.

use std::{borrow::Cow, fmt::Write as _};

use exactly_once_core::{
    Claimed, ErrorKind, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Outcome, Ran,
    Receipt, Result, Rows, Settled, Statement, StatementTransaction, Value,
    adapter::{check_statements, refusals, refused_up_front, settle_one_shot},
};

use super::{
    PostgresTx, STORE,
    driver::{Cause, Driver, DriverError},
    error::{convert, error, garbled},
    group::{self, Verdict},
    key_row::{RETRY_AFTER, Seen},
    literal, returned,
    rivals::Rival,
    session::{Unusable, standby, unusable},
    sql_text::SqlText,
    sqlstate::{DIVISION_BY_ZERO, Stage, surely_nothing},
    statements,
    store::{PostgresStore, REPLACEMENTS},
    transaction::CLEAN,
};

const ONE_SHOT: &str = "execute_one_shot";

/// The name of the user's prepared statement, within one message.
const NAME: &str = "exactly_once_one_shot";

/// A prepared statement outlives its transaction.
const FORGET_NAME: &str = "DEALLOCATE exactly_once_one_shot";

/// Before anything is done: what the server would refuse, and what would reach beyond its statement.
fn refuse(statement: &Statement, escapes: bool) -> Option<String> {
    let nul = |value: &Value| matches!(value, Value::Text(text) if text.contains('\0'));
    if statement.text().contains('\0') || statement.parameters().iter().any(nul) {
        return Some("holds a NUL byte in text; bind it as bytes".to_owned());
    }
    if statement.is_set() && !group::inserts(statement.text()) {
        return Some("is for a whole set of callers, and is no INSERT".to_owned());
    }
    match SqlText::read(statement.text(), escapes) {
        Ok(text) => text.refuse(statement.parameters().len()),
        Err(open) => Some(open.to_owned()),
    }
}

/// A user's statement as SQL, ended with a semicolon. The server infers the types of the parameters,
/// as it does in a prepared statement of a driver. A line break ends a comment at the text's end.
fn append(sql: &mut String, statement: &Statement, escapes: bool) {
    let text = match statement.returns() {
        Some(limits) => Cow::from(returned::as_json(statement, limits, escapes)),
        None => Cow::from(statement.text()),
    };
    if statement.parameters().is_empty() {
        let _ = write!(sql, "{text}\n; ");
        return;
    }
    let _ = write!(
        sql,
        "PREPARE {NAME} AS {text}\n; EXECUTE {NAME}({}); DEALLOCATE {NAME}; ",
        group::values(statement).join(", ")
    );
}

fn done(outcome: Outcome, replayed: bool) -> OneShotDone {
    OneShotDone { outcome, replayed }
}

/// The answer that a key's row gives; `None` if the key may be taken.
fn answer(seen: Seen, effect: &OneShot) -> Result<Option<OneShotDone>> {
    let known = seen.standing(&effect.claim).outcome(ONE_SHOT, STORE)?;
    Ok(known.map(|outcome| done(outcome, true)))
}

impl<D: Driver> PostgresStore<D> {
    /// Refuses statements that can't be part of an effect.
    pub(super) fn check_statements(
        &self,
        statements: &[Statement],
        operation: &'static str,
    ) -> Result<()> {
        check_statements(statements, operation, STORE)?;
        for (at, statement) in (1..).zip(statements) {
            if let Some(reason) = refuse(statement, self.server().escapes) {
                let message = format!("statement {at} {reason}");
                return Err(error(ErrorKind::Invalid, operation, message));
            }
        }
        Ok(())
    }

    /// What is known of the key already, without writing anything; `None` if it is free.
    async fn one_shot_known(&self, effect: &OneShot) -> Result<Option<OneShotDone>> {
        let select = self.select_key(effect.claim.key());
        let replies = self.read(ONE_SHOT, &select).await?;
        match Seen::read(replies.first(), ONE_SHOT)? {
            Some(row) => answer(row, effect),
            None => Ok(None),
        }
    }

    /// The user's statements one by one. After an error the transaction can't be committed; nor where
    /// the call is dropped half way.
    pub(super) async fn apply_in(
        &self,
        tx: &mut PostgresTx<D::Connection>,
        statements: &[Statement],
        operation: &'static str,
    ) -> Result<Vec<Ran>> {
        tx.session().leaves(Some(FORGET_NAME));
        let before = tx.mark_rollback_only();
        let ran = self.apply_each(tx, statements, operation).await?;
        tx.clear_rollback_only(before);
        tx.session().leaves(None);
        Ok(ran)
    }

    async fn apply_each(
        &self,
        tx: &mut PostgresTx<D::Connection>,
        statements: &[Statement],
        operation: &'static str,
    ) -> Result<Vec<Ran>> {
        let mut all = Vec::with_capacity(statements.len());
        for (at, statement) in (1..).zip(statements) {
            if statement.returns().is_some() && returned::has_none(statement, self.server().escapes)
            {
                return Err(refusals::returns_nothing(at, operation, STORE));
            }
            let mut sql = String::new();
            append(&mut sql, statement, self.server().escapes);
            let replies = tx
                .session()
                .batch(&sql)
                .await
                .map_err(|failed| convert(failed, operation, Stage::Before))?;
            // PREPARE, EXECUTE, DEALLOCATE; or the statement alone.
            let of_interest = usize::from(!statement.parameters().is_empty());
            let reply = replies.get(of_interest).ok_or_else(|| garbled(operation))?;
            let ran = match statement.returns() {
                Some(limits) => returned::read(reply, at, limits, operation)?,
                None => Ran::changed(reply.affected),
            };
            if let Some(expected) = statement.expected_rows()
                && ran.changed != expected
            {
                let changed = ran.changed;
                return Err(refusals::rows(at, changed, expected, operation, STORE));
            }
            all.push(ran);
        }
        Ok(all)
    }

    /// The receipt with the rows of the statements that return some.
    fn receipt_with(&self, effect: &OneShot, ran: Vec<Ran>) -> Result<Receipt> {
        let returning = ran.into_iter().zip(&effect.statements);
        let rows: Vec<Rows> = returning
            .filter(|(_, statement)| statement.returns().is_some())
            .map(|(ran, _)| ran.rows)
            .collect();
        effect.receipt_with(&rows, self.max_receipt_bytes(), ONE_SHOT, STORE)
    }

    /// In three messages or more, each answer looked at.
    async fn one_shot_slowly(&self, effect: &OneShot) -> Result<OneShotDone> {
        let mut tx = match self.claim_now(&effect.claim).await? {
            Claimed::Fresh(tx) => tx,
            Claimed::Completed(outcome) => return Ok(done(outcome, true)),
            Claimed::InProgress { retry_after } => {
                return Err(refusals::in_progress(retry_after, ONE_SHOT, STORE));
            }
            Claimed::Mismatch => return Err(refusals::mismatch(ONE_SHOT, STORE)),
        };
        let applied = self.apply_in(&mut tx, &effect.statements, ONE_SHOT).await;
        let receipt = match applied.and_then(|ran| self.receipt_with(effect, ran)) {
            Ok(receipt) => receipt,
            Err(refused) => {
                tx.abandon().await;
                return Err(refused);
            }
        };
        match self.complete(tx, &effect.claim, &receipt).await? {
            Settled::Recorded => Ok(done(Outcome::Applied(receipt), false)),
            Settled::Superseded(outcome) => Ok(done(outcome, true)),
        }
    }

    /// In one message, for statements whose rows are not counted. The first failure ends it, before
    /// the commit: also where the key is taken, which divides by zero.
    async fn one_shot_at_once(&self, effect: &OneShot) -> Result<OneShotDone, DriverError> {
        let outcome = Outcome::Applied(effect.receipt.clone());
        let sql = statements::transact(self.preamble(), &self.one_shot_sql(effect, &outcome));
        // BEGIN and the settings, the lock, the claim, the statements, the outcome, COMMIT.
        let of = |statement: &Statement| {
            if statement.parameters().is_empty() {
                1
            } else {
                3
            }
        };
        let statements: usize = effect.statements.iter().map(of).sum();
        let ending = statements::PREAMBLE_REPLIES + 2 + statements + 2;
        let mut last = DriverError::bare(Cause::Exhausted);
        for _ in 0..REPLACEMENTS {
            let mut session = self.session().await?;
            session.leaves(Some(FORGET_NAME));
            let failed = match session.batch(&format!("{sql}; {CLEAN}")).await {
                Ok(_) => {
                    session.release();
                    return Ok(done(outcome, false));
                }
                // It is committed; the connection is closed with the session.
                Err(failed) if failed.after >= ending => return Ok(done(outcome, false)),
                Err(failed) => failed,
            };
            match unusable(&failed, statements::PREAMBLE_REPLIES, DIVISION_BY_ZERO) {
                Some(Unusable::Standby) => return Err(standby(failed)),
                // Closed, with the session.
                Some(Unusable::Left | Unusable::Dead) => last = failed,
                None => {
                    if failed.code().is_some() {
                        // Failing that, the session closes its connection.
                        let _ = session.roll_back_and(CLEAN).await;
                    }
                    return Err(failed);
                }
            }
        }
        Err(last)
    }

    fn one_shot_sql(&self, effect: &OneShot, outcome: &Outcome) -> String {
        let claim = &effect.claim;
        let mut sql = format!(
            "SELECT pg_catalog.pg_advisory_xact_lock_shared({lock}); \
             WITH mine AS (INSERT INTO {keys} (namespace, key, fingerprint) \
             VALUES ({namespace}, {key}, {print}) ON CONFLICT DO NOTHING RETURNING 1) \
             SELECT 1 / pg_catalog.count(*) FROM mine; ",
            lock = literal::int(self.claim_lock(claim)),
            keys = self.tables().keys,
            namespace = self.namespace_sql(),
            key = literal::bytes(claim.key().as_str().as_bytes()),
            print = literal::bytes(claim.fingerprint().as_bytes()),
        );
        for statement in &effect.statements {
            append(&mut sql, statement, self.server().escapes);
        }
        sql.push_str(&self.settle_sql(claim, outcome, "true"));
        sql
    }
}

impl<D: Driver> PostgresStore<D> {
    /// With others who come now; `None` where the careful path must be taken.
    async fn one_shot_together(&self, effect: &OneShot) -> Result<Option<OneShotDone>> {
        if self.replays_expected() {
            let known = match self.look(&effect.claim, ONE_SHOT).await? {
                Some(row) => answer(row, effect)?,
                None => None,
            };
            if known.is_some() {
                self.key_was(true);
                return Ok(known);
            }
        }
        match self.shoot_together(effect).await {
            Verdict::Applied(rows) => {
                let receipt = rows.unwrap_or_else(|| effect.receipt.clone());
                Ok(Some(done(Outcome::Applied(receipt), false)))
            }
            Verdict::Replayed(outcome) => Ok(Some(done(outcome, true))),
            Verdict::Known(row) => answer(row, effect),
            Verdict::Failed(failed) => Err(convert(failed, ONE_SHOT, Stage::Durable)),
            Verdict::Alone => Ok(None),
        }
    }

    async fn attempt_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        if self.shares_commits()
            && !self.has_rivals(&effect.claim)
            && let Some(done) = self.one_shot_together(effect).await?
        {
            return Ok(done);
        }
        self.one_shot_alone(effect).await
    }

    /// On a connection of its own.
    async fn one_shot_alone(&self, effect: &OneShot) -> Result<OneShotDone> {
        let _turn = match self.turn(&effect.claim).await {
            Ok(turn) => turn,
            Err(Rival::OfAnotherRequest) => return Err(refusals::mismatch(ONE_SHOT, STORE)),
            Err(Rival::OfThisRequest) => {
                // It may be done by now, and many wait for their turn.
                let known = match self.look(&effect.claim, ONE_SHOT).await? {
                    Some(row) => answer(row, effect)?,
                    None => None,
                };
                if let Some(known) = known {
                    return Ok(known);
                }
                return Err(refusals::in_progress(RETRY_AFTER, ONE_SHOT, STORE));
            }
        };
        if let Some(known) = self.one_shot_known(effect).await? {
            return Ok(known);
        }
        // What is counted or returned is looked at before the commit.
        let counted = |one: &Statement| one.expected_rows().is_some() || one.returns().is_some();
        if effect.statements.iter().any(counted) || self.server().set_at_connect {
            return self.one_shot_slowly(effect).await;
        }
        match self.one_shot_at_once(effect).await {
            Ok(done) => Ok(done),
            // Nothing is stored, and no connection is left with the name. Whose fault it was, one by one will tell.
            Err(failed) if failed.code().is_some_and(surely_nothing) => {
                self.one_shot_slowly(effect).await
            }
            Err(failed) => Err(convert(failed, ONE_SHOT, Stage::Durable)),
        }
    }
}

impl<D: Driver> OneShotStore for PostgresStore<D> {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        let limit = self.max_receipt_bytes();
        let fits = self
            .check_statements(&effect.statements, ONE_SHOT)
            .and_then(|()| effect.check(limit, ONE_SHOT, STORE));
        if let Err(refusal) = fits {
            return refused_up_front(self, ONE_SHOT, &effect.claim, refusal).await;
        }
        self.within(ONE_SHOT, ErrorKind::Ambiguous, async {
            let answer = self.attempt_one_shot(effect).await;
            if answer.as_ref().is_ok_and(|done| done.replayed) {
                self.vouch(ONE_SHOT).await?;
            }
            settle_one_shot(self, ONE_SHOT, &effect.claim, answer).await
        })
        .await
    }
}

impl<D: Driver> StatementTransaction for PostgresStore<D> {
    async fn run_in(
        &self,
        tx: &mut PostgresTx<D::Connection>,
        statement: &Statement,
    ) -> Result<Ran> {
        const OPERATION: &str = "run_in";
        let statements = std::slice::from_ref(statement);
        self.check_home(tx, OPERATION)?;
        self.check_statements(statements, OPERATION)?;
        let ran = self.apply_in(tx, statements, OPERATION).await?;
        ran.into_iter().next().ok_or_else(|| garbled(OPERATION))
    }
}

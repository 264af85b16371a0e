//! Mutants of participants whose work is known up front.

use std::sync::{Arc, Mutex};

use exactly_once::{
    BegunPrepared, Error, ErrorKind, Fingerprint, OneShotParticipant, Participation,
    PreparedOneShot, PreparedTransactions, Result, Statement, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

fn killed<P: Patch>(cases: &[&str]) {
    for case in cases {
        assert_killed::<P>(&format!("prepared_one_shot::{case}"));
    }
}

/// A mutant of both calls: `$change` makes other arguments of theirs, or other answers.
macro_rules! mutant {
    ($(#[$doc:meta])* $name:ident($store:ident, $work:ident, $statements:ident, $call:ident) $body:block) => {
        $(#[$doc])*
        #[derive(Clone, Default)]
        struct $name;

        impl Patch for $name {
            async fn prepare_one_shot(
                &self,
                $store: &MemoryStore,
                $work: &Participation,
                $statements: &[Statement],
            ) -> Result<PreparedOneShot> {
                let $call = async |work: &Participation, statements: &[Statement]| {
                    $store.prepare_one_shot(work, statements).await
                };
                $body
            }

            async fn commit_alone_one_shot(
                &self,
                $store: &MemoryStore,
                $work: &Participation,
                $statements: &[Statement],
            ) -> Result<PreparedOneShot> {
                let $call = async |work: &Participation, statements: &[Statement]| {
                    $store.commit_alone_one_shot(work, statements).await
                };
                $body
            }
        }
    };
}

/// Commits at once instead of preparing.
#[derive(Clone, Default)]
struct CommitsAtOnce;

impl Patch for CommitsAtOnce {
    async fn prepare_one_shot(
        &self,
        right: &MemoryStore,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        right.commit_alone_one_shot(work, statements).await
    }
}

#[test]
fn committed_instead_of_prepared() {
    killed::<CommitsAtOnce>(&[
        "basic::t68_prepares_in_one_call",
        "together::t89_all_or_none",
    ]);
}

/// Prepares, and takes that for a commit.
#[derive(Clone, Default)]
struct OnlyPrepares;

impl Patch for OnlyPrepares {
    async fn commit_alone_one_shot(
        &self,
        right: &MemoryStore,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        right.prepare_one_shot(work, statements).await
    }
}

#[test]
fn prepared_instead_of_committed() {
    killed::<OnlyPrepares>(&["basic::t69_commits_in_one_call"]);
}

mutant! {
    /// Takes what it finds for its own doing.
    TakesForOwn(right, work, statements, call) {
        call(work, statements).await.map(|_| PreparedOneShot::Done)
    }
}

#[test]
fn found_and_taken_for_its_own() {
    killed::<TakesForOwn>(&["basic::t68_prepares_in_one_call", "basic::t72_racers"]);
}

mutant! {
    /// Runs the first statement only.
    FirstOnly(right, work, statements, call) {
        call(work, statements.get(..1).unwrap_or_default()).await
    }
}

#[test]
fn the_first_statement_only() {
    killed::<FirstOnly>(&["basic::t70_any_number_of_statements"]);
}

/// The same transaction, changed.
fn changed(
    work: &Participation,
    fingerprint: Fingerprint,
    later: std::time::Duration,
) -> Result<Participation> {
    let far = |moment: exactly_once::Timestamp| moment.checked_add(later).unwrap_or(moment);
    let changed = Participation::from_digest(
        *work.transaction(),
        fingerprint,
        far(work.not_after()),
        far(work.forget_after()),
    )?;
    Ok(changed.entitled(*work.register(), work.participants().clone()))
}

mutant! {
    /// Marks its transactions in a place of its own.
    OtherMarker(right, work, statements, call) {
        let mut bytes = *work.transaction().as_bytes();
        bytes[0] ^= 1;
        let other = Participation::from_terms(
        exactly_once::TransactionDigest::from_bytes(bytes),
        &work.terms(),
            work.not_after(),
            work.forget_after(),
        )?;
        call(&other, statements).await
    }
}

#[test]
fn marked_in_another_way_than_by_steps() {
    killed::<OtherMarker>(&[
        "basic::t71_mixed_with_steps",
        "basic::t73_races_with_a_rollback",
        "refusals::t77_too_late",
    ]);
}

mutant! {
    /// Never counts rows.
    NotCounted(right, work, statements, call) {
        let uncounted: Vec<_> = statements
            .iter()
            .map(|statement| {
                let plain = Statement::new(statement.text());
                statement.parameters().iter().fold(plain, |plain, value| match value {
                    exactly_once::Value::Text(text) => plain.bind(text.as_str()),
                    _ => plain,
                })
            })
            .collect();
        call(work, &uncounted).await
    }
}

#[test]
fn rows_that_nobody_counts() {
    killed::<NotCounted>(&["refusals::t75_expected_rows"]);
}

mutant! {
    /// Leaves out what is refused, and prepares the rest.
    LeavesOut(right, work, statements, call) {
        let known = ["put", "append", "add", "delete"];
        let good: Vec<_> = statements
            .iter()
            .filter(|statement| known.contains(&statement.text()))
            .cloned()
            .collect();
        call(work, &good).await
    }
}

#[test]
fn a_refused_statement_is_left_out() {
    killed::<LeavesOut>(&[
        "refusals::t74_refused_statement",
        "together::t89_all_or_none",
    ]);
}

mutant! {
    /// Answers a mismatch by what is there.
    AnyRequest(right, work, statements, call) {
        match call(work, statements).await {
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                Ok(PreparedOneShot::AlreadyPrepared)
            }
            answer => answer,
        }
    }
}

#[test]
fn the_request_is_not_compared() {
    killed::<AnyRequest>(&["refusals::t76_mismatch"]);
}

mutant! {
    /// Looks at no deadline: begins as if there were an hour more.
    NoDeadline(right, work, statements, call) {
        let hour = std::time::Duration::from_secs(3_600);
        call(&changed(work, *work.fingerprint(), hour)?, statements).await
    }
}

#[test]
fn the_deadline_is_not_looked_at() {
    killed::<NoDeadline>(&["refusals::t77_too_late"]);
}

mutant! {
    /// Gives a vote that the deadline has undone.
    VotesLate(right, work, statements, call) {
        match call(work, statements).await {
            Err(error) if error.kind() == ErrorKind::RolledBack => Ok(PreparedOneShot::Done),
            answer => answer,
        }
    }
}

#[test]
fn a_vote_past_the_deadline() {
    killed::<VotesLate>(&["refusals::t77_too_late", "refusals::t78_at_the_deadline"]);
}

mutant! {
    /// Takes what is prepared already for a refusal.
    RefusesFound(right, work, statements, call) {
        match call(work, statements).await? {
            PreparedOneShot::AlreadyPrepared => {
                Err(Error::new(ErrorKind::RolledBack, "prepare_one_shot", "mutant"))
            }
            answer => Ok(answer),
        }
    }
}

#[test]
fn a_vote_of_an_earlier_attempt_is_refused() {
    killed::<RefusesFound>(&["together::t90_goes_on_where_it_stands"]);
}

/// Applies statements in a transaction of its own.
#[derive(Clone, Default)]
struct AnotherConnection;

impl Patch for AnotherConnection {
    async fn apply(
        &self,
        right: &MemoryStore,
        _: &mut MemoryTx,
        statements: &[Statement],
    ) -> Result<()> {
        let mut own = right.begin().await?;
        right.apply(&mut own, statements).await?;
        right.commit(own).await
    }
}

#[test]
fn applied_by_another_connection() {
    killed::<AnotherConnection>(&["apply::t79_part_of_the_transaction"]);
}

/// Keeps the statements before the refused one in the transaction.
#[derive(Clone, Default)]
struct KeepsTheOthers;

impl Patch for KeepsTheOthers {
    async fn apply(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        statements: &[Statement],
    ) -> Result<()> {
        let mut alone = right.begin().await?;
        let answer = right.apply(&mut alone, statements).await;
        if answer.is_err() {
            right
                .apply(tx, statements.get(..1).unwrap_or_default())
                .await?;
            return answer;
        }
        right.apply(tx, statements).await
    }
}

#[test]
fn half_of_refused_statements_stays() {
    killed::<KeepsTheOthers>(&["apply::t86_swallowed_refusal"]);
}

/// Keeps the transaction of a call that was dropped.
#[derive(Clone, Default)]
struct KeptOpen(Arc<Mutex<Vec<MemoryTx>>>);

impl Patch for KeptOpen {
    async fn prepare_one_shot(
        &self,
        right: &MemoryStore,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        let mut tx = match right.begin_prepared(work).await? {
            BegunPrepared::Fresh(tx) => tx,
            BegunPrepared::AlreadyPrepared => return Ok(PreparedOneShot::AlreadyPrepared),
            BegunPrepared::AlreadyCommitted => return Ok(PreparedOneShot::AlreadyCommitted),
        };
        right.apply(&mut tx, statements).await?;
        self.0.lock().unwrap().push(tx);
        tokio::task::yield_now().await;
        let tx = self.0.lock().unwrap().pop().unwrap();
        right.prepare(tx, work).await?;
        Ok(PreparedOneShot::Done)
    }
}

#[test]
fn a_dropped_call_leaves_its_transaction_open() {
    killed::<KeptOpen>(&["crash::t87_dropped_at_every_poll"]);
}

/// One refused statement fails another caller as well, as in a group without savepoints.
#[derive(Clone, Default)]
struct FailsTogether(Arc<Mutex<bool>>);

impl Patch for FailsTogether {
    async fn prepare_one_shot(
        &self,
        right: &MemoryStore,
        work: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        let answer = right.prepare_one_shot(work, statements).await;
        if answer.is_err() {
            *self.0.lock().unwrap() = true;
            return answer;
        }
        // Long enough for the member that fails to be in the group, in whatever order they come.
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        if std::mem::take(&mut *self.0.lock().unwrap()) {
            return Err(Error::new(ErrorKind::Refused, "prepare_one_shot", "mutant"));
        }
        answer
    }
}

#[test]
fn a_group_of_participants_fails_together() {
    killed::<FailsTogether>(&["refusals::t91_each_fails_alone"]);
}

/// Applies one statement after the other, and forgets that it was dropped in between.
#[derive(Clone, Default)]
struct GivesUpHalfWay;

impl Patch for GivesUpHalfWay {
    async fn apply(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        statements: &[Statement],
    ) -> Result<()> {
        for statement in statements {
            right.apply(tx, std::slice::from_ref(statement)).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[test]
fn half_of_dropped_statements_stays() {
    killed::<GivesUpHalfWay>(&["apply::t92_given_up_half_way"]);
}

//! Mutants of effects that return rows.

use exactly_once::{
    ErrorKind, IdempotencyStore, OneShot, OneShotDone, OneShotStore, Outcome, Ran, Receipt, Result,
    Returned, Returning, Rows, Statement, StatementTransaction, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

fn applied(done: OneShotDone, receipt: Receipt) -> OneShotDone {
    OneShotDone {
        outcome: Outcome::Applied(receipt),
        ..done
    }
}

/// The statements once more, with other limits and without what they must change.
fn with_limits(effect: &OneShot, limits: Returning) -> OneShot {
    let statements = effect.statements.iter().map(|one| match one.returns() {
        Some(_) => one.clone().returning(limits),
        None => one.clone(),
    });
    OneShot {
        statements: statements.collect(),
        ..effect.clone()
    }
}

/// Reads the rows again at each call.
#[derive(Clone, Default)]
struct ReadAgain;

impl Patch for ReadAgain {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        let Some(row) = effect
            .statements
            .iter()
            .rev()
            .find(|one| one.returns().is_some())
        else {
            return Ok(done);
        };
        let mut tx = right.begin().await?;
        let read = row.parameters().first().cloned().map(|id| {
            Statement::new("get")
                .bind(id)
                .returning(Returning::default())
        });
        let rows = match read {
            Some(read) => right.run_in(&mut tx, &read).await?.rows,
            None => Rows::none(),
        };
        let receipt = Returned::receipt(&effect.receipt, [&rows])?;
        Ok(applied(done, receipt))
    }
}

#[test]
fn rows_read_again_at_each_call() {
    assert_killed::<ReadAgain>("one_shot::rows::q01_replayed_after_later_changes");
}

/// A replay has no rows.
#[derive(Clone, Default)]
struct ForgetsRows;

impl Patch for ForgetsRows {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        if !done.replayed || !effect.returns_rows() {
            return Ok(done);
        }
        let receipt = Returned::receipt(&effect.receipt, [&Rows::none()])?;
        Ok(applied(done, receipt))
    }
}

#[test]
fn rows_forgotten_after_the_first_answer() {
    assert_killed::<ForgetsRows>("one_shot::rows::q01_replayed_after_later_changes");
    assert_killed::<ForgetsRows>("one_shot::rows_shared::q06_racers_get_the_same_rows");
}

/// Commits the effect, and its rows a moment later.
#[derive(Clone, Default)]
struct RowsLater;

impl Patch for RowsLater {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let known = right.lookup(effect.claim.key()).await?;
        let (None, [row]) = (known, effect.statements.as_slice()) else {
            return right.execute_one_shot(effect).await;
        };
        let bound = row.parameters().iter().cloned();
        let plain = bound.fold(Statement::new(row.text()), Statement::bind);
        let first = OneShot {
            claim: effect.claim.clone(),
            statements: vec![plain],
            receipt: Returned::receipt(&effect.receipt, [&Rows::none()])?,
        };
        let done = right.execute_one_shot(&first).await?;
        tokio::task::yield_now().await;
        let mut tx = right.begin().await?;
        let id = row.parameters().first().cloned();
        let read = Statement::new("get")
            .bind(id)
            .returning(Returning::default());
        let rows = right.run_in(&mut tx, &read).await?.rows;
        let receipt = Returned::receipt(&effect.receipt, [&rows])?;
        right.forget(effect.claim.key()).await?;
        let second = OneShot {
            statements: Vec::new(),
            receipt: receipt.clone(),
            ..first
        };
        right.execute_one_shot(&second).await?;
        Ok(applied(done, receipt))
    }
}

#[test]
fn rows_committed_after_their_effect() {
    assert_killed::<RowsLater>("one_shot::rows_crash::q41_dropped_at_every_poll");
}

/// Looks at no limit.
#[derive(Clone, Default)]
struct NoLimits;

impl Patch for NoLimits {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        right
            .execute_one_shot(&with_limits(effect, Returning::default()))
            .await
    }
}

#[test]
fn limits_not_looked_at() {
    assert_killed::<NoLimits>("one_shot::rows::q03_too_large");
    assert_killed::<NoLimits>("one_shot::rows::q02_too_many_rows");
}

/// Refuses what is too large and records nothing.
#[derive(Clone, Default)]
struct RefusedForNow;

impl Patch for RefusedForNow {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let answer = right.execute_one_shot(effect).await;
        if answer
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::TooLarge)
        {
            right.forget(effect.claim.key()).await?;
        }
        answer
    }
}

#[test]
fn a_refusal_of_rows_not_recorded() {
    assert_killed::<RefusedForNow>("one_shot::rows::q02_too_many_rows");
}

/// Numbers travel as floats.
#[derive(Clone, Default)]
struct Floats;

impl Patch for Floats {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        let Ok(returned) = done.returned() else {
            return Ok(done);
        };
        let lossy = returned.all().iter().map(|rows| {
            let json: serde_json::Value = serde_json::from_str(rows.as_json()).unwrap();
            let floats = json
                .to_string()
                .replace("9223372036854775807", "9223372036854776000");
            Rows::from_json(floats)
        });
        let lossy: Vec<Rows> = lossy.collect::<Result<_>>()?;
        let receipt = Returned::receipt(&effect.receipt, &lossy)?;
        Ok(applied(done, receipt))
    }
}

#[test]
fn numbers_that_lose_digits() {
    assert_killed::<Floats>("one_shot::rows::q04_null_and_every_type");
}

/// Applies the statements that return rows before it looks at the others.
#[derive(Clone, Default)]
struct RowsFirst;

impl Patch for RowsFirst {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        for statement in effect
            .statements
            .iter()
            .filter(|one| one.returns().is_some())
        {
            let mut tx = right.begin().await?;
            if right.run_in(&mut tx, statement).await.is_ok() {
                right.commit(tx).await?;
            }
        }
        right.execute_one_shot(effect).await
    }
}

#[test]
fn rows_of_a_refused_effect() {
    assert_killed::<RowsFirst>("one_shot::rows::q05_none_for_a_refused_one");
}

/// Swaps the answers of two callers at once.
#[derive(Clone, Default)]
struct Swapped(std::sync::Arc<std::sync::Mutex<Option<Receipt>>>);

impl Patch for Swapped {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        let (Outcome::Applied(own), true) = (&done.outcome, effect.returns_rows()) else {
            return Ok(done);
        };
        let own = own.clone();
        let other = self.0.lock().unwrap().replace(own.clone());
        Ok(applied(done, other.unwrap_or(own)))
    }
}

#[test]
fn rows_of_another_caller() {
    assert_killed::<Swapped>("one_shot::rows_shared::q07_each_caller_gets_its_own");
}

/// Takes a name that is not bound for NULL.
#[derive(Clone, Default)]
struct ForgottenIsNull;

impl Patch for ForgottenIsNull {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let good = effect
            .statements
            .iter()
            .filter(|one| one.check("mutant", "mutant").is_ok());
        let statements = good.cloned().collect();
        right
            .execute_one_shot(&OneShot {
                statements,
                ..effect.clone()
            })
            .await
    }
}

#[test]
fn a_forgotten_name_not_refused() {
    assert_killed::<ForgottenIsNull>("one_shot::rows::q08_invalid_before_anything");
}

/// Keeps the rows of the last statement only.
#[derive(Clone, Default)]
struct LastRowsOnly;

impl Patch for LastRowsOnly {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        let Ok(returned) = done.returned() else {
            return Ok(done);
        };
        let receipt = Returned::receipt(&effect.receipt, returned.all().last())?;
        Ok(applied(done, receipt))
    }
}

#[test]
fn only_the_last_rows_kept() {
    assert_killed::<LastRowsOnly>("one_shot::rows::q09_beside_the_value");
}

/// Runs a statement in a transaction of its own.
#[derive(Clone, Default)]
struct Apart;

impl Patch for Apart {
    async fn run_in(
        &self,
        right: &MemoryStore,
        _: &mut MemoryTx,
        statement: &Statement,
    ) -> Result<Ran> {
        let mut own = right.begin().await?;
        let ran = right.run_in(&mut own, statement).await?;
        right.commit(own).await?;
        Ok(ran)
    }
}

#[test]
fn statements_in_a_transaction_of_their_own() {
    assert_killed::<Apart>("statements::q20_runs_in_the_transaction");
}

/// Leaves what a refused statement did.
#[derive(Clone, Default)]
struct RefusedAfterwards;

impl Patch for RefusedAfterwards {
    async fn run_in(
        &self,
        right: &MemoryStore,
        tx: &mut MemoryTx,
        statement: &Statement,
    ) -> Result<Ran> {
        statement.check("mutant", "mutant")?;
        let mut probe = right.begin().await?;
        let wrong = right.run_in(&mut probe, statement).await;
        match (wrong, statement.returns()) {
            (Err(refused), Some(_)) => {
                let plain = Statement::new(statement.text());
                let bound = statement.parameters().iter().cloned();
                right
                    .run_in(tx, &bound.fold(plain, Statement::bind))
                    .await?;
                Err(refused)
            }
            _ => right.run_in(tx, statement).await,
        }
    }
}

#[test]
fn a_refused_statement_that_is_kept() {
    assert_killed::<RefusedAfterwards>("statements::q21_refused_and_swallowed");
}

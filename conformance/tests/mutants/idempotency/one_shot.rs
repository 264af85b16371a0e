//! Mutants of one-shot effects.

use exactly_once::{
    Claim, Fingerprint, OneShot, OneShotDone, OneShotStore, Outcome, Result, Statement,
    memory::MemoryStore,
};

use crate::{harness::assert_killed, patch::Patch};

/// Each statement in a commit of its own, the key with the last.
#[derive(Clone, Default)]
struct OneByOne;

impl Patch for OneByOne {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let whole = OneShot {
            statements: Vec::new(),
            ..effect.clone()
        };
        for (number, statement) in effect.statements.iter().enumerate() {
            let name = format!("{}#{number}#{}", effect.claim.key(), statement.text());
            let key = exactly_once::IdempotencyKey::new(name)?;
            let step = OneShot {
                claim: Claim::new(key, *effect.claim.fingerprint()),
                statements: vec![statement.clone()],
                receipt: effect.receipt.clone(),
            };
            right.execute_one_shot(&step).await?;
        }
        right.execute_one_shot(&whole).await
    }
}

#[test]
fn statements_committed_one_by_one() {
    assert_killed::<OneByOne>("one_shot::basic::i06s_refused_statement");
}

/// Never counts rows.
#[derive(Clone, Default)]
struct RowsNotCounted;

impl Patch for RowsNotCounted {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let uncounted = effect.statements.iter().map(|statement| {
            let plain = Statement::new(statement.text());
            statement
                .parameters()
                .iter()
                .fold(plain, |statement, value| match value {
                    exactly_once::Value::Text(text) => statement.bind(text.as_str()),
                    _ => statement,
                })
        });
        let statements = uncounted.collect();
        right
            .execute_one_shot(&OneShot {
                statements,
                ..effect.clone()
            })
            .await
    }
}

#[test]
fn changed_rows_not_counted() {
    assert_killed::<RowsNotCounted>("one_shot::basic::i07s_expected_rows");
}

/// Answers each call with its own receipt.
#[derive(Clone, Default)]
struct OwnReceipt;

impl Patch for OwnReceipt {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let done = right.execute_one_shot(effect).await?;
        Ok(OneShotDone {
            outcome: Outcome::Applied(effect.receipt.clone()),
            ..done
        })
    }
}

#[test]
fn each_call_answered_with_its_own_receipt() {
    assert_killed::<OwnReceipt>("one_shot::basic::i02s_applied_once");
    assert_killed::<OwnReceipt>("one_shot::groups::i30s_racers_on_one_key");
}

/// Compares no fingerprint.
#[derive(Clone, Default)]
struct AnyRequest;

impl Patch for AnyRequest {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let claim = Claim::new(effect.claim.key().clone(), Fingerprint::from_bytes([0; 32]));
        right
            .execute_one_shot(&OneShot {
                claim,
                ..effect.clone()
            })
            .await
    }
}

#[test]
fn one_shot_fingerprint_never_compared() {
    assert_killed::<AnyRequest>("one_shot::basic::i20s_other_request");
}

/// Runs the first statement only.
#[derive(Clone, Default)]
struct FirstStatementOnly;

impl Patch for FirstStatementOnly {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        let statements = effect.statements.iter().take(1).cloned().collect();
        right
            .execute_one_shot(&OneShot {
                statements,
                ..effect.clone()
            })
            .await
    }
}

#[test]
fn first_statement_only() {
    assert_killed::<FirstStatementOnly>("one_shot::basic::i03s_any_number_of_statements");
}

/// One refused statement fails the next caller as well, as in a group without savepoints.
#[derive(Clone, Default)]
struct FailsTogether(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Patch for FailsTogether {
    async fn execute_one_shot(&self, right: &MemoryStore, effect: &OneShot) -> Result<OneShotDone> {
        use std::sync::atomic::Ordering;
        if self.0.swap(false, Ordering::SeqCst) {
            let kind = exactly_once::ErrorKind::Refused;
            return Err(exactly_once::Error::new(kind, "execute_one_shot", "mutant"));
        }
        let done = right.execute_one_shot(effect).await;
        self.0.store(done.is_err(), Ordering::SeqCst);
        done
    }
}

#[test]
fn group_fails_together() {
    assert_killed::<FailsTogether>("one_shot::groups::i38s_each_fails_alone");
}

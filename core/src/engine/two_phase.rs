//! One transaction over several databases, as a step of a run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Engine, KeyedBy, Refusal, Settled, Step,
    steps::{Answer, answer, begin, identity_entry},
    unread::{read_before, stand_in},
};
use crate::{
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    names::{IdempotencyKey, TransactionId},
    prepared::Participation,
    register::DecisionRegister,
    time::{MAX_DURATION, Retention, Timestamp, check_duration},
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};

const OPERATION: &str = "two_phase";

/// A two-phase commit's name and deadlines: fixed once, and together.
///
/// Computed again on a retry, the deadlines are later ones, and a participant that has prepared
/// refuses them as a mismatch. So a journal keeps them, or the run's input has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransactionIdentity {
    name: IdempotencyKey,
    not_after: Timestamp,
    forget_after: Timestamp,
}

impl TransactionIdentity {
    /// The name, and the deadlines counted from `now`: `deadline` to prepare and decide, then
    /// `retention` until the outcome is forgotten.
    ///
    /// `now` should be the register's [clock](crate::Store::now). Another clock that is off by
    /// a minute makes the deadline a minute shorter or longer; it never makes the outcome wrong.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid): a duration that is zero or out of range.
    pub fn new(
        name: IdempotencyKey,
        now: Timestamp,
        deadline: Duration,
        retention: Retention,
    ) -> Result<Self> {
        check_duration("deadline", deadline)?;
        let too_late = || {
            Error::new(ErrorKind::Invalid, OPERATION, "core")
                .with_message("the deadline is out of range")
        };
        let not_after = now.checked_add(deadline).ok_or_else(too_late)?;
        let kept = retention.duration().unwrap_or(MAX_DURATION);
        let forget_after = not_after.checked_add(kept).ok_or_else(too_late)?;
        Ok(Self {
            name,
            not_after,
            forget_after,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct Identity {
    transaction: TransactionIdentity,
    fingerprint: Fingerprint,
}

/// Journals the identity, and only then begins; journals the outcome.
///
/// Without a fingerprint its error is the answer, unless an earlier attempt has journaled an identity, or
/// may have begun under the given one: then the participants decide, since that attempt may have committed.
pub(super) fn run<'a, 'run: 'a, M, E, R, P>(
    engine: &'a E,
    register: &R,
    step: Step,
    given: Option<TransactionIdentity>,
    fingerprint: Result<Fingerprint>,
    participants: P,
) -> Answer<'a, (), E::Failure>
where
    E: Engine<'run, M> + ?Sized,
    R: DecisionRegister,
    P: FnOnce(TwoPhaseCommit<'run, R>) -> TwoPhaseCommit<'run, R> + Send + 'run,
{
    let register = register.clone();
    let journaled = engine.has_journal() || given.is_some();
    let checked = check(&step, journaled, engine.name());
    // Why the request can't be read says more than what the engine lacks.
    let fingerprint = fingerprint.and_then(|fingerprint| checked.map(|()| fingerprint));
    let keyed_by = match given {
        Some(_) => KeyedBy::Caller,
        None => KeyedBy::of(&step),
    };
    let entered = engine.enter(&step, keyed_by);
    Box::pin(async move {
        let entered = entered?;
        begin(engine).await?;
        let refused = |error: Error| engine.refused(Refusal::from_error(&error));
        let mut unread = None;
        let identity = match given {
            Some(transaction) => {
                let fingerprint = fingerprint.or_else(|refusal| {
                    let fingerprint = stand_in(&step);
                    unread = Some(refusal);
                    fingerprint
                });
                Identity {
                    transaction,
                    fingerprint: fingerprint.map_err(refused)?,
                }
            }
            None => {
                let name = engine.identity(&step).await?;
                let (clock, of) = (register.clone(), step.clone());
                let settled = engine
                    .journal(identity_entry(&step), move || async move {
                        Settled::decide(identity(name, fingerprint, &clock, &of).await)
                    })
                    .await?;
                answer(engine, settled)?
            }
        };
        let Identity {
            transaction,
            fingerprint,
        } = identity;
        let participation = TransactionId::new(transaction.name.as_str())
            .map_err(Error::from)
            .and_then(|name| {
                Participation::new(
                    &name,
                    fingerprint,
                    transaction.not_after,
                    transaction.forget_after,
                )
            })
            .map_err(refused)?;
        let engine_name = engine.name();
        let settled = engine
            .journal(step.name().to_owned(), move || async move {
                let transaction = participants(TwoPhaseCommit::new(&register, participation));
                let outcome = match unread {
                    None => transaction.run().await,
                    Some(refusal) => refuse(&register, transaction, refusal).await,
                };
                Settled::decide(outcome.and_then(|outcome| settle(outcome, engine_name)))
            })
            .await?;
        entered.answered();
        answer(engine, settled)
    })
}

/// Rolls back in the place of the request that can't be read, so that no earlier attempt commits after the
/// refusal. Where one has begun, its request is needed to learn the outcome.
async fn refuse<R: DecisionRegister>(
    register: &R,
    transaction: TwoPhaseCommit<'_, R>,
    refusal: Error,
) -> Result<TwoPhaseOutcome> {
    match transaction.refusing(&refusal).run().await {
        Ok(TwoPhaseOutcome::RolledBack { .. }) => Err(refusal),
        Err(error) if error.kind() == ErrorKind::Mismatch => Err(read_before(register, &refusal)),
        other => other,
    }
}

async fn identity<R: DecisionRegister>(
    name: IdempotencyKey,
    fingerprint: Result<Fingerprint>,
    register: &R,
    step: &Step,
) -> Result<Identity> {
    let fingerprint = fingerprint?;
    let now = register.now().await?;
    let transaction = TransactionIdentity::new(name, now, step.deadline(), step.retention())?;
    Ok(Identity {
        transaction,
        fingerprint,
    })
}

/// `journaled` says whether the deadlines are kept for the next attempt.
fn check(step: &Step, journaled: bool, engine: &'static str) -> Result<()> {
    let refuse = |kind, text| Err(Error::new(kind, OPERATION, engine).with_message(text));
    check_duration("deadline", step.deadline())?;
    if step.key().is_some() {
        return refuse(
            ErrorKind::Invalid,
            "a two-phase commit can't have a key of the caller's own: its name and deadlines are one \
             value and belong to one run, so another run with the same key would be a mismatch",
        );
    }
    if !journaled {
        return refuse(
            ErrorKind::Unsupported,
            "this engine has no journal to keep the deadlines in: make a TransactionIdentity where \
             the engine keeps it (in the workflow), pass it as input and call two_phase_as",
        );
    }
    Ok(())
}

/// A participant's refusal is the answer; so is a rollback without one.
fn settle(outcome: TwoPhaseOutcome, engine: &'static str) -> Result<()> {
    match outcome {
        TwoPhaseOutcome::Committed => Ok(()),
        TwoPhaseOutcome::RolledBack {
            refused: Some((_, error)),
        } => Err(error),
        TwoPhaseOutcome::RolledBack { refused: None } => {
            Err(Error::new(ErrorKind::RolledBack, OPERATION, engine)
                .with_message("rolled back everywhere, past the deadline or by an earlier attempt"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rejection::Rejection;

    #[test]
    fn a_step_that_can_not_be_repeated_is_refused_before_anything_begins() {
        assert!(check(&Step::named("order"), true, "t").is_ok());
        let key = IdempotencyKey::new("mine").unwrap();
        for (step, journaled, kind) in [
            (
                Step::named("order").with_deadline(Duration::ZERO),
                true,
                ErrorKind::Invalid,
            ),
            (
                Step::named("order").with_deadline(Duration::MAX),
                true,
                ErrorKind::Invalid,
            ),
            (Step::named("order").with_key(key), true, ErrorKind::Invalid),
            (Step::named("order"), false, ErrorKind::Unsupported),
        ] {
            assert_eq!(
                check(&step, journaled, "t").unwrap_err().kind(),
                kind,
                "{step:?}"
            );
        }
    }

    #[test]
    fn a_refusal_is_the_answer_and_a_rollback_without_one_is_told_apart() {
        assert!(settle(TwoPhaseOutcome::Committed, "t").is_ok());
        let rejection = Error::rejected(Rejection::new(422, "out of stock"), OPERATION, "sqlite");
        let refused = Some(("stock".to_owned(), rejection));
        let answer = settle(TwoPhaseOutcome::RolledBack { refused }, "t").unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::Rejected { status: 422 });
        let answer = settle(TwoPhaseOutcome::RolledBack { refused: None }, "t").unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::RolledBack);
    }
}

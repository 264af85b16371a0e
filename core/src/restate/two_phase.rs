//! One transaction over several databases, as a step of a handler.

use futures_util::future::BoxFuture;
use restate_sdk::errors::TerminalError;
use serde::{Deserialize, Serialize};

use super::{
    alone::Alone,
    context::Journal,
    identity,
    refusal::{Journaled, Refusal},
    step::Step,
};
use crate::{
    coordinator::{Outcome, TwoPhaseCommit},
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    names::TransactionId,
    participation::deadlines,
    prepared::Participation,
    register::DecisionRegister,
    time::{Timestamp, check_duration},
};

const OPERATION: &str = "two_phase";

/// The transaction's name, its request, and its deadlines by the register's clock: fixed once, and together.
#[derive(Serialize, Deserialize)]
struct Identity {
    name: String,
    fingerprint: Fingerprint,
    not_after: Timestamp,
    forget_after: Timestamp,
}

/// Journals name and deadlines, and only then begins; journals how it ended.
///
/// The name is derived from the invocation and journaled like every key. The deadlines are in the
/// same entry: computed anew on a retry they would be later ones, and a participant that has
/// prepared would refuse them as a mismatch. In an entry of their own, a restart that keeps the
/// first entry only would do just that.
pub(super) fn run<'a, 'ctx: 'a, C, R, Q, P>(
    context: &'a C,
    register: &R,
    step: Step,
    request: &Q,
    participants: P,
) -> BoxFuture<'a, Result<(), TerminalError>>
where
    C: Journal<'ctx>,
    R: DecisionRegister,
    Q: Serialize + ?Sized,
    P: FnOnce(TwoPhaseCommit<'ctx, R>) -> TwoPhaseCommit<'ctx, R> + Send + 'ctx,
{
    let register = register.clone();
    let fingerprint = check(&step).and_then(|()| Fingerprint::of(step.name(), request));
    let alone = Alone::begin(context, &step);
    Box::pin(async move {
        let _alone = alone?;
        let name = identity::derive(context.invocation(), step.name(), &context.ordinal());
        let clock = (register.clone(), step.clone());
        let identity = context
            .step(format!("{}/key", step.name()), move || async move {
                Journaled::from_answer(identity(name, fingerprint, &clock.0, &clock.1).await)
            })
            .await?
            .into_answer()?;
        let participation = TransactionId::new(identity.name)
            .map_err(Error::from)
            .and_then(|name| {
                Participation::new(
                    &name,
                    identity.fingerprint,
                    identity.not_after,
                    identity.forget_after,
                )
            })
            .map_err(|error| Refusal::from_error(&error))?;
        context
            .step(step.name().to_owned(), move || async move {
                let transaction = participants(TwoPhaseCommit::new(&register, participation));
                Journaled::from_answer(transaction.run().await.and_then(settle))
            })
            .await?
            .into_answer()
    })
}

fn check(step: &Step) -> Result<()> {
    check_duration("deadline", step.deadline())?;
    if step.key().is_none() {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Invalid, OPERATION, "restate").with_message(
            "a two-phase commit can't have a key of the caller's own: its deadlines belong to one \
         invocation, so another one with the same key would be a mismatch",
        ),
    )
}

async fn identity<R: DecisionRegister>(
    name: String,
    fingerprint: Result<Fingerprint>,
    register: &R,
    step: &Step,
) -> Result<Identity> {
    let fingerprint = fingerprint?;
    let (not_after, forget_after) = deadlines(register, step.deadline(), step.retention()).await?;
    Ok(Identity {
        name,
        fingerprint,
        not_after,
        forget_after,
    })
}

/// A refusal of a participant is the answer; a rollback that nobody asked for is one too.
fn settle(outcome: Outcome) -> Result<()> {
    match outcome {
        Outcome::Committed => Ok(()),
        Outcome::RolledBack {
            refused: Some((_, error)),
        } => Err(error),
        Outcome::RolledBack { refused: None } => {
            Err(Error::new(ErrorKind::RolledBack, OPERATION, "restate")
                .with_message("rolled back everywhere, past the deadline or by an earlier attempt"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{names::IdempotencyKey, rejection::Rejection};

    #[test]
    fn a_step_without_time_or_with_a_key_of_its_own_is_refused_before_anything_begins() {
        assert!(check(&Step::named("order")).is_ok());
        let key = IdempotencyKey::new("mine").unwrap();
        for step in [
            Step::named("order").with_deadline(Duration::ZERO),
            Step::named("order").with_deadline(Duration::MAX),
            Step::named("order").with_key(key),
        ] {
            let refused = check(&step).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn a_refusal_is_the_answer_and_a_rollback_without_one_is_told_apart() {
        assert!(settle(Outcome::Committed).is_ok());
        let rejection = Error::rejected(Rejection::new(422, "out of stock"), OPERATION, "sqlite");
        let refused = Some(("stock".to_owned(), rejection));
        let answer = settle(Outcome::RolledBack { refused }).unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::Rejected { status: 422 });
        let answer = settle(Outcome::RolledBack { refused: None }).unwrap_err();
        assert_eq!(answer.kind(), ErrorKind::RolledBack);
    }
}

//! What follows a decision: every participant is informed, and the register notes what came of it.

use futures_util::future::join_all;

use super::{
    machine::{Action, Attempt, Noted},
    participant::OPERATION,
    run::TwoPhaseCommit,
    votes::alarm,
};
use crate::{
    dispute::Dispute,
    error::{Error, ErrorKind, Result},
    register::{Decision, DecisionRegister},
};

impl<R: DecisionRegister> TwoPhaseCommit<'_, R> {
    /// Every participant is informed, also when one of them fails: the others must not wait for it.
    pub(super) async fn tell_all(
        &self,
        attempt: &mut Attempt,
        actions: &[Action],
        alarmed: &mut Option<Error>,
    ) -> Result<()> {
        let told = join_all(
            actions
                .iter()
                .filter_map(|action| {
                    let (index, decision) = match action {
                        Action::Commit(index) => (*index, Decision::Commit),
                        Action::Rollback(index) => (*index, Decision::Rollback),
                        _ => return None,
                    };
                    let participant = self.participants.get(index)?;
                    Some(match decision {
                        Decision::Commit => {
                            (index, decision, participant.commit(&self.participation))
                        }
                        Decision::Rollback => {
                            (index, decision, participant.rollback(&self.participation))
                        }
                    })
                })
                .map(async |(index, decision, told)| (index, decision, told.await)),
        )
        .await;
        let mut failed = None;
        for (index, decision, told) in told {
            let Err(error) = told else {
                attempt.told(index);
                continue;
            };
            let participant = self.participants.get(index);
            let name = participant.map_or("", |participant| participant.name());
            match (decision, error.kind()) {
                // A rollback that is not remembered any more was carried out, or is nothing.
                (Decision::Rollback, ErrorKind::Forgotten) => attempt.told(index),
                (Decision::Commit, ErrorKind::NotPrepared) => {
                    match self.finished_or_lost(name, error).await {
                        Ok(()) => attempt.told(index),
                        Err(error) => failed = Some(error),
                    }
                }
                (Decision::Commit, ErrorKind::RolledBack) => {
                    attempt.opposed(index);
                    let what = "was rolled back, though commit was decided";
                    *alarmed = Some(alarm(ErrorKind::Heuristic, name, what, error));
                }
                (Decision::Rollback, ErrorKind::Committed) => {
                    attempt.opposed(index);
                    let what = "has committed, though rollback was decided";
                    *alarmed = Some(alarm(ErrorKind::Heuristic, name, what, error));
                }
                _ => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Notes in the register which participants did not obey. An operator who has settled the
    /// transaction has ended the alarm.
    pub(super) async fn dispute_all(&self, attempt: &mut Attempt) -> Result<()> {
        for action in attempt.actions() {
            let Action::Dispute(index) = action else {
                continue;
            };
            match self.dispute(index, attempt.decision()).await {
                Ok(true) => attempt.told(index),
                Ok(false) => attempt.disputed(index),
                // Nothing to note it in: the alarm of this attempt is all there is.
                Err(error) if !error.is_retryable() => attempt.disputed(index),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says whether the transaction is settled.
    async fn dispute(&self, index: usize, decision: Option<Decision>) -> Result<bool> {
        let Some((participant, decision)) = self.participants.get(index).zip(decision) else {
            return Ok(false);
        };
        let Some(identity) = participant.identity().await? else {
            return Ok(false);
        };
        let dispute = Dispute::now(&self.register, identity, decision).await?;
        let settled = self.register.dispute(&self.participation, &dispute).await?;
        Ok(settled.is_some())
    }

    /// Notes the end in the register. Gives the error of an attempt that has carried out what the
    /// register does not say any more.
    pub(super) async fn finish(
        &self,
        attempt: &mut Attempt,
        decision: Decision,
    ) -> Result<Option<Error>> {
        let Err(error) = self.register.finish(&self.participation, decision).await else {
            attempt.noted(Noted::Finished);
            return Ok(None);
        };
        let Some(noted) = Noted::refused(error.kind()) else {
            return Err(error);
        };
        attempt.noted(noted);
        Ok(noted.stops(decision).map(|kind| {
            let what = match noted {
                Noted::Nothing => format!(
                    "the register has lost its decision {}, which every participant has carried out",
                    decision.as_str()
                ),
                _ => error.message().unwrap_or_default().to_owned(),
            };
            tracing::error!(kind = kind.as_str(), "two-phase commit: {what}");
            Error::new(kind, OPERATION, error.store())
                .with_message(what)
                .with_source(error)
        }))
    }

    /// A participant that voted yes knows nothing: fine if every participant confirmed before (and the
    /// record was removed since), otherwise a failover or a restore has lost what it promised.
    async fn finished_or_lost(&self, name: &str, error: Error) -> Result<()> {
        match self.register.decision(&self.participation).await? {
            Some(entry) if entry.finished => Ok(()),
            _ => Err(alarm(
                ErrorKind::Lost,
                name,
                "has lost the transaction that it had prepared",
                error,
            )),
        }
    }
}

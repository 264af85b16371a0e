//! Drives the [machine](super::machine) against real stores.

use futures_util::future::join_all;

use super::{
    machine::{Action, Attempt, Vote},
    participant::{Begun, OPERATION, Participant, StoreAndWork},
};
use crate::{
    error::{Advice, Error, ErrorKind, Result},
    execute::{Work, WorkError},
    prepared::{Participation, PreparedTransactions},
    register::{Decision, DecisionRegister},
};

/// The most participants of one transaction.
pub const MAX_PARTICIPANTS: usize = 32;

/// How a transaction ended, for good; every later attempt gets the same.
#[derive(Debug)]
#[must_use = "a transaction that was rolled back did nothing"]
pub enum Outcome {
    /// Every participant has committed.
    Committed,
    /// Every participant has rolled back, or will have: nothing can be prepared any more.
    RolledBack {
        /// Which participant refused, and why; `None` if it was decided by an earlier attempt, by
        /// the deadline or by a sweeper.
        refused: Option<(String, Error)>,
    },
}

/// One transaction over several databases.
///
/// Build it anew on each attempt, with the same [`Participation`], the same participants and the
/// same work, and run it until it answers with an [`Outcome`].
#[must_use = "nothing happens until it is run"]
pub struct TwoPhaseCommit<'a, R> {
    register: R,
    participation: Participation,
    participants: Vec<Box<dyn Participant + 'a>>,
}

impl<'a, R: DecisionRegister> TwoPhaseCommit<'a, R> {
    /// A transaction that is decided in this register.
    ///
    /// To ensure correctness, every attempt at the transaction, and the sweeper, must use the same
    /// register; with two of them, one could say commit and the other roll back.
    pub fn new(register: &R, participation: Participation) -> Self {
        Self {
            register: register.clone(),
            participation,
            participants: Vec::new(),
        }
    }

    /// With one more participant and its work. The work runs at most once per attempt, in a
    /// transaction of its store; a [`Rejection`](crate::Rejection) rolls all participants back.
    pub fn participant<S, W>(mut self, name: impl Into<String>, store: &S, work: W) -> Self
    where
        S: PreparedTransactions,
        W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>> + 'a,
    {
        let participant = StoreAndWork::new(name.into(), store.clone(), work);
        self.participants.push(Box::new(participant));
        self
    }

    /// Runs this attempt to its outcome.
    ///
    /// # Errors
    /// - Retryable kinds: nothing is decided, or not everybody was told; run it again. If nobody
    ///   does, the sweeper ends it after the deadline.
    /// - [Invalid](ErrorKind::Invalid): no participant, too many, one name twice, or one store
    ///   under two names. Nothing was begun. [Unsupported](ErrorKind::Unsupported): one has no two-phase commit.
    /// - [Mismatch](ErrorKind::Mismatch): the transaction's name was used for another request.
    /// - [Heuristic](ErrorKind::Heuristic), [lost](ErrorKind::Lost): participants disagree; alarm.
    pub async fn run(mut self) -> Result<Outcome> {
        self.check()?;
        let mut attempt = Attempt::new(self.participants.len());
        let mut refused = None;
        loop {
            match attempt.actions().as_slice() {
                [Action::Prepare(_), ..] => {
                    refused = self.prepare_all(&mut attempt).await?;
                }
                [Action::Decide(proposal)] => self.decide(&mut attempt, *proposal).await?,
                [Action::Finish] => {
                    self.register.finish(&self.participation).await?;
                    attempt.finished();
                }
                [Action::Report(Decision::Commit)] => return Ok(Outcome::Committed),
                [Action::Report(Decision::Rollback)] => return Ok(Outcome::RolledBack { refused }),
                actions => self.tell_all(&mut attempt, actions).await?,
            }
        }
    }

    fn check(&self) -> Result<()> {
        let invalid = |message: String| {
            Err(Error::new(ErrorKind::Invalid, OPERATION, "core").with_message(message))
        };
        let count = self.participants.len();
        if !(1..=MAX_PARTICIPANTS).contains(&count) {
            return invalid(format!(
                "{count} participants; it must be 1 to {MAX_PARTICIPANTS}"
            ));
        }
        for (index, participant) in self.participants.iter().enumerate() {
            participant.check()?;
            let (name, home) = (participant.name(), participant.home());
            for earlier in self.participants.get(..index).unwrap_or_default() {
                if earlier.name() == name {
                    return invalid(format!("the participant {name:?} stands twice"));
                }
                if earlier.home() == home {
                    return invalid(format!(
                        "the participants {:?} and {name:?} are one store ({}, namespace {:?}): \
                         give the work of both to one participant",
                        earlier.name(),
                        home.0,
                        home.1.as_str(),
                    ));
                }
            }
        }
        Ok(())
    }

    /// All begin before any prepares. Two participants that are really one store, though their
    /// [places](crate::Place) differ (one was opened before its server was started anew), then meet
    /// in the marker and wait for each other, instead of the second taking the first's vote for its
    /// own and leaving its work out.
    async fn prepare_all(&mut self, attempt: &mut Attempt) -> Result<Option<(String, Error)>> {
        let participation = &self.participation;
        let names: Vec<_> = self
            .participants
            .iter()
            .map(|p| p.name().to_owned())
            .collect();
        let begun = join_all(self.participants.iter_mut().map(|p| p.begin(participation))).await;
        let mut votes = Votes::default();
        let mut works = Vec::new();
        for (index, begun) in begun.into_iter().enumerate() {
            match begun {
                Ok(Begun::Already) => attempt.voted(index, Vote::Yes),
                Ok(Begun::Fresh(work)) => works.push((index, work)),
                Err(error) => votes.failed(attempt, &names, index, error),
            }
        }
        if votes.all_yes() {
            let (indexes, works): (Vec<_>, Vec<_>) = works.into_iter().unzip();
            for (index, voted) in indexes.into_iter().zip(join_all(works).await) {
                match voted {
                    Ok(()) => attempt.voted(index, Vote::Yes),
                    Err(error) => votes.failed(attempt, &names, index, error),
                }
            }
        }
        votes.into_refusal()
    }

    async fn decide(&self, attempt: &mut Attempt, proposal: Decision) -> Result<()> {
        attempt.decided(self.register.decide(&self.participation, proposal).await?);
        Ok(())
    }

    /// Everybody is told, also when one of them fails: the others must not wait for it.
    async fn tell_all(&self, attempt: &mut Attempt, actions: &[Action]) -> Result<()> {
        let told = join_all(
            actions
                .iter()
                .filter_map(|action| match action {
                    Action::Commit(index) => {
                        let participant = self.participants.get(*index)?;
                        Some((
                            index,
                            participant.commit(&self.participation),
                            Decision::Commit,
                        ))
                    }
                    Action::Rollback(index) => {
                        let participant = self.participants.get(*index)?;
                        Some((
                            index,
                            participant.rollback(&self.participation),
                            Decision::Rollback,
                        ))
                    }
                    _ => None,
                })
                .map(async |(index, told, decision)| (*index, decision, told.await)),
        )
        .await;
        let mut failed = None;
        for (index, decision, told) in told {
            match told {
                Ok(()) => attempt.told(index),
                Err(error) => match self.explain(index, decision, error).await {
                    Ok(()) => attempt.told(index),
                    Err(error) => failed = Some(error),
                },
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What an answer of a participant means, given what was decided.
    async fn explain(&self, index: usize, decision: Decision, error: Error) -> Result<()> {
        let name = self
            .participants
            .get(index)
            .map_or("", |participant| participant.name());
        match (decision, error.kind()) {
            // A rollback that nobody remembers any more was told, or is nothing.
            (Decision::Rollback, ErrorKind::Forgotten) => Ok(()),
            (Decision::Commit, ErrorKind::NotPrepared) => self.finished_or_lost(name, error).await,
            (Decision::Commit, ErrorKind::RolledBack) => {
                let what = "was rolled back, though commit was decided";
                Err(alarm(ErrorKind::Heuristic, name, what, error))
            }
            (Decision::Rollback, ErrorKind::Committed) => {
                let what = "has committed, though rollback was decided";
                Err(alarm(ErrorKind::Heuristic, name, what, error))
            }
            _ => Err(error),
        }
    }

    /// A participant that voted yes knows nothing: fine if everybody was told before (and the
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

/// What came of the participants that did not vote yes.
#[derive(Default)]
struct Votes {
    /// Must stop the caller without deciding anything: the transaction is somebody else's, say.
    undecided: Option<Error>,
    no: bool,
    /// The first refusal with a reason of its own.
    refused: Option<(String, Error)>,
    /// May go away: for the next attempt.
    retry: Option<Error>,
}

impl Votes {
    /// A refusal for good is a *no*.
    fn failed(&mut self, attempt: &mut Attempt, names: &[String], index: usize, error: Error) {
        let undecided = matches!(
            error.kind(),
            ErrorKind::Mismatch | ErrorKind::Forgotten | ErrorKind::Unsupported
        );
        match error.kind().advice() {
            Advice::Stop { .. } if !undecided => {
                attempt.voted(index, Vote::No);
                self.no = true;
                // "Rolled back" is what the deadline, a sweeper or an earlier attempt has decided,
                // and no reason.
                if error.kind() != ErrorKind::RolledBack && self.refused.is_none() {
                    let name = names.get(index).cloned().unwrap_or_default();
                    self.refused = Some((name, error));
                }
            }
            Advice::Stop { .. } => self.undecided = self.undecided.take().or(Some(error)),
            _ => self.retry = self.retry.take().or(Some(error)),
        }
    }

    fn all_yes(&self) -> bool {
        !self.no && self.undecided.is_none() && self.retry.is_none()
    }

    /// One *no* is enough, also where another participant can't say: it will be rolled back too.
    fn into_refusal(self) -> Result<Option<(String, Error)>> {
        match (self.undecided, self.no, self.retry) {
            (Some(error), ..) | (None, false, Some(error)) => Err(error),
            (None, ..) => Ok(self.refused),
        }
    }
}

fn alarm(kind: ErrorKind, name: &str, what: &str, source: Error) -> Error {
    let store = source.store();
    tracing::error!(
        participant = name,
        kind = kind.as_str(),
        "two-phase commit: {what}"
    );
    Error::new(kind, OPERATION, store)
        .with_message(format!("the participant {name:?} {what}"))
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(kinds: &[ErrorKind]) -> (Attempt, Result<Option<(String, Error)>>) {
        let mut attempt = Attempt::new(kinds.len());
        let names: Vec<_> = (0..kinds.len()).map(|index| index.to_string()).collect();
        let mut votes = Votes::default();
        for (index, kind) in kinds.iter().enumerate() {
            let error = Error::new(*kind, OPERATION, "test");
            votes.failed(&mut attempt, &names, index, error);
        }
        (attempt, votes.into_refusal())
    }

    fn kind(answer: Result<Option<(String, Error)>>) -> Result<Option<ErrorKind>, ErrorKind> {
        answer
            .map(|refused| refused.map(|(_, error)| error.kind()))
            .map_err(|error| error.kind())
    }

    #[test]
    fn one_no_is_enough_beside_a_participant_that_cant_say() {
        let refused = ErrorKind::Rejected { status: 422 };
        let (attempt, answer) = votes(&[ErrorKind::Reserved, refused]);
        assert_eq!(kind(answer), Ok(Some(refused)));
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Rollback)]);
    }

    #[test]
    fn what_may_go_away_is_for_the_next_attempt() {
        let (attempt, answer) = votes(&[ErrorKind::Reserved, ErrorKind::Ambiguous]);
        assert_eq!(kind(answer), Err(ErrorKind::Reserved));
        assert_eq!(attempt.actions().len(), 2);
    }

    #[test]
    fn somebody_elses_transaction_is_never_decided() {
        let (_, answer) = votes(&[ErrorKind::Rejected { status: 422 }, ErrorKind::Mismatch]);
        assert_eq!(kind(answer), Err(ErrorKind::Mismatch));
    }

    #[test]
    fn a_rollback_by_the_deadline_is_no_reason() {
        let (attempt, answer) = votes(&[ErrorKind::RolledBack]);
        assert_eq!(kind(answer), Ok(None));
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Rollback)]);
    }
}

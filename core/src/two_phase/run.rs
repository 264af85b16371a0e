//! Drives the [machine](super::machine) against real stores.

use futures_util::future::{BoxFuture, join_all};

use super::{
    machine::{Action, Attempt, Role, Vote},
    one_shot::{self, Known},
    participant::{
        Begun, Closure, Ended, OPERATION, Participant, Reader, Worked, Writer, deciding,
    },
    stores,
    votes::Votes,
};
use crate::{
    error::{Error, ErrorKind, Result},
    execute::{Work, WorkError},
    one_shot_participant::{LastOneShotParticipant, OneShotParticipant},
    prepared::{LastResource, Participation, PreparedTransactions},
    register::{Decision, DecisionRegister},
    statement::Statement,
    transaction::Transactional,
};

/// How a transaction ended, for good; every later attempt gets the same.
#[derive(Debug)]
#[must_use = "a transaction that was rolled back did nothing"]
pub enum TwoPhaseOutcome {
    /// Every participant has committed.
    Committed,
    /// Every participant has rolled back, or will have: nothing can be prepared any more.
    RolledBack {
        /// Which participant refused, and why; `None` if it was decided by an earlier attempt, by
        /// the deadline or by a sweeper.
        refused: Option<(String, Error)>,
    },
}

/// Which participant refused, and why.
pub(super) type Refused = (String, Error);

/// A commit in one phase that is to be made.
type Open<'a> = BoxFuture<'a, Result<Ended>>;

/// One transaction over several databases.
///
/// With a single participant that writes, it commits in one phase, and the register is not asked.
///
/// Build it on each attempt, with the same [`Participation`], the same participants and the
/// same work, and run it until it answers with an [`TwoPhaseOutcome`].
#[must_use = "nothing happens until it is run"]
pub struct TwoPhaseCommit<'a, R> {
    pub(super) register: R,
    pub(super) participation: Participation,
    pub(super) participants: Vec<Box<dyn Participant<'a> + 'a>>,
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
        let participant = Writer::new(name.into(), store.clone(), Closure::new(work, None));
        self.participants.push(Box::new(participant));
        self
    }

    /// With one more participant, which only reads: it may refuse, and its transaction is always
    /// undone. Nothing is prepared there, nothing locked, and the decision is not sent to it. What it has
    /// seen may change before the others commit: what must not, belongs into a participant that
    /// locks it.
    ///
    /// It must be a reader in every attempt.
    pub fn reader<S, W>(mut self, name: impl Into<String>, store: &S, work: W) -> Self
    where
        S: Transactional,
        W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>> + 'a,
    {
        let participant = Reader::new(name.into(), store.clone(), work);
        self.participants.push(Box::new(participant));
        self
    }

    /// With one more participant, which is the store of the register, in the same namespace: it
    /// commits in one phase, last, together with the decision. That spares two trips and a sync.
    ///
    /// It must be the last one in every attempt.
    pub fn last_participant<S, W>(mut self, name: impl Into<String>, store: &S, work: W) -> Self
    where
        S: LastResource,
        W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>> + 'a,
    {
        let participant = Writer::new(
            name.into(),
            store.clone(),
            Closure::new(work, Some(deciding::<S>)),
        );
        self.participants.push(Box::new(participant));
        self
    }

    /// With one more participant, whose work is known up front: it begins, works and prepares in one
    /// call, which on Postgres is one message instead of three. The statements are applied once all
    /// [participants](Self::participant) with other work have begun.
    pub fn one_shot_participant<S>(
        mut self,
        name: impl Into<String>,
        store: &S,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Self
    where
        S: OneShotParticipant + 'a,
    {
        let participant = Writer::new(name.into(), store.clone(), Known::new(statements, None));
        self.participants.push(Box::new(participant));
        self
    }

    /// As [`Self::last_participant`], with work that is known up front: work, commit and decision are
    /// one call, made when all others have prepared. It is the quickest way to be the last.
    pub fn last_one_shot_participant<S>(
        mut self,
        name: impl Into<String>,
        store: &S,
        statements: impl IntoIterator<Item = Statement>,
    ) -> Self
    where
        S: LastOneShotParticipant + 'a,
    {
        let known = Known::new(statements, Some(one_shot::deciding::<S>));
        let participant = Writer::new(name.into(), store.clone(), known);
        self.participants.push(Box::new(participant));
        self
    }

    /// With this refusal in the place of each participant's work: it is what a participant at which no
    /// earlier attempt has begun votes with.
    pub(crate) fn refusing(mut self, refusal: &Error) -> Self {
        for participant in &mut self.participants {
            participant.refuse(refusal);
        }
        self
    }

    /// Runs this attempt to its outcome.
    ///
    /// # Errors
    /// - Retryable kinds: nothing is decided, or not every participant has confirmed; run it again. If
    ///   you never do, the sweeper ends it after the deadline.
    /// - [Invalid](ErrorKind::Invalid): no participant that writes, too many, one name twice, one
    ///   store under two names, a restored copy beside its original, or a last one that does not hold
    ///   the register. Nothing was begun.
    ///   [Unsupported](ErrorKind::Unsupported): one that must prepare has no two-phase commit, or the
    ///   last one can't commit the decision with its work.
    /// - [Configuration](ErrorKind::Configuration): the server of one that must prepare has two-phase
    ///   commit switched off; the message names the setting. Nothing was begun.
    /// - [Mismatch](ErrorKind::Mismatch): the transaction's name was used for another request, with
    ///   another register or with other participants.
    /// - [Heuristic](ErrorKind::Heuristic), [lost](ErrorKind::Lost): participants disagree; alarm.
    pub async fn run(mut self) -> Result<TwoPhaseOutcome> {
        let register = (self.register.place(), self.register.namespace().clone());
        stores::check(&self.participants, &register)?;
        self.participation =
            stores::entitle(&self.participants, &self.register, self.participation).await?;
        let roles = self.roles();
        stores::check_roles(&self.participants, &roles).await?;
        let mut attempt = Attempt::new(roles.clone());
        let (mut refused, mut open, mut alarm) = (None, None, None);
        loop {
            match attempt.actions().as_slice() {
                [Action::Prepare(_), ..] => {
                    (refused, open) = self.prepare_all(&mut attempt, &roles).await?;
                }
                [Action::CommitAlone(index) | Action::CommitDeciding(index)] => {
                    refused = self.commit_open(&mut attempt, *index, open.take()).await?;
                }
                [Action::Decide(proposal)] => {
                    // What is open must not commit any more.
                    drop(open.take());
                    self.decide(&mut attempt, *proposal).await?;
                }
                [Action::Rollback(alone)] if !attempt.is_decided() => {
                    drop(open.take());
                    self.rollback_alone(&mut attempt, *alone).await?;
                }
                [Action::Finish(decision)] => {
                    alarm = self.finish(&mut attempt, *decision).await?;
                }
                [Action::Stop(kind)] => {
                    let unsaid = || Error::new(*kind, OPERATION, "core");
                    return Err(alarm.unwrap_or_else(unsaid));
                }
                [Action::Report(Decision::Commit)] => return Ok(TwoPhaseOutcome::Committed),
                [Action::Report(Decision::Rollback)] => {
                    return Ok(TwoPhaseOutcome::RolledBack { refused });
                }
                actions => {
                    let told = self.tell_all(&mut attempt, actions, &mut alarm).await;
                    self.dispute_all(&mut attempt).await?;
                    told?;
                }
            }
        }
    }

    /// The roles of this attempt. They follow from what the participants are, and so are the same
    /// in every one.
    fn roles(&self) -> Vec<Role> {
        let mut roles: Vec<_> = self.participants.iter().map(|p| p.role()).collect();
        let mut writers = roles.iter_mut().filter(|role| **role != Role::Reader);
        if let (Some(alone), None) = (writers.next(), writers.next()) {
            *alone = Role::Alone;
        }
        roles
    }

    /// All begin before any prepares. Two participants that are really one store have one identity,
    /// and were refused before ([`stores::entitle`]): the second would take the first's vote for its
    /// own and leave its work out.
    ///
    /// Gives why a participant refused, and the open transaction of the one that commits in one phase.
    async fn prepare_all(
        &mut self,
        attempt: &mut Attempt,
        roles: &[Role],
    ) -> Result<(Option<Refused>, Option<Open<'a>>)> {
        let participation = &self.participation;
        let names = self.names();
        let begun = self.participants.iter_mut().zip(roles);
        let begun = join_all(begun.map(|(p, role)| p.begin(participation, *role))).await;
        let mut votes = Votes::default();
        let mut works = Vec::new();
        for (index, begun) in begun.into_iter().enumerate() {
            match begun {
                Ok(Begun::Fresh(work)) => works.push((index, work)),
                Ok(Begun::Committed) if roles.get(index) == Some(&Role::Alone) => {
                    attempt.voted(index, Vote::Committed);
                    return Ok((None, None));
                }
                Ok(Begun::Prepared | Begun::Committed) => attempt.voted(index, Vote::Yes),
                Err(error) => votes.failed(attempt, &names, index, error),
            }
        }
        let mut open = None;
        if votes.all_yes() {
            let (indexes, works): (Vec<_>, Vec<_>) = works.into_iter().unzip();
            for (index, worked) in indexes.into_iter().zip(join_all(works).await) {
                match worked {
                    Ok(Worked::Consents) => attempt.voted(index, Vote::Yes),
                    Ok(Worked::Open(commit)) => {
                        attempt.voted(index, Vote::Open);
                        open = Some(commit);
                    }
                    Err(error) => votes.failed(attempt, &names, index, error),
                }
            }
        }
        Ok((votes.into_refusal()?, open))
    }

    fn names(&self) -> Vec<String> {
        let names = self.participants.iter().map(|p| p.name().to_owned());
        names.collect()
    }

    /// Commits in one phase, and so decides. A failure that is no *perhaps* is a *no*.
    async fn commit_open(
        &self,
        attempt: &mut Attempt,
        index: usize,
        open: Option<Open<'a>>,
    ) -> Result<Option<Refused>> {
        let committed = match open {
            Some(open) => open.await,
            None => Err(Error::new(ErrorKind::WorkFailed, OPERATION, "core")
                .with_message("the open transaction is gone")),
        };
        let mut votes = Votes::default();
        match committed {
            Ok(Ended::Decided(decision)) if attempt.is_alone(index) => {
                attempt.ended_alone(index, decision);
            }
            Ok(Ended::Decided(decision)) => {
                attempt.decided(decision);
                if decision == Decision::Commit {
                    attempt.told(index);
                }
            }
            Ok(Ended::Found) => attempt.voted(index, Vote::Yes),
            Err(error) => votes.failed(attempt, &self.names(), index, error),
        }
        votes.into_refusal()
    }

    /// A refusal of the only one that writes. Its tombstone is the decision, unless an earlier
    /// attempt has committed: then that is.
    async fn rollback_alone(&self, attempt: &mut Attempt, index: usize) -> Result<()> {
        let Some(participant) = self.participants.get(index) else {
            return Ok(());
        };
        let decision = match participant.rollback(&self.participation).await {
            Ok(()) => Decision::Rollback,
            Err(error) if error.kind() == ErrorKind::Committed => Decision::Commit,
            Err(error) => return Err(error),
        };
        attempt.ended_alone(index, decision);
        Ok(())
    }

    async fn decide(&self, attempt: &mut Attempt, proposal: Decision) -> Result<()> {
        attempt.decided(self.register.decide(&self.participation, proposal).await?);
        Ok(())
    }
}

//! One turn of a sweeper, over all its stores.

use std::collections::HashSet;

use super::{
    machine::{Found, Named, Ruling, Sweep, SweepAction},
    participant::OPERATION,
    stores::same_identity,
    sweep::{Foreign, SweepReport, Sweeper},
    swept::{Swept, alarm, lost_how},
};
use crate::{
    error::{Error, ErrorKind, Result},
    identity::{NamespaceIdentity, Participants},
    prepared::{InDoubt, Participation, PreparedStatus},
    register::{Decision, DecisionRegister},
};

const PAGE: u32 = 100;

pub(super) struct Turn<'a, R> {
    sweeper: &'a Sweeper<R>,
    /// The identity of the register.
    held: NamespaceIdentity,
    /// Those of the participants; `None` for one that can't be asked in this turn.
    identities: Vec<Option<NamespaceIdentity>>,
    /// A transaction is in doubt at many participants, and is swept once.
    swept: HashSet<Participation>,
    pub(super) report: SweepReport,
}

impl<'a, R: DecisionRegister> Turn<'a, R> {
    pub(super) fn new(sweeper: &'a Sweeper<R>, held: NamespaceIdentity) -> Self {
        Self {
            sweeper,
            held,
            identities: vec![None; sweeper.participants.len()],
            swept: HashSet::new(),
            report: SweepReport::default(),
        }
    }

    /// Reads the participants' identities. Two stores with the same one can't be distinguished in a
    /// decision, so neither is asked.
    pub(super) async fn meet(&mut self) {
        for (index, participant) in self.sweeper.participants.iter().enumerate() {
            match participant.identity().await {
                Ok(identity) => self.set(index, Some(identity)),
                Err(error) => self.report.failed.push(error),
            }
        }
        for index in 0..self.identities.len() {
            for earlier in 0..index {
                let (Ok(one), Ok(other)) = (self.at(earlier), self.at(index)) else {
                    continue;
                };
                if self.identity(index).is_none()
                    || self.identity(earlier) != self.identity(index)
                    || one.place() == other.place()
                {
                    continue;
                }
                let error = same_identity(one.name(), other.name(), "sweep");
                self.report.failed.push(error);
                self.set(earlier, None);
                self.set(index, None);
            }
        }
    }

    fn identity(&self, index: usize) -> Option<NamespaceIdentity> {
        self.identities.get(index).copied().flatten()
    }

    fn set(&mut self, index: usize, identity: Option<NamespaceIdentity>) {
        if let Some(slot) = self.identities.get_mut(index) {
            *slot = identity;
        }
    }

    /// Everything that is in doubt at one participant. If it is away, the turn goes on without it.
    pub(super) async fn sweep_participant(&mut self, index: usize) {
        if self.identity(index).is_some()
            && let Err(error) = self.try_participant(index).await
        {
            self.set(index, None);
            self.report.failed.push(error);
        }
    }

    async fn try_participant(&mut self, index: usize) -> Result<()> {
        let participant = self.at(index)?;
        let mut after = None;
        loop {
            let page = participant.in_doubt(after.as_ref(), PAGE).await?;
            let now = participant.now().await?;
            for InDoubt { participation, .. } in page.entries {
                if now <= participation.not_after() {
                    self.report.waiting += 1;
                    continue;
                }
                if *participation.register() != self.held {
                    let name = participant.name();
                    self.leave_alone(&participation, name);
                    continue;
                }
                self.sweep_known(participation).await;
                if self.identity(index).is_none() {
                    return Ok(());
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Decisions that a coordinator wrote and then died: nothing may be in doubt any more, but the
    /// register does not know yet.
    pub(super) async fn sweep_register(&mut self) {
        if let Err(error) = self.try_register().await {
            self.report.failed.push(error);
        }
    }

    async fn try_register(&mut self) -> Result<()> {
        let register = &self.sweeper.register;
        let mut after = None;
        loop {
            let page = register.unfinished(after.as_ref(), PAGE).await?;
            let now = register.now().await?;
            for entry in page.entries {
                if now > entry.participation.not_after() {
                    self.sweep_one(entry.participation).await;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    fn leave_alone(&mut self, participation: &Participation, participant: &str) {
        self.report.foreign.push(Foreign {
            transaction: *participation.transaction(),
            participant: participant.to_owned(),
            register: *participation.register(),
        });
    }

    /// One transaction. A rollback that this sweeper decides names the participants, where they are
    /// those that it knows.
    pub(super) async fn sweep_known(&mut self, participation: Participation) {
        let known = self.identities.iter().copied().flatten();
        let participation = participation.with_named(&Participants::of(known).to_bytes());
        self.sweep_one(participation).await;
    }

    async fn sweep_one(&mut self, participation: Participation) {
        if self.swept.contains(&participation) {
            return;
        }
        if let Err(error) = self.try_sweep(&participation).await {
            self.failed(&participation, error);
        }
        self.swept.insert(participation);
    }

    fn failed(&mut self, participation: &Participation, error: Error) {
        match error.kind() {
            ErrorKind::Heuristic | ErrorKind::Lost => {
                tracing::error!(transaction = %participation.transaction(), %error, "sweep");
                self.report.alarms.push(error);
            }
            _ => self.report.failed.push(error),
        }
    }

    async fn try_sweep(&mut self, participation: &Participation) -> Result<()> {
        let entitled = *participation.register() == self.held;
        let mut sweep = Sweep::new(self.identities.len(), entitled);
        let mut unknown = Vec::new();
        while let Some(action) = sweep.actions().into_iter().next() {
            match action {
                SweepAction::LeaveAlone => {
                    self.leave_alone(participation, "the register");
                    return Ok(());
                }
                SweepAction::ProposeRollback => {
                    unknown = self.propose(participation, &mut sweep).await?;
                }
                SweepAction::Finish => {
                    self.sweeper.register.finish(participation).await?;
                    sweep.finished();
                }
                SweepAction::Done => break,
                SweepAction::Inspect(index)
                | SweepAction::Commit(index)
                | SweepAction::Rollback(index) => {
                    let found = self.end(index, action, &sweep, participation).await;
                    sweep.found(index, found);
                }
            }
        }
        let lost = sweep.lost();
        if !lost.is_empty() {
            let now = self.sweeper.register.now().await?;
            let what = lost_how(now > participation.forget_after());
            for index in lost {
                let alarm = alarm(ErrorKind::Lost, self.at(index)?, participation, what);
                self.failed(participation, alarm);
            }
        }
        let confirmed_not = sweep.lost().into_iter().chain(sweep.heuristic());
        for index in confirmed_not {
            let name = self.at(index)?.name().to_owned();
            let entry = (*participation.transaction(), name);
            self.report.unfinished.push(entry);
        }
        for name in unknown {
            let entry = (*participation.transaction(), name);
            self.report.unfinished.push(entry);
        }
        Ok(())
    }

    /// Gives the participants that the decision names and that this sweeper does not know.
    async fn propose(
        &mut self,
        participation: &Participation,
        sweep: &mut Sweep,
    ) -> Result<Vec<String>> {
        let register = &self.sweeper.register;
        let decided = register.decide(participation, Decision::Rollback).await;
        let entry = match decided {
            Ok(_) => register.decision(participation).await,
            Err(error) => Err(error),
        };
        let entry = match entry {
            Ok(Some(entry)) => entry,
            Ok(None) => {
                sweep.ruled(Ruling::Forgotten, None);
                return Ok(Vec::new());
            }
            Err(error) if error.kind() == ErrorKind::Forgotten => {
                sweep.ruled(Ruling::Forgotten, None);
                return Ok(Vec::new());
            }
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                sweep.ruled(Ruling::Taken, None);
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        let named = entry.participation.participants().named();
        let unknown = Vec::from_iter(
            (named.unwrap_or_default().iter())
                .filter(|member| !self.identities.contains(&Some(**member))),
        );
        let is_commit = entry.decision == Decision::Commit && entry.settled.is_none();
        let ruling = entry.settled.as_ref().map_or_else(
            || Ruling::Decided(entry.decision),
            |settled| Ruling::Settled(settled.outcome),
        );
        let took_part = named.map(|named| Named {
            took_part: (self.identities.iter())
                .map(|identity| identity.is_some_and(|identity| named.contains(&identity)))
                .collect(),
            unknown: unknown.len(),
        });
        sweep.ruled(ruling, took_part);
        if entry.finished {
            sweep.finished();
            return Ok(Vec::new());
        }
        if is_commit && named.is_none() {
            return Ok(vec!["the decision names no participants".to_owned()]);
        }
        let unknown = unknown.into_iter().filter(|_| is_commit);
        Ok(unknown
            .map(|member| format!("a store of identity {member}, away or not known here"))
            .collect())
    }

    /// One step at one participant. What fails there holds up this participant only.
    async fn end(
        &mut self,
        index: usize,
        action: SweepAction,
        sweep: &Sweep,
        participation: &Participation,
    ) -> Found {
        if self.identity(index).is_none() {
            return Found::Away;
        }
        match self.try_end(index, action, sweep, participation).await {
            Ok(found) => found,
            Err(error) => {
                // The store, and not the transaction: it is not asked again in this turn.
                if error.kind() == ErrorKind::Unavailable {
                    self.set(index, None);
                }
                self.failed(participation, error);
                Found::Away
            }
        }
    }

    async fn try_end(
        &mut self,
        index: usize,
        action: SweepAction,
        sweep: &Sweep,
        participation: &Participation,
    ) -> Result<Found> {
        let participant = self.at(index)?;
        let committing = sweep.ruling() == Some(Ruling::Decided(Decision::Commit));
        match action {
            SweepAction::Commit(_) => match participant.commit(participation).await {
                Ok(()) => self.report.committed += 1,
                // Its record was removed while we were at it: there is nothing left to end.
                Err(error) if error.kind() == ErrorKind::Forgotten => {}
                Err(error) if committing && error.kind() == ErrorKind::RolledBack => {
                    return self.opposite(index, participation, Decision::Commit);
                }
                Err(error) => return Err(error),
            },
            SweepAction::Rollback(_) => match participant.rollback(participation).await {
                Ok(()) => self.report.rolled_back += 1,
                Err(error) if error.kind() == ErrorKind::Forgotten => {}
                // The name stands there with other terms, so these were never prepared.
                Err(error) if error.kind() == ErrorKind::Mismatch => {}
                Err(error) if error.kind() == ErrorKind::Committed => {
                    return self.opposite(index, participation, Decision::Rollback);
                }
                Err(error) => return Err(error),
            },
            _ => {
                let status = match participant.status(participation).await {
                    Err(error) if !committing && error.kind() == ErrorKind::Mismatch => {
                        PreparedStatus::None
                    }
                    status => status?,
                };
                return match status {
                    PreparedStatus::Prepared => Ok(Found::InDoubt),
                    PreparedStatus::None => Ok(Found::Nothing),
                    // Nothing confirms that it has committed: that is for an operator to say.
                    PreparedStatus::Forgotten if committing => Ok(Found::Nothing),
                    PreparedStatus::RolledBack if committing => {
                        self.opposite(index, participation, Decision::Commit)
                    }
                    _ => Ok(Found::Ended),
                };
            }
        }
        Ok(Found::Ended)
    }

    /// A participant ended otherwise than was decided.
    fn opposite(
        &mut self,
        index: usize,
        participation: &Participation,
        decision: Decision,
    ) -> Result<Found> {
        let what = match decision {
            Decision::Commit => "was rolled back, though commit was decided",
            Decision::Rollback => "has committed, though rollback was decided",
        };
        let alarm = alarm(ErrorKind::Heuristic, self.at(index)?, participation, what);
        self.failed(participation, alarm);
        Ok(Found::Opposite)
    }

    fn at(&self, index: usize) -> Result<&'a dyn Swept> {
        let participants = &self.sweeper.participants;
        participants.get(index).map(AsRef::as_ref).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, OPERATION, "core").with_message("no such participant")
        })
    }
}

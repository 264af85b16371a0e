//! One turn of a sweeper, over all its stores.

use std::collections::HashSet;

use super::{
    machine::{Found, Ruling, Sweep, SweepAction, one_identity_at_two_places},
    participant::OPERATION,
    ruling::Stands,
    stores::same_identity,
    sweep::{Foreign, SweepReport, Sweeper},
    swept::{Swept, alarm, lost_how},
};
use crate::{
    error::{Error, ErrorKind, Result},
    identity::NamespaceIdentity,
    prepared::{InDoubt, Participation, PreparedStatus},
    register::{Decision, DecisionRegister},
};

const PAGE: u32 = 100;

pub(super) struct Turn<'a, R> {
    pub(super) sweeper: &'a Sweeper<R>,
    /// The identity of the register.
    held: NamespaceIdentity,
    /// Those of the participants; `None` for one that can't be asked in this turn.
    pub(super) identities: Vec<Option<NamespaceIdentity>>,
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
    /// decision, so neither is asked. Says no where a participant has the register's identity at
    /// another place: one of the two is a copy, so nothing proves which one the transactions name.
    pub(super) async fn meet(&mut self) -> bool {
        for (index, participant) in self.sweeper.participants.iter().enumerate() {
            match participant.identity().await {
                Ok(identity) => self.set(index, Some(identity)),
                Err(error) => self.report.failed.push(error),
            }
        }
        let mut met = vec![(Some(self.held), self.sweeper.register.place())];
        let places = self.sweeper.participants.iter().map(|p| p.place());
        met.extend(self.identities.iter().copied().zip(places));
        while let Some((one, other)) = one_identity_at_two_places(&met) {
            let name = |at: usize| {
                let participant = at
                    .checked_sub(1)
                    .and_then(|at| self.sweeper.participants.get(at));
                participant.map_or("the register", |participant| participant.name())
            };
            self.report
                .failed
                .push(same_identity(name(one), name(other), "sweep"));
            let Some(one) = one.checked_sub(1) else {
                return false;
            };
            for index in [one, other - 1] {
                self.set(index, None);
                if let Some(store) = met.get_mut(index + 1) {
                    store.0 = None;
                }
            }
        }
        true
    }

    pub(super) fn identity(&self, index: usize) -> Option<NamespaceIdentity> {
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

    /// One transaction. A rollback that this sweeper decides names the participants, where it knows
    /// them all.
    pub(super) async fn sweep_known(&mut self, participation: Participation) {
        let known = self.identities.iter().copied().flatten();
        let participation = participation.with_named_among(known);
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

    pub(super) fn failed(&mut self, participation: &Participation, error: Error) {
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
        let mut stands = Stands::default();
        while let Some(action) = sweep.actions().into_iter().next() {
            match action {
                SweepAction::LeaveAlone => {
                    self.leave_alone(participation, "the register");
                    return Ok(());
                }
                SweepAction::ProposeRollback => {
                    stands = self.propose(participation, &mut sweep).await?;
                }
                SweepAction::Dispute(index, decision) => {
                    self.dispute(index, participation, decision).await;
                    sweep.disputed(index);
                }
                SweepAction::Finish(decision) => {
                    let noted = self.finish(participation, decision).await?;
                    sweep.noted(noted);
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
        let disputed = self.still_disputed(participation, &stands, &sweep.heuristic());
        for name in stands.unknown.into_iter().chain(disputed) {
            let entry = (*participation.transaction(), name);
            self.report.unfinished.push(entry);
        }
        Ok(())
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
        let Some(ruling) = sweep.ruling() else {
            return Ok(Found::Away);
        };
        let committing = ruling == Ruling::Decided(Decision::Commit);
        let told = match action {
            SweepAction::Commit(_) => participant.commit(participation).await,
            SweepAction::Rollback(_) => participant.rollback(participation).await,
            _ => {
                let status = match participant.status(participation).await {
                    Err(error) if !committing && error.kind() == ErrorKind::Mismatch => {
                        PreparedStatus::None
                    }
                    status => status?,
                };
                let found = Found::of(status, ruling);
                if found == Found::Opposite {
                    self.opposed(index, participation, Decision::Commit)?;
                }
                return Ok(found);
            }
        };
        let (count, decision) = match action {
            SweepAction::Commit(_) => (&mut self.report.committed, Decision::Commit),
            _ => (&mut self.report.rolled_back, Decision::Rollback),
        };
        match told {
            Ok(()) => {
                *count += 1;
                Ok(Found::Ended)
            }
            Err(error) => {
                let found = Found::refused(action, error.kind(), ruling).ok_or(error)?;
                if found == Found::Opposite {
                    self.opposed(index, participation, decision)?;
                }
                Ok(found)
            }
        }
    }

    pub(super) fn at(&self, index: usize) -> Result<&'a dyn Swept> {
        let participants = &self.sweeper.participants;
        participants.get(index).map(AsRef::as_ref).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, OPERATION, "core").with_message("no such participant")
        })
    }
}

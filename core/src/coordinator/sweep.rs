//! The sweeper: ends what dead coordinators left in doubt, once the deadline has passed.

use super::{
    machine::{Found, Ruling, Sweep, SweepAction},
    participant::{OPERATION, check_two_phase},
    swept::{Named, Swept},
};
use crate::{
    error::{Error, ErrorKind, Result},
    prepared::{InDoubt, Participation, PreparedStatus, PreparedTransactions, TransactionDigest},
    register::{Decision, DecisionRegister},
};

/// Ends transactions that are in doubt past their deadline, at any number of participants.
///
/// It may run anywhere, in any number, and crash at any point: it only proposes *rollback* to the
/// register, obeys what stands there, and tells the participants, and each of these steps may be
/// repeated. Before its deadline it leaves a transaction alone.
pub struct Sweeper<R> {
    register: R,
    participants: Vec<Box<dyn Swept>>,
}

/// What a sweep did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SweepReport {
    /// In doubt, but not past the deadline: left alone.
    pub waiting: u64,
    /// Participants that were committed, as had been decided.
    pub committed: u64,
    /// Participants that were rolled back.
    pub rolled_back: u64,
    /// Decided to commit, and a participant that the sweeper looks after knows nothing of it: it
    /// took no part, or has lost it. Its coordinator will tell; the decision stays unfinished.
    pub unfinished: Vec<(TransactionDigest, String)>,
    /// What needs a person: heuristic outcomes and losses.
    pub alarms: Vec<Error>,
    /// What could not be done now; the next sweep tries again.
    pub failed: Vec<Error>,
}

const PAGE: u32 = 100;

impl<R: DecisionRegister> Sweeper<R> {
    /// A sweeper over the register that the coordinators use.
    pub fn new(register: R) -> Self {
        Self {
            register,
            participants: Vec::new(),
        }
    }

    /// With one more participant to look after.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a name that stands already;
    /// [unsupported](ErrorKind::Unsupported) for a store without two-phase commit.
    pub fn participant<S>(mut self, name: impl Into<String>, store: S) -> Result<Self>
    where
        S: PreparedTransactions,
    {
        let name = name.into();
        check_two_phase(&store, &name)?;
        if self.participants.iter().any(|other| other.name() == name) {
            return Err(Error::new(ErrorKind::Invalid, "sweep", "core")
                .with_message(format!("the participant {name:?} stands twice")));
        }
        self.participants.push(Box::new(Named { name, store }));
        Ok(self)
    }

    /// Sweeps once, over all participants and all that the register holds unfinished.
    ///
    /// # Errors
    /// Where a list could not be read. What fails for one transaction is in the report, and does
    /// not keep the others from being swept.
    pub async fn sweep(&self) -> Result<SweepReport> {
        let mut report = SweepReport::default();
        for participant in &self.participants {
            let mut after = None;
            loop {
                let page = participant.in_doubt(after.as_ref(), PAGE).await?;
                let now = participant.now().await?;
                for InDoubt { participation, .. } in page.entries {
                    if now <= participation.not_after() {
                        report.waiting += 1;
                        continue;
                    }
                    self.sweep_one(&participation, &mut report).await;
                }
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
        }
        self.finish_decided(&mut report).await?;
        Ok(report)
    }

    /// Removes the records of transactions whose time is over, at every participant and in the
    /// register. Says how many.
    ///
    /// # Errors
    /// The store's own; what was removed before stays removed.
    pub async fn forget(&self, limit: u32) -> Result<u64> {
        let mut removed = 0;
        for participant in &self.participants {
            removed += participant.forget(limit).await?;
        }
        Ok(removed + self.register.forget_decisions(limit).await?)
    }

    /// Decisions that a coordinator wrote and then died: nothing may be in doubt any more, but the
    /// register does not know yet.
    async fn finish_decided(&self, report: &mut SweepReport) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.register.unfinished(after.as_ref(), PAGE).await?;
            let now = self.register.now().await?;
            for entry in page.entries {
                if now > entry.participation.not_after() {
                    self.sweep_one(&entry.participation, report).await;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn sweep_one(&self, participation: &Participation, report: &mut SweepReport) {
        if let Err(error) = self.try_sweep(participation, report).await {
            match error.kind() {
                ErrorKind::Heuristic | ErrorKind::Lost => {
                    tracing::error!(transaction = %participation.transaction(), %error, "sweep");
                    report.alarms.push(error);
                }
                _ => report.failed.push(error),
            }
        }
    }

    async fn try_sweep(
        &self,
        participation: &Participation,
        report: &mut SweepReport,
    ) -> Result<()> {
        let mut sweep = Sweep::new(self.participants.len());
        loop {
            let Some(action) = sweep.actions().into_iter().next() else {
                return Ok(());
            };
            match action {
                SweepAction::ProposeRollback => sweep.ruled(self.propose(participation).await?),
                SweepAction::Inspect(index) => {
                    let status = self.at(index)?.status(participation).await?;
                    sweep.found(index, found(status));
                }
                SweepAction::Commit(index) => {
                    let told = self.at(index)?.commit(participation).await;
                    self.obeyed(index, told, ErrorKind::RolledBack)?;
                    report.committed += 1;
                    sweep.found(index, Found::Ended);
                }
                SweepAction::Rollback(index) => {
                    let told = self.at(index)?.rollback(participation).await;
                    self.obeyed(index, told, ErrorKind::Committed)?;
                    report.rolled_back += 1;
                    sweep.found(index, Found::Ended);
                }
                SweepAction::Finish => {
                    self.register.finish(participation).await?;
                    sweep.finished();
                }
                SweepAction::Done => break,
            }
        }
        for index in sweep.missing() {
            let name = self.at(index)?.name().to_owned();
            report.unfinished.push((*participation.transaction(), name));
        }
        Ok(())
    }

    async fn propose(&self, participation: &Participation) -> Result<Ruling> {
        match self
            .register
            .decide(participation, Decision::Rollback)
            .await
        {
            Ok(decision) => Ok(Ruling::Decided(decision)),
            Err(error) if error.kind() == ErrorKind::Forgotten => Ok(Ruling::Forgotten),
            Err(error) => Err(error),
        }
    }

    /// The opposite of what was decided is a heuristic outcome.
    fn obeyed(&self, index: usize, told: Result<()>, opposite: ErrorKind) -> Result<()> {
        match told {
            // Its time was over while we were at it: there is nothing left to end.
            Err(error) if error.kind() == ErrorKind::Forgotten => Ok(()),
            Err(error) if error.kind() == opposite => {
                let store = error.store();
                let name = self.at(index)?.name();
                Err(Error::new(ErrorKind::Heuristic, "sweep", store)
                    .with_message(format!(
                        "the participant {name:?} did the opposite of what was decided"
                    ))
                    .with_source(error))
            }
            told => told,
        }
    }

    fn at(&self, index: usize) -> Result<&dyn Swept> {
        self.participants
            .get(index)
            .map(AsRef::as_ref)
            .ok_or_else(|| {
                Error::new(ErrorKind::Invalid, OPERATION, "core")
                    .with_message("no such participant")
            })
    }
}

fn found(status: PreparedStatus) -> Found {
    match status {
        PreparedStatus::Prepared => Found::InDoubt,
        PreparedStatus::Committed | PreparedStatus::RolledBack | PreparedStatus::Forgotten => {
            Found::Ended
        }
        PreparedStatus::None => Found::Nothing,
    }
}

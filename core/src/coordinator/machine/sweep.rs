//! A sweeper's side of the protocol, as a pure state machine.

use crate::register::Decision;

/// What a sweeper may do next with one transaction that is past its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SweepAction {
    /// Propose rollback to the register, and obey what it answers.
    ProposeRollback,
    /// Ask this participant where it stands.
    Inspect(usize),
    /// Commit this participant.
    Commit(usize),
    /// Roll this participant back, leaving a tombstone.
    Rollback(usize),
    /// Note in the register that everybody was told.
    Finish,
    /// Nothing is left to do.
    Done,
}

/// What the register answered to a sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// This decision stands.
    Decided(Decision),
    /// The transaction's time is over and nothing is kept. A commit is kept until everybody was
    /// told, so what is *still* prepared was never committed: it may be rolled back.
    Forgotten,
}

/// What a participant answered to a sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Prepared, and waiting.
    InDoubt,
    /// It has ended there.
    Ended,
    /// Nothing is known of it there: no part of the transaction, or a loss.
    Nothing,
}

/// A sweeper's work on one transaction. It never decides on its own and never proposes commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    ruling: Option<Ruling>,
    found: Vec<Option<Found>>,
    finished: bool,
}

impl Sweep {
    /// For a transaction that may be in doubt at any of so many participants.
    #[must_use]
    pub fn new(participants: usize) -> Self {
        Self {
            ruling: None,
            found: vec![None; participants],
            finished: false,
        }
    }

    /// What may be done next.
    #[must_use]
    pub fn actions(&self) -> Vec<SweepAction> {
        let Some(ruling) = self.ruling else {
            return vec![SweepAction::ProposeRollback];
        };
        let next = |(index, found): (usize, &Option<Found>)| match (ruling, found) {
            // A rollback leaves its tombstone everywhere: where nothing is prepared, a zombie may
            // still be about to.
            (Ruling::Decided(Decision::Rollback), None) => Some(SweepAction::Rollback(index)),
            // Only what is in doubt *after* the ruling was read is touched: what was listed before
            // may have ended, and been forgotten, since.
            (_, None) => Some(SweepAction::Inspect(index)),
            (Ruling::Decided(Decision::Commit), Some(Found::InDoubt)) => {
                Some(SweepAction::Commit(index))
            }
            (_, Some(Found::InDoubt)) => Some(SweepAction::Rollback(index)),
            (_, Some(Found::Ended | Found::Nothing)) => None,
        };
        let open: Vec<_> = self.found.iter().enumerate().filter_map(next).collect();
        if !open.is_empty() {
            return open;
        }
        if self.finished || !self.may_finish() {
            return vec![SweepAction::Done];
        }
        vec![SweepAction::Finish]
    }

    /// A commit is finished only if every participant says that it has committed: one that knows
    /// nothing may have lost it, and its coordinator must still be able to notice.
    fn may_finish(&self) -> bool {
        match self.ruling {
            Some(Ruling::Decided(Decision::Commit)) => !self.found.contains(&Some(Found::Nothing)),
            Some(Ruling::Decided(Decision::Rollback)) => true,
            Some(Ruling::Forgotten) | None => false,
        }
    }

    /// The register answered.
    pub fn ruled(&mut self, ruling: Ruling) {
        self.ruling = Some(ruling);
    }

    /// A participant answered.
    pub fn found(&mut self, participant: usize, found: Found) {
        if let Some(slot) = self.found.get_mut(participant) {
            *slot = Some(found);
        }
    }

    /// The register has noted the end.
    pub fn finished(&mut self) {
        self.finished = true;
    }

    /// Which participants knew nothing of a transaction that was decided to commit.
    #[must_use]
    pub fn missing(&self) -> Vec<usize> {
        match self.ruling {
            Some(Ruling::Decided(Decision::Commit)) => (0..self.found.len())
                .filter(|index| self.found[*index] == Some(Found::Nothing))
                .collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweeper_obeys_and_never_proposes_commit() {
        let mut sweep = Sweep::new(2);
        assert_eq!(sweep.actions(), [SweepAction::ProposeRollback]);
        sweep.ruled(Ruling::Decided(Decision::Commit));
        assert_eq!(
            sweep.actions(),
            [SweepAction::Inspect(0), SweepAction::Inspect(1)]
        );
        sweep.found(0, Found::InDoubt);
        sweep.found(1, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Commit(0)]);
        sweep.found(0, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Finish]);
    }

    #[test]
    fn a_commit_that_somebody_may_have_lost_stays_unfinished() {
        let mut sweep = Sweep::new(2);
        sweep.ruled(Ruling::Decided(Decision::Commit));
        sweep.found(0, Found::Ended);
        sweep.found(1, Found::Nothing);
        assert_eq!(sweep.actions(), [SweepAction::Done]);
        assert_eq!(sweep.missing(), [1]);
    }

    #[test]
    fn a_rollback_leaves_its_tombstone_everywhere() {
        let mut sweep = Sweep::new(2);
        sweep.ruled(Ruling::Decided(Decision::Rollback));
        assert_eq!(
            sweep.actions(),
            [SweepAction::Rollback(0), SweepAction::Rollback(1)]
        );
    }

    #[test]
    fn once_forgotten_only_what_is_still_in_doubt_is_rolled_back() {
        let mut sweep = Sweep::new(2);
        sweep.ruled(Ruling::Forgotten);
        sweep.found(0, Found::InDoubt);
        sweep.found(1, Found::Nothing);
        assert_eq!(sweep.actions(), [SweepAction::Rollback(0)]);
        sweep.found(0, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Done]);
    }
}

//! A sweeper's side of the protocol, as a pure state machine.

use super::{Found, Named, Noted};
use crate::{error::ErrorKind, register::Decision};

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
    /// Note in the register that this participant ended otherwise than was decided.
    Dispute(usize, Decision),
    /// Note in the register that every participant has confirmed this decision.
    Finish(Decision),
    /// The transaction names another register: leave it alone, and report it.
    LeaveAlone,
    /// Nothing is left to do.
    Done,
}

/// What the register answered to a sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ruling {
    /// This decision stands.
    Decided(Decision),
    /// An operator settled the transaction: what is still in doubt is ended so, and nothing else is
    /// touched.
    Settled(Decision),
    /// `forget_after` has passed and nothing is kept. A commit is kept until every participant has
    /// confirmed it, so what is *still* prepared was never committed: it may be rolled back.
    Forgotten,
    /// The transaction's name stands there with other terms: another request, or other participants.
    /// The first writer wins, so commit can't be decided any more for these.
    Taken,
}

/// A sweeper's work on one transaction. It never decides on its own and never proposes commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sweep {
    entitled: bool,
    ruling: Option<Ruling>,
    /// `None` where the register's row names none: then every participant may have taken part.
    named: Option<Named>,
    found: Vec<Option<Found>>,
    /// Whether the register has the note that a participant ended otherwise.
    disputed: Vec<bool>,
    /// Whether its row had such a note before.
    in_dispute: bool,
    noted: Option<Noted>,
}

impl Sweep {
    /// For a transaction that may be in doubt at any of so many participants. `entitled` says that
    /// the sweeper holds the register that the transaction names.
    #[must_use]
    pub fn new(participants: usize, entitled: bool) -> Self {
        Self {
            entitled,
            ruling: None,
            named: None,
            found: vec![None; participants],
            disputed: vec![false; participants],
            in_dispute: false,
            noted: None,
        }
    }

    /// What may be done next.
    #[must_use]
    pub fn actions(&self) -> Vec<SweepAction> {
        // Another register may have decided commit, whatever this one says.
        if !self.entitled {
            return vec![SweepAction::LeaveAlone];
        }
        let Some(ruling) = self.ruling else {
            return vec![SweepAction::ProposeRollback];
        };
        let next = |index: usize| match (ruling, self.found[index]) {
            // A rollback leaves its tombstone everywhere: where nothing is prepared, a zombie may
            // still be about to.
            (Ruling::Decided(Decision::Rollback), None) => Some(SweepAction::Rollback(index)),
            // Only what is in doubt *after* the ruling was read is touched: what was listed before
            // may have ended, and been forgotten, since.
            (_, None) => Some(SweepAction::Inspect(index)),
            (
                Ruling::Decided(Decision::Commit) | Ruling::Settled(Decision::Commit),
                Some(Found::InDoubt),
            ) => Some(SweepAction::Commit(index)),
            (_, Some(Found::InDoubt)) => Some(SweepAction::Rollback(index)),
            // The proof of it is removed in its time, and the alarm must not end with it.
            (Ruling::Decided(decision), Some(Found::Opposite)) if !self.disputed[index] => {
                Some(SweepAction::Dispute(index, decision))
            }
            (_, Some(Found::Ended | Found::Opposite | Found::Nothing | Found::Away)) => None,
        };
        let took_part = (0..self.found.len()).filter(|index| self.took_part(*index));
        let open: Vec<_> = took_part.filter_map(next).collect();
        if !open.is_empty() {
            return open;
        }
        match ruling {
            Ruling::Decided(decision) if self.noted.is_none() && self.may_finish() => {
                vec![SweepAction::Finish(decision)]
            }
            _ => vec![SweepAction::Done],
        }
    }

    /// A store that took no part holds up nothing.
    fn took_part(&self, participant: usize) -> bool {
        self.named
            .as_ref()
            .is_none_or(|named| named.took_part.get(participant) == Some(&true))
    }

    /// A decision is finished only if every participant that it names confirms it. One that
    /// knows nothing may have lost it, and one that the sweeper does not know may still be in doubt:
    /// once the decision is forgotten, it would be rolled back.
    fn may_finish(&self) -> bool {
        let confirmed = !self.in_dispute
            && (0..self.found.len())
                .filter(|index| self.took_part(*index))
                .all(|index| self.found[index] == Some(Found::Ended));
        match self.ruling {
            Some(Ruling::Decided(Decision::Commit)) => {
                confirmed && self.named.as_ref().is_some_and(|named| named.unknown == 0)
            }
            // A rollback that is forgotten is one still. So one whose row names no participants, as a
            // sweeper writes it that knows others than took part, is finished by those that it knows.
            Some(Ruling::Decided(Decision::Rollback)) => {
                confirmed && self.named.as_ref().is_none_or(|named| named.unknown == 0)
            }
            Some(Ruling::Settled(_) | Ruling::Forgotten | Ruling::Taken) | None => false,
        }
    }

    /// The register answered: what stands, and which participants its row names.
    pub fn ruled(&mut self, ruling: Ruling, named: Option<Named>) {
        self.ruling = Some(ruling);
        self.named = named;
    }

    /// The register's row has the note that a participant ended otherwise: it is not finished, whatever
    /// the participants say now.
    pub fn in_dispute(&mut self) {
        self.in_dispute = true;
    }

    /// A participant answered.
    pub fn found(&mut self, participant: usize, found: Found) {
        if let Some(slot) = self.found.get_mut(participant) {
            *slot = Some(found);
        }
    }

    /// The register has the note that this participant ended otherwise.
    pub fn disputed(&mut self, participant: usize) {
        if let Some(slot) = self.disputed.get_mut(participant) {
            *slot = true;
        }
    }

    /// What the register answered to the note of the end, or says of it already.
    pub fn noted(&mut self, noted: Noted) {
        self.noted = Some(noted);
    }

    /// With which error the sweep of this transaction ends, where the register did not take the note
    /// of the end.
    #[must_use]
    pub fn stops(&self) -> Option<ErrorKind> {
        match (self.noted, self.ruling) {
            (Some(noted), Some(Ruling::Decided(decision))) => noted.stops(decision),
            _ => None,
        }
    }

    /// What the register said.
    #[must_use]
    pub fn ruling(&self) -> Option<Ruling> {
        self.ruling
    }

    /// Which participants that took part knew nothing of a commit that is not finished: lost.
    #[must_use]
    pub fn lost(&self) -> Vec<usize> {
        let finished = self.noted == Some(Noted::Finished);
        if finished || self.ruling != Some(Ruling::Decided(Decision::Commit)) {
            return Vec::new();
        }
        self.all(Found::Nothing)
    }

    /// Which participants ended otherwise than was decided.
    #[must_use]
    pub fn heuristic(&self) -> Vec<usize> {
        self.all(Found::Opposite)
    }

    fn all(&self, found: Found) -> Vec<usize> {
        (0..self.found.len())
            .filter(|index| self.found[*index] == Some(found))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(took_part: &[bool], unknown: usize) -> Option<Named> {
        Some(Named {
            took_part: took_part.to_vec(),
            unknown,
        })
    }

    fn committing(took_part: &[bool], unknown: usize) -> Sweep {
        let mut sweep = Sweep::new(took_part.len(), true);
        sweep.ruled(Ruling::Decided(Decision::Commit), named(took_part, unknown));
        sweep
    }

    #[test]
    fn a_sweeper_obeys_and_never_proposes_commit() {
        assert_eq!(
            Sweep::new(2, true).actions(),
            [SweepAction::ProposeRollback]
        );
        let mut sweep = committing(&[true, true], 0);
        assert_eq!(
            sweep.actions(),
            [SweepAction::Inspect(0), SweepAction::Inspect(1)]
        );
        sweep.found(0, Found::InDoubt);
        sweep.found(1, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Commit(0)]);
        sweep.found(0, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Finish(Decision::Commit)]);
    }

    #[test]
    fn another_registers_transaction_is_left_alone() {
        assert_eq!(Sweep::new(2, false).actions(), [SweepAction::LeaveAlone]);
    }

    #[test]
    fn a_commit_is_finished_by_the_confirmation_of_every_participant_it_names() {
        let mut part = committing(&[true], 1);
        part.found(0, Found::Ended);
        assert_eq!(part.actions(), [SweepAction::Done]);
        let mut superset = committing(&[true, false, true], 0);
        superset.found(0, Found::Ended);
        assert_eq!(superset.actions(), [SweepAction::Inspect(2)]);
        superset.found(2, Found::Ended);
        let finish = [SweepAction::Finish(Decision::Commit)];
        assert_eq!(superset.actions(), finish);
        for noted in [Noted::Otherwise, Noted::Nothing] {
            superset.noted(noted);
            assert_eq!(superset.actions(), [SweepAction::Done]);
            assert_eq!(superset.stops(), noted.stops(Decision::Commit));
        }
        for found in [Found::Nothing, Found::Opposite, Found::Away] {
            let mut sweep = committing(&[true, true], 0);
            sweep.found(0, Found::Ended);
            sweep.found(1, found);
            sweep.disputed(1);
            assert_eq!(sweep.actions(), [SweepAction::Done], "{found:?}");
            assert_eq!(sweep.lost().is_empty(), found != Found::Nothing);
            assert_eq!(sweep.heuristic().is_empty(), found != Found::Opposite);
        }
        // A row that names none says nothing about how many there are.
        let mut unnamed = Sweep::new(1, true);
        unnamed.ruled(Ruling::Decided(Decision::Commit), None);
        unnamed.found(0, Found::Ended);
        assert_eq!(unnamed.actions(), [SweepAction::Done]);
    }

    #[test]
    fn a_rollback_leaves_its_tombstone_everywhere() {
        let mut sweep = Sweep::new(2, true);
        sweep.ruled(Ruling::Decided(Decision::Rollback), None);
        assert_eq!(
            sweep.actions(),
            [SweepAction::Rollback(0), SweepAction::Rollback(1)]
        );
        sweep.found(0, Found::Ended);
        let mut away = sweep.clone();
        let mut part = sweep.clone();
        part.ruled(Ruling::Decided(Decision::Rollback), named(&[true, true], 1));
        part.found(1, Found::Ended);
        assert_eq!(part.actions(), [SweepAction::Done]);
        let mut opposed = sweep.clone();
        opposed.found(1, Found::Opposite);
        let dispute = SweepAction::Dispute(1, Decision::Rollback);
        assert_eq!(opposed.actions(), [dispute]);
        opposed.disputed(1);
        assert_eq!(opposed.actions(), [SweepAction::Done]);
        let mut disputed = sweep.clone();
        disputed.in_dispute();
        disputed.found(1, Found::Ended);
        assert_eq!(disputed.actions(), [SweepAction::Done]);
        sweep.found(1, Found::Ended);
        let finish = [SweepAction::Finish(Decision::Rollback)];
        assert_eq!(sweep.actions(), finish);
        away.found(1, Found::Away);
        assert_eq!(away.actions(), [SweepAction::Done]);
    }

    #[test]
    fn once_forgotten_or_taken_only_what_is_still_in_doubt_is_rolled_back() {
        for ruling in [Ruling::Forgotten, Ruling::Taken] {
            let mut sweep = Sweep::new(2, true);
            sweep.ruled(ruling, None);
            sweep.found(0, Found::InDoubt);
            sweep.found(1, Found::Nothing);
            assert_eq!(sweep.actions(), [SweepAction::Rollback(0)]);
            sweep.found(0, Found::Ended);
            assert_eq!(sweep.actions(), [SweepAction::Done]);
        }
    }

    #[test]
    fn a_settlement_ends_what_is_in_doubt_and_nothing_else() {
        let mut sweep = Sweep::new(2, true);
        sweep.ruled(Ruling::Settled(Decision::Rollback), None);
        sweep.found(0, Found::InDoubt);
        sweep.found(1, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Rollback(0)]);
        sweep.found(0, Found::Ended);
        assert_eq!(sweep.actions(), [SweepAction::Done]);
    }
}

//! The statements by which an attempt prepares, and those by which anybody rolls back.

use exactly_once_core::two_phase::machine::{Role, Vote};

use super::{Label, Step, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Answer, Clock, Row},
};

impl World {
    pub(super) fn prepare_steps(&self, number: usize, at: usize) -> Vec<(Label, Self)> {
        let named = |what| label("attempt", number, what, at);
        if self.role(number, at) == Role::Reader {
            return self.read_steps(number, at);
        }
        let mut world = self.clone();
        let in_time = self.clock == Clock::InTime;
        let store = self.store_of(number, at);
        match self.attempts[number].steps[at] {
            Step::Idle if self.broken == Some(Mistake::DeadlineBeforeMarker) => {
                if in_time {
                    world.attempts[number].steps[at] = Step::PreChecked;
                } else {
                    world.vote(number, at, Vote::No);
                }
                vec![(named("checks the clock"), world)]
            }
            Step::Idle | Step::PreChecked => {
                let moved = world.insert_marker(number, at);
                if moved {
                    vec![(named("inserts the marker"), world)]
                } else {
                    Vec::new()
                }
            }
            Step::Marked => {
                if in_time || self.broken == Some(Mistake::NoDeadline) {
                    world.attempts[number].steps[at] = Step::Worked;
                } else {
                    world.parts[store].open = None;
                    world.vote(number, at, Vote::No);
                }
                vec![(named("checks the clock"), world)]
            }
            Step::Worked => {
                let mut next = Vec::new();
                if self.config.refusals && at + 1 == self.members(self.terms_of(number)).len() {
                    let mut refused = self.clone();
                    refused.parts[store].open = None;
                    refused.vote(number, at, Vote::No);
                    next.push((named("refuses"), refused));
                }
                if self.broken == Some(Mistake::LeftOutByWhatItDid) && at == 0 {
                    let mut left_out = self.clone();
                    left_out.parts[store].open = None;
                    left_out.vote(number, at, Vote::Yes);
                    left_out.attempts[number].machine.told(at);
                    next.push((named("does nothing, and is left out"), left_out));
                }
                if matches!(self.role(number, at), Role::Alone | Role::Last) {
                    world.vote(number, at, Vote::Open);
                    next.push((named("stays open"), world));
                    return next;
                }
                world.parts[store].open = None;
                world.parts[store].prepared = true;
                if self.parts[store].late {
                    world.violation = Some("work that began past the deadline was prepared");
                }
                world.vote(number, at, Vote::Yes);
                next.push((named("prepares"), world));
                next
            }
            Step::Ended => Vec::new(),
        }
    }

    /// One that only reads consents or refuses, and leaves nothing.
    fn read_steps(&self, number: usize, at: usize) -> Vec<(Label, Self)> {
        let votes = [(Vote::Yes, "only reads"), (Vote::No, "refuses")];
        let votes = votes
            .into_iter()
            .filter(|(vote, _)| *vote == Vote::Yes || self.config.refusals);
        votes
            .map(|(vote, what)| {
                let mut world = self.clone();
                world.vote(number, at, vote);
                (label("attempt", number, what, at), world)
            })
            .collect()
    }

    /// Inserts the marker, or reads what is there. Says whether anything happened: behind another
    /// transaction's lock nothing does.
    fn insert_marker(&mut self, number: usize, at: usize) -> bool {
        let (clock, broken) = (self.clock, self.broken);
        let store = self.store_of(number, at);
        let terms = self.stored(self.terms_of(number));
        if self.differs(store, terms) {
            self.end(number);
            return true;
        }
        let role = self.role(number, at);
        let part = &mut self.parts[store];
        if broken == Some(Mistake::NoMarker) {
            if part.prepared {
                self.vote(number, at, Vote::Yes);
                return true;
            }
            if part.open.is_some() {
                return false;
            }
        } else if part.prepared || part.row == Row::Committed {
            let alone = !part.prepared && role == Role::Alone;
            self.vote(number, at, if alone { Vote::Committed } else { Vote::Yes });
            return true;
        } else if part.row == Row::RolledBack {
            self.vote(number, at, Vote::No);
            return true;
        } else if part.open.is_some() {
            if broken == Some(Mistake::LockTimeoutIsPrepared) {
                self.vote(number, at, Vote::Yes);
                return true;
            }
            return false;
        } else if clock == Clock::PastForget && broken != Some(Mistake::DeadlineBeforeMarker) {
            self.end(number);
            return true;
        }
        part.open = u8::try_from(number).ok();
        // What was undone was the work of other terms.
        part.undone &= part.terms == terms;
        part.terms = terms;
        part.late = clock != Clock::InTime;
        let checked = self.attempts[number].steps[at] == Step::PreChecked;
        self.attempts[number].steps[at] = if checked { Step::Worked } else { Step::Marked };
        true
    }

    pub(super) fn vote(&mut self, number: usize, at: usize, vote: Vote) {
        self.attempts[number].steps[at] = Step::Idle;
        self.attempts[number].machine.voted(at, vote);
    }

    /// `COMMIT PREPARED` at a store.
    pub(super) fn commit_step(&mut self, store: usize, terms: usize) -> Answer {
        if self.differs(store, terms) {
            return Answer::Mismatch;
        }
        self.parts[store].commit(self.clock, self.broken)
    }

    /// One statement of a rollback: end what is prepared, then the tombstone.
    pub(super) fn rollback_step(
        &mut self,
        store: usize,
        terms: usize,
        step: &mut Step,
    ) -> Option<(&'static str, Option<Answer>)> {
        let (clock, broken) = (self.clock, self.broken);
        let terms = self.stored(terms);
        if self.differs(store, terms) {
            *step = Step::Idle;
            return Some(("meets other terms", Some(Answer::Mismatch)));
        }
        let part = &mut self.parts[store];
        if !part.knows_it() && part.effects == 0 {
            part.undone &= part.terms == terms;
            part.terms = terms;
        }
        let tombstone_first = broken == Some(Mistake::TombstoneBeforeRollback);
        let second = *step == Step::Ended;
        if second != tombstone_first {
            let answer = part.tombstone(clock, broken);
            if tombstone_first {
                *step = Step::Ended;
                return Some(("writes the tombstone", None));
            }
            if answer == Answer::Busy {
                // Behind the lock of an open transaction; or prepared again, then from the start.
                return part.prepared.then(|| {
                    *step = Step::Idle;
                    ("starts the rollback again", None)
                });
            }
            return Some(("writes the tombstone", Some(answer)));
        }
        part.rollback();
        *step = Step::Ended;
        let over = tombstone_first || broken == Some(Mistake::RollbackWithoutTombstone);
        Some(("ends what is prepared", over.then_some(Answer::Done)))
    }
}

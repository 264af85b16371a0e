//! What must hold in every state, and what must hold once a right sweep has ended everything.

use exactly_once_core::Decision;

use super::{World, config::Knowing};
use crate::participant::Clock;

const ALL: [&[usize]; 5] = [&[], &[0], &[0, 1], &[0, 1, 2], &[0, 1, 2, 3]];

impl World {
    /// What is wrong with this state, if anything.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        if self.violation.is_some() {
            return self.violation;
        }
        if self.parts.iter().any(|part| part.effects > 1) {
            return Some("the work of a participant was committed twice");
        }
        let one_set = self.members(0) == self.members(self.config.terms() - 1);
        let committed = |terms: &usize| self.any_committed(*terms);
        if !one_set && (0..self.config.terms()).filter(committed).count() > 1 {
            return Some("two sets of participants have committed under one name");
        }
        for terms in 0..self.config.terms() {
            let wrong = self.violation_of(terms);
            if wrong.is_some() {
                return wrong;
            }
        }
        let is_rest = self.clock != Clock::InTime
            && self.sweepers.iter().all(Option::is_none)
            && self.attempts.iter().all(|attempt| !attempt.alive);
        is_rest.then(|| self.after_a_sweep()).flatten()
    }

    fn any_committed(&self, terms: usize) -> bool {
        let mut members = self.members(terms).iter();
        members.any(|at| self.has_committed(*at, terms))
    }

    fn any_undone(&self, terms: usize) -> bool {
        let mut members = self.members(terms).iter();
        members.any(|at| self.is_undone(*at, terms))
    }

    fn violation_of(&self, terms: usize) -> Option<&'static str> {
        let (committed, undone) = (self.any_committed(terms), self.any_undone(terms));
        if committed && undone && !self.faulty() {
            return Some("one participant has committed and another one was rolled back");
        }
        let register = &self.registers[self.register_for(terms)];
        if !register.finished || register.terms != terms {
            return None;
        }
        let prepared =
            |at: &usize| self.parts[*at].prepared && self.parts[*at].terms == self.stored(terms);
        // A rollback that names no participants may be finished by some of them.
        let everybody = register.value == Some(Decision::Commit) || register.named;
        if everybody && !self.restored && self.members(terms).iter().any(prepared) {
            return Some("in doubt, though everybody was told");
        }
        let otherwise = match register.value {
            Some(Decision::Commit) => undone,
            Some(Decision::Rollback) => committed,
            None => false,
        };
        otherwise.then_some("finished, though a participant ended otherwise")
    }

    /// No attempt is left: one sweep must resolve everything, all or none. Where a fault makes that
    /// impossible, it must raise an alarm.
    fn after_a_sweep(&self) -> Option<&'static str> {
        let mut world = self.clone();
        world.at_rest = true;
        let mut swept = false;
        for terms in 0..self.config.terms() {
            let right = self.right_sweeper(terms);
            if !world.something_to_sweep(right, terms) {
                continue;
            }
            swept = true;
            world.sweepers[0] = Some(world.sweep(right, terms));
            while world.sweepers[0].is_some() && world.violation.is_none() {
                world = world.swept_on(0)?;
            }
        }
        if world.violation.is_some() {
            return world.violation;
        }
        if swept && world.parts.iter().any(|part| part.prepared) {
            return Some("in doubt after a sweep, with nobody left to end it");
        }
        (0..self.config.terms()).find_map(|terms| world.rest_of(terms))
    }

    /// A sweeper of these terms' register that knows every store.
    pub(super) fn right_sweeper(&self, terms: usize) -> Knowing {
        Knowing(self.register_for(terms), ALL[self.parts.len()])
    }

    fn rest_of(&self, terms: usize) -> Option<&'static str> {
        let register = &self.registers[self.register_for(terms)];
        let decided = register.value.is_some() && register.terms == terms;
        if self.any_committed(terms) && self.any_undone(terms) && !self.alarmed {
            return Some("participants ended differently, and the last sweep raised no alarm");
        }
        // A store that takes no part holds up nothing.
        let others = self.parts.len() > self.members(terms).len() && self.config.other.is_none();
        let healthy = !self.lost && !self.faulty() && self.clock != Clock::PastForget;
        if others && healthy && decided && !register.finished {
            return Some("a sweep of all participants does not finish the decision");
        }
        None
    }
}

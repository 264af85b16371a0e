//! The steps of an attempt, one statement each.

use exactly_once_core::{
    Decision,
    two_phase::machine::{Action, Attempt, Role, Vote},
};

use super::{Label, Step, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Answer, Clock, Ruled},
};

impl World {
    pub(super) fn attempt_steps(&self, number: usize) -> Vec<(Label, Self)> {
        let attempt = &self.attempts[number];
        if !attempt.alive {
            return Vec::new();
        }
        let mut next = Vec::new();
        let offered = self.offered(number);
        let at_once = if self.config.parallel {
            offered.len()
        } else {
            1
        };
        for action in offered.into_iter().take(at_once) {
            next.extend(self.attempt_step(number, action));
        }
        let mut dead = self.clone();
        dead.end(number);
        next.push((label("attempt", number, "crashes", 0), dead));
        next
    }

    /// What the library's machine offers, as a broken coordinator would read it.
    fn offered(&self, number: usize) -> Vec<Action> {
        let machine = &self.attempts[number].machine;
        let actions = machine.actions();
        match self.broken {
            Some(Mistake::CommitDespiteRefusal)
                if actions == [Action::Decide(Decision::Rollback)] =>
            {
                vec![Action::Decide(Decision::Commit)]
            }
            Some(Mistake::LastDoesNotWait) if !machine.is_decided() => {
                let own = u8::try_from(number).ok();
                let open = |at: &usize| self.parts[self.store_of(number, *at)].open == own;
                let last = (0..self.members(self.terms_of(number)).len())
                    .find(|at| self.role(number, *at) == Role::Last && open(at));
                let worked = last.filter(|at| self.attempts[number].steps[*at] == Step::Idle);
                worked.map_or(actions, |last| vec![Action::CommitDeciding(last)])
            }
            _ => actions,
        }
    }

    fn attempt_step(&self, number: usize, action: Action) -> Vec<(Label, Self)> {
        let mut world = self.clone();
        let named = |what, at| label("attempt", number, what, at);
        match action {
            Action::Prepare(at) => self.prepare_steps(number, at),
            Action::Decide(proposal) => {
                // What is open must not commit any more.
                world.close(number);
                world.ask(number, proposal);
                vec![(named("asks the register", 0), world)]
            }
            Action::CommitAlone(at) => {
                world.commit_alone(number, at);
                vec![(named("commits alone", at), world)]
            }
            Action::CommitDeciding(at) => {
                world.commit_deciding(number, at);
                vec![(named("commits with the decision", at), world)]
            }
            Action::Commit(at) => {
                world.tell_commit(number, at);
                vec![(named("commits", at), world)]
            }
            Action::Rollback(at) => {
                if !world.attempts[number].machine.is_decided() {
                    world.close(number);
                }
                let what = world.tell_rollback(number, at);
                what.map(|what| (named(what, at), world))
                    .into_iter()
                    .collect()
            }
            Action::Dispute(at) => {
                world.note_dispute(number, at);
                vec![(named("notes that it did not obey", at), world)]
            }
            Action::Finish(decision) => {
                let (register, terms) = (world.register_of(number), world.terms_of(number));
                match world.finish(register, terms, decision) {
                    Some(noted) => world.attempts[number].machine.noted(noted),
                    // Removed at the end of its time: there is nothing left to note.
                    None => world.end(number),
                }
                vec![(named("notes the end", 0), world)]
            }
            Action::Stop(kind) => {
                world.stop(kind);
                world.end(number);
                vec![(named("stops", 0), world)]
            }
            Action::Report(decision) => {
                world.report(number, decision);
                world.end(number);
                vec![(named("reports", 0), world)]
            }
        }
    }

    fn ask(&mut self, number: usize, proposal: Decision) {
        let alone = matches!(
            self.broken,
            Some(Mistake::CoordinatorWithoutRegister | Mistake::AlonePrepares)
        );
        let (register, terms) = (self.register_of(number), self.terms_of(number));
        let decided = if alone {
            Ruled::Stands(proposal)
        } else {
            self.propose(register, proposal, terms, true)
        };
        match decided {
            Ruled::Stands(decision) => self.attempts[number].machine.decided(decision),
            _ => self.end(number),
        }
        if self.broken == Some(Mistake::FinishBeforeTold) {
            self.registers[register].finished = true;
        }
    }

    /// Work, marker and commit in one statement, in time.
    fn commit_alone(&mut self, number: usize, at: usize) {
        if self.clock != Clock::InTime {
            self.close(number);
            self.vote(number, at, Vote::No);
            return;
        }
        let store = self.store_of(number, at);
        self.parts[store].commit_open();
        self.attempts[number]
            .machine
            .ended_alone(at, Decision::Commit);
    }

    /// Work, marker and decision in one statement, in time, and only where nothing stands.
    fn commit_deciding(&mut self, number: usize, at: usize) {
        let store = self.store_of(number, at);
        if self.broken == Some(Mistake::LastCommitsBeforeDecision) {
            self.parts[store].commit_open();
            self.vote(number, at, Vote::Yes);
            return;
        }
        let (register, terms) = (self.register_of(number), self.terms_of(number));
        match self.registers[register].value {
            None if self.clock == Clock::InTime => {
                self.parts[store].commit_open();
                self.propose(register, Decision::Commit, terms, true);
                self.attempts[number].machine.decided(Decision::Commit);
                self.attempts[number].machine.told(at);
            }
            None => {
                self.close(number);
                self.vote(number, at, Vote::No);
            }
            Some(Decision::Rollback) => {
                self.close(number);
                self.attempts[number].machine.decided(Decision::Rollback);
            }
            // Another attempt has decided: begin again.
            Some(Decision::Commit) => self.end(number),
        }
    }

    fn report(&mut self, number: usize, decision: Decision) {
        let terms = self.terms_of(number);
        let effects = |at: &usize| self.has_committed(*at, terms);
        let members = self.members(terms);
        let (all, any) = (members.iter().all(effects), members.iter().any(effects));
        let left_out = self.broken == Some(Mistake::LeftOutByWhatItDid);
        if decision == Decision::Commit && !all && !left_out && !self.restored {
            self.violation = Some("reported as committed, and somebody has not");
        }
        if decision == Decision::Rollback {
            if any && !self.restored {
                self.violation = Some("reported as rolled back, and somebody has committed");
            }
            // The answer is out: from here on none may commit.
            for at in members {
                if self.parts[*at].terms == self.stored(terms) {
                    self.parts[*at].undone = true;
                }
            }
        }
    }

    fn tell_commit(&mut self, number: usize, at: usize) {
        let (register, terms) = (self.register_of(number), self.terms_of(number));
        match self.commit_step(self.store_of(number, at), terms) {
            Answer::Done => self.attempts[number].machine.told(at),
            Answer::Opposite if self.broken == Some(Mistake::HeuristicIsTold) => {
                self.attempts[number].machine.told(at);
            }
            Answer::Opposite => self.opposed(number, at),
            Answer::Forgotten | Answer::Busy | Answer::Mismatch => self.end(number),
            // It knows nothing: fine if all were informed before, otherwise it was lost.
            Answer::Unknown if self.registers[register].finished => {
                self.attempts[number].machine.told(at);
            }
            Answer::Unknown => {
                self.loss();
                self.end(number);
            }
        }
    }

    fn tell_rollback(&mut self, number: usize, at: usize) -> Option<&'static str> {
        let decided = self.attempts[number].machine.is_decided();
        if !decided && self.broken == Some(Mistake::AloneLeavesNoTombstone) {
            let machine = &mut self.attempts[number].machine;
            machine.ended_alone(at, Decision::Rollback);
            return Some("leaves it at the refusal");
        }
        let mut step = self.attempts[number].steps[at];
        let (store, terms) = (self.store_of(number, at), self.terms_of(number));
        let (what, answer) = self.rollback_step(store, terms, &mut step)?;
        self.attempts[number].steps[at] = step;
        match answer {
            Some(Answer::Done | Answer::Forgotten) if decided => {
                self.attempts[number].steps[at] = Step::Idle;
                self.attempts[number].machine.told(at);
            }
            Some(Answer::Opposite) if decided => {
                self.attempts[number].steps[at] = Step::Idle;
                self.opposed(number, at);
            }
            // The only one that writes: what became of it is the decision.
            Some(Answer::Done) => self.ended_alone(number, at, Decision::Rollback),
            Some(Answer::Opposite) => self.ended_alone(number, at, Decision::Commit),
            Some(Answer::Forgotten | Answer::Mismatch) => self.end(number),
            _ => {}
        }
        Some(what)
    }

    fn opposed(&mut self, number: usize, at: usize) {
        self.heuristic();
        self.attempts[number].machine.opposed(at);
    }

    fn note_dispute(&mut self, number: usize, at: usize) {
        let (register, terms) = (self.register_of(number), self.terms_of(number));
        if let Some(decision) = self.attempts[number].machine.decision() {
            self.dispute(register, terms, decision);
        }
        self.attempts[number].machine.disputed(at);
    }

    fn ended_alone(&mut self, number: usize, at: usize, decision: Decision) {
        self.attempts[number].steps[at] = Step::Idle;
        self.attempts[number].machine.ended_alone(at, decision);
    }

    /// The attempt has ended: what it had open is rolled back.
    pub(super) fn end(&mut self, number: usize) {
        self.close(number);
        let roles = self.roles(number);
        let attempt = &mut self.attempts[number];
        attempt.alive = false;
        // Dead attempts are alike: fewer states to tell apart.
        attempt.machine = Attempt::new(roles);
        attempt.steps.fill(Step::Idle);
    }

    /// What the attempt has open is rolled back.
    fn close(&mut self, number: usize) {
        let own = u8::try_from(number).ok();
        for part in &mut self.parts {
            if part.open.is_some() && part.open == own {
                part.open = None;
            }
        }
    }
}

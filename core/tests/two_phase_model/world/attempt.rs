//! The steps of an attempt, one statement each.

use exactly_once_core::{
    Decision,
    coordinator::machine::{Action, Attempt, Role, Vote},
};

use super::{Label, Step, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Answer, Clock},
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
                let open = |at: &usize| self.parts[*at].open == u8::try_from(number).ok();
                let last = (0..self.parts.len()).find(|at| self.is_last(*at) && open(at));
                let worked = last.filter(|at| self.attempts[number].steps[*at] == Step::Idle);
                worked.map_or(actions, |last| vec![Action::CommitDeciding(last)])
            }
            _ => actions,
        }
    }

    fn is_last(&self, at: usize) -> bool {
        self.config.roles[at] == Role::Last
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
            Action::Finish => {
                // Removed at the end of its time: there is nothing left to note.
                match world.register.value {
                    Some(_) => {
                        world.register.finished = true;
                        world.attempts[number].machine.finished();
                    }
                    None => world.end(number),
                }
                vec![(named("notes the end", 0), world)]
            }
            Action::Report(decision) => {
                world.report(decision);
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
        let decided = if alone {
            Some(proposal)
        } else {
            self.register.decide(proposal, self.clock, self.broken)
        };
        match decided {
            Some(decision) => self.attempts[number].machine.decided(decision),
            None => self.end(number),
        }
        if self.broken == Some(Mistake::FinishBeforeTold) {
            self.register.finished = true;
        }
    }

    /// Work, marker and commit in one statement, in time.
    fn commit_alone(&mut self, number: usize, at: usize) {
        if self.clock != Clock::InTime {
            self.close(number);
            self.vote(number, at, Vote::No);
            return;
        }
        self.parts[at].commit_open();
        self.attempts[number]
            .machine
            .ended_alone(at, Decision::Commit);
    }

    /// Work, marker and decision in one statement, in time, and only where nothing stands.
    fn commit_deciding(&mut self, number: usize, at: usize) {
        if self.broken == Some(Mistake::LastCommitsBeforeDecision) {
            self.parts[at].commit_open();
            self.vote(number, at, Vote::Yes);
            return;
        }
        match self.register.value {
            None if self.clock == Clock::InTime => {
                self.parts[at].commit_open();
                self.register.value = Some(Decision::Commit);
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

    fn report(&mut self, decision: Decision) {
        let all = self.parts.iter().all(|part| part.effects == 1);
        let none = self.parts.iter().all(|part| part.effects == 0);
        let left_out = self.broken == Some(Mistake::LeftOutByWhatItDid);
        if decision == Decision::Commit && !all && !left_out {
            self.violation = Some("reported as committed, and somebody has not");
        }
        if decision == Decision::Rollback {
            if !none {
                self.violation = Some("reported as rolled back, and somebody has committed");
            }
            // Told is told: from here on nobody may commit.
            self.parts.iter_mut().for_each(|part| part.undone = true);
        }
    }

    fn tell_commit(&mut self, number: usize, at: usize) {
        match self.parts[at].commit(self.clock, self.broken) {
            Answer::Done => self.attempts[number].machine.told(at),
            Answer::Opposite => self.violation = Some("a heuristic outcome"),
            Answer::Forgotten | Answer::Busy => self.end(number),
            // It knows nothing: fine if everybody was told before, otherwise it was lost.
            Answer::Unknown if self.register.finished => self.attempts[number].machine.told(at),
            Answer::Unknown => {
                if !self.lost {
                    self.violation = Some("a loss was reported where nothing was lost");
                }
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
        let (what, answer) = self.rollback_step(at, &mut step)?;
        self.attempts[number].steps[at] = step;
        match answer {
            Some(Answer::Done | Answer::Forgotten) if decided => {
                self.attempts[number].steps[at] = Step::Idle;
                self.attempts[number].machine.told(at);
            }
            Some(Answer::Opposite) if decided => self.violation = Some("a heuristic outcome"),
            // The only one that writes: what became of it is the decision.
            Some(Answer::Done) => self.ended_alone(number, at, Decision::Rollback),
            Some(Answer::Opposite) => self.ended_alone(number, at, Decision::Commit),
            Some(Answer::Forgotten) => self.end(number),
            _ => {}
        }
        Some(what)
    }

    fn ended_alone(&mut self, number: usize, at: usize, decision: Decision) {
        self.attempts[number].steps[at] = Step::Idle;
        self.attempts[number].machine.ended_alone(at, decision);
    }

    /// The attempt is over: what it had open is rolled back.
    pub(super) fn end(&mut self, number: usize) {
        self.close(number);
        let config = self.config;
        let attempt = &mut self.attempts[number];
        attempt.alive = false;
        // Dead attempts are alike: fewer states to tell apart.
        attempt.machine = Attempt::new(config.roles.to_vec());
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

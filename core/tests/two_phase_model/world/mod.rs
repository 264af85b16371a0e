//! The world: participants, register, attempts, a sweeper, a watcher, a clock; and its steps.

mod attempt;
mod prepare;
mod surroundings;
mod sweeper;

use std::fmt;

use exactly_once_core::coordinator::machine::{Attempt, Role, Sweep};

use crate::{
    mistakes::Mistake,
    participant::{Clock, Part, Register},
};

/// How large the world is, and what happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// What each participant is; those that only read come after those that write.
    pub(crate) roles: &'static [Role],
    pub(crate) attempts: usize,
    /// An attempt handles its participants in any order, as the driver does, instead of one after
    /// the other.
    pub(crate) parallel: bool,
    /// The last participant's work may refuse.
    pub(crate) refusals: bool,
    /// A failover may lose one prepared transaction.
    pub(crate) losses: bool,
    /// Somebody asks for the first participant's status, all the time.
    pub(crate) observer: bool,
}

/// One step, for traces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    who: &'static str,
    number: usize,
    what: &'static str,
    at: usize,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            number,
            what,
            at,
        } = self;
        write!(f, "{who} {number}: {what} (participant {at})")
    }
}

/// How far an attempt is with one participant, between two statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    /// The clock was checked before the marker (a mistake).
    PreChecked,
    /// The marker is in.
    Marked,
    /// The clock was in time; the work is done.
    Worked,
    /// The prepared transaction is ended, the tombstone not written yet.
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Coordinator {
    alive: bool,
    machine: Attempt,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SweeperRun {
    machine: Sweep,
    steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Watcher {
    Idle,
    /// The first of the two questions was answered with no.
    Asked,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    config: Config,
    broken: Option<Mistake>,
    clock: Clock,
    parts: Vec<Part>,
    register: Register,
    attempts: Vec<Coordinator>,
    sweeper: Option<SweeperRun>,
    watcher: Watcher,
    lost: bool,
    violation: Option<&'static str>,
}

impl World {
    pub(crate) fn new(config: Config, broken: Option<Mistake>) -> Self {
        let coordinator = Coordinator {
            alive: true,
            machine: Attempt::new(config.roles.to_vec()),
            steps: vec![Step::Idle; config.roles.len()],
        };
        let writers = config.roles.iter().filter(|role| **role != Role::Reader);
        Self {
            config,
            broken,
            clock: Clock::InTime,
            parts: vec![Part::new(); writers.count()],
            register: Register {
                value: None,
                finished: false,
            },
            attempts: vec![coordinator; config.attempts],
            sweeper: None,
            watcher: Watcher::Idle,
            lost: false,
            violation: None,
        }
    }

    /// What is wrong with this state, if anything.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        if self.violation.is_some() {
            return self.violation;
        }
        if self.parts.iter().any(|part| part.effects > 1) {
            return Some("the work of a participant was committed twice");
        }
        let committed = self.parts.iter().any(|part| part.effects > 0);
        if committed && self.parts.iter().any(|part| part.undone) {
            return Some("one participant has committed and another one was rolled back");
        }
        if self.register.finished && self.parts.iter().any(|part| part.prepared) {
            return Some("in doubt, though everybody was told");
        }
        if self.clock != Clock::InTime
            && self.sweeper.is_none()
            && self.attempts.iter().all(|attempt| !attempt.alive)
        {
            return self.after_a_sweep();
        }
        None
    }

    /// Nobody is left: one sweep must end everything, all or none.
    fn after_a_sweep(&self) -> Option<&'static str> {
        if !self.something_to_sweep() {
            return None;
        }
        let mut world = self.clone();
        world.start_sweep();
        while world.sweeper.is_some() && world.violation.is_none() {
            let (_, next) = world.sweeper_steps().into_iter().next()?;
            world = next;
        }
        if world.parts.iter().any(|part| part.prepared) {
            return Some("in doubt after a sweep, with nobody left to end it");
        }
        world.violation
    }

    /// Every state that one step of anybody leads to.
    pub(crate) fn successors(&self) -> Vec<(Label, Self)> {
        let mut next = Vec::new();
        for number in 0..self.attempts.len() {
            // Attempts are alike: the second may stir only once the first has.
            let untouched = |n: usize| {
                self.attempts
                    .get(n)
                    .is_some_and(|a| a.untouched(self.config.roles))
            };
            if number > 0 && untouched(number) && untouched(number - 1) {
                continue;
            }
            next.extend(self.attempt_steps(number));
        }
        if self.sweeper.is_some() {
            next.extend(self.sweeper_steps());
            let mut world = self.clone();
            world.sweeper = None;
            next.push((label("sweeper", 0, "crashes", 0), world));
        } else if self.clock != Clock::InTime && self.something_to_sweep() {
            let mut world = self.clone();
            world.start_sweep();
            next.push((label("sweeper", 0, "finds something to sweep", 0), world));
        }
        next.extend(self.surroundings());
        next
    }

    fn something_to_sweep(&self) -> bool {
        self.parts.iter().any(|part| part.prepared)
            || (self.register.value.is_some() && !self.register.finished)
    }

    fn start_sweep(&mut self) {
        self.sweeper = Some(SweeperRun {
            machine: Sweep::new(self.parts.len(), true),
            steps: vec![Step::Idle; self.parts.len()],
        });
    }
}

impl Coordinator {
    fn untouched(&self, roles: &[Role]) -> bool {
        self.alive
            && self.steps.iter().all(|step| *step == Step::Idle)
            && self.machine == Attempt::new(roles.to_vec())
    }
}

fn label(who: &'static str, number: usize, what: &'static str, at: usize) -> Label {
    Label {
        who,
        number,
        what,
        at,
    }
}

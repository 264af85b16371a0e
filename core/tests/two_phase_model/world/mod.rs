//! The world: stores, registers, attempts, sweepers, a watcher, a clock; and its steps.

mod attempt;
pub(crate) mod config;
mod prepare;
mod rest;
mod surroundings;
mod sweeper;
mod terms;

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use exactly_once_core::{ErrorKind, two_phase::machine::Attempt};

use self::{config::Config, sweeper::SweeperRun};
use crate::{
    mistakes::Mistake,
    participant::{Clock, Part, Register},
};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Watcher {
    Idle,
    /// The first of the two questions was answered with no.
    Asked,
}

/// What a store held when its backup was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Backup {
    store: usize,
    part: Part,
    register: Register,
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    config: Config,
    broken: Option<Mistake>,
    clock: Clock,
    parts: Vec<Part>,
    registers: Vec<Register>,
    attempts: Vec<Coordinator>,
    sweepers: Vec<Option<SweeperRun>>,
    watcher: Watcher,
    backup: Option<Backup>,
    lost: bool,
    restored: bool,
    /// Whether a sweep has come to its end since then.
    swept: bool,
    by_hand: bool,
    /// Whether the step raised an alarm.
    alarmed: bool,
    /// Whether this is the sweep at the end, which is no step of a trace.
    at_rest: bool,
    violation: Option<&'static str>,
}

/// Of what changes.
impl Hash for World {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.clock, self.watcher).hash(state);
        (self.lost, self.restored, self.swept, self.by_hand).hash(state);
        (&self.parts, &self.registers).hash(state);
        (&self.attempts, &self.sweepers).hash(state);
        (&self.backup, &self.violation).hash(state);
    }
}

impl World {
    pub(crate) fn new(config: Config, broken: Option<Mistake>) -> Self {
        let attempts = config.attempts + usize::from(config.other.is_some());
        let mut world = Self {
            config,
            broken,
            clock: Clock::InTime,
            parts: vec![Part::new(); config.stores()],
            registers: vec![Register::new(); config.registers.len()],
            attempts: Vec::new(),
            sweepers: vec![None; config.sweepers.len()],
            watcher: Watcher::Idle,
            backup: None,
            lost: false,
            restored: false,
            swept: false,
            by_hand: false,
            alarmed: false,
            at_rest: false,
            violation: None,
        };
        for number in 0..attempts {
            let roles = world.roles(number);
            world.attempts.push(Coordinator {
                alive: true,
                steps: vec![Step::Idle; roles.len()],
                machine: Attempt::new(roles),
            });
        }
        world
    }

    /// Whether something was done to the stores that no rule can undo; it must be reported then.
    fn faulty(&self) -> bool {
        self.restored || self.by_hand
    }

    /// A participant ended otherwise than was decided, and the one that found it says so.
    fn heuristic(&mut self) {
        if self.faulty() || self.at_rest {
            self.alarmed = true;
        } else {
            self.violation = Some("a heuristic outcome");
        }
    }

    /// An attempt or a sweep ends with an error of this kind.
    fn stop(&mut self, kind: ErrorKind) {
        match kind {
            ErrorKind::Heuristic => self.heuristic(),
            ErrorKind::Lost => self.loss(),
            _ => {}
        }
    }

    /// A participant knows nothing of what it had prepared, and the one that found it says so.
    fn loss(&mut self) {
        if self.lost || self.faulty() || self.clock == Clock::PastForget || self.at_rest {
            self.alarmed = true;
        } else {
            self.violation = Some("a loss was reported where nothing was lost");
        }
    }

    /// Every state that one step of anybody leads to.
    pub(crate) fn successors(&self) -> Vec<(Label, Self)> {
        let mut next = Vec::new();
        for number in 0..self.attempts.len() {
            // Attempts are alike: the second may stir only once the first has.
            let follows = number > 0 && self.terms_of(number) == self.terms_of(number - 1);
            if follows && self.is_untouched(number) && self.is_untouched(number - 1) {
                continue;
            }
            next.extend(self.attempt_steps(number));
        }
        for slot in 0..self.sweepers.len() {
            next.extend(self.sweeper_steps(slot));
        }
        next.extend(self.surroundings());
        for (_, world) in &mut next {
            world.alarmed = false;
        }
        next
    }

    fn is_untouched(&self, number: usize) -> bool {
        let attempt = &self.attempts[number];
        attempt.alive
            && attempt.steps.iter().all(|step| *step == Step::Idle)
            && attempt.machine == Attempt::new(self.roles(number))
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

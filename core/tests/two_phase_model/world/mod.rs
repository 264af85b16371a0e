//! The world: participants, register, attempts, a sweeper, a watcher, a clock; and its steps.

mod attempt;
mod prepare;
mod surroundings;
mod sweeper;

use std::fmt;

use exactly_once_core::{
    Decision,
    coordinator::machine::{Attempt, Role, Sweep},
};

use crate::{
    mistakes::Mistake,
    participant::{Clock, Part, Register, Row},
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
    /// What kinds of sweepers there are.
    pub(crate) sweepers: &'static [Kind],
    /// The second attempt has other participants: the first and the third, not the first and second.
    pub(crate) others: bool,
    /// A participant that has committed may be restored to when it was prepared.
    pub(crate) restores: bool,
    /// An operator may roll back what a commit was decided about.
    pub(crate) by_hand: bool,
}

/// What a sweeper was configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The register and the participants.
    Whole,
    /// The register and the first participant.
    Part,
    /// The register, the participants, and a store that takes no part.
    Superset,
    /// Another register, and the participants.
    Wrong,
}

/// The participants of the second attempt, where it has others.
const OTHERS: &[Role] = &[Role::Prepared, Role::Reader, Role::Prepared];

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
    kind: Kind,
    /// The set of participants of the transaction that it has found.
    set: u8,
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
    /// The decision of another flow's register.
    other_register: bool,
    attempts: Vec<Coordinator>,
    sweeper: Option<SweeperRun>,
    watcher: Watcher,
    lost: bool,
    restored: bool,
    by_hand: bool,
    violation: Option<&'static str>,
}

impl World {
    pub(crate) fn new(config: Config, broken: Option<Mistake>) -> Self {
        let coordinator = |number| Coordinator {
            alive: true,
            machine: Attempt::new(config.roles_of(number).to_vec()),
            steps: vec![Step::Idle; config.roles.len()],
        };
        let writers = config.roles.iter().filter(|role| **role != Role::Reader);
        Self {
            config,
            broken,
            clock: Clock::InTime,
            parts: vec![Part::new(); if config.others { 3 } else { writers.count() }],
            register: Register::EMPTY,
            other_register: false,
            attempts: (0..config.attempts).map(coordinator).collect(),
            sweeper: None,
            watcher: Watcher::Idle,
            lost: false,
            restored: false,
            by_hand: false,
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
        for set in [0, 1] {
            let mut of_set = self.parts.iter().filter(|part| part.set == set);
            let committed = of_set.clone().any(|part| part.effects > 0);
            if committed && of_set.any(|part| part.undone) {
                return Some("one participant has committed and another one was rolled back");
            }
        }
        let committed = |set| {
            let mut of_set = self.parts.iter().filter(move |part| part.set == set);
            of_set.any(|part| part.effects > 0)
        };
        if committed(0) && committed(1) {
            return Some("two sets of participants have committed under one name");
        }
        let finished = self.register.finished;
        let of_it = |part: &&Part| part.set == self.register.set;
        if finished && !self.restored && self.parts.iter().filter(of_it).any(|part| part.prepared) {
            return Some("in doubt, though everybody was told");
        }
        if finished && self.by_hand {
            return Some("finished, though a participant has ended otherwise");
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
        let kind = match self.config.sweepers {
            [Kind::Superset, ..] => Kind::Superset,
            _ => Kind::Whole,
        };
        let mut world = self.clone();
        for set in self.sets_to_sweep() {
            world.start_sweep(kind, set);
            while world.sweeper.is_some() && world.violation.is_none() {
                let (_, next) = world.sweeper_steps().into_iter().next()?;
                world = next;
            }
        }
        let members = || world.members(world.register.set);
        if world.register.value == Some(Decision::Commit)
            && world.clock != Clock::PastForget
            && members().all(|at| world.parts[at].row == Row::Committed)
            && !world.register.finished
        {
            return Some("confirmed by every participant, and not finished");
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
                    .is_some_and(|a| a.untouched(self.config.roles_of(n)))
            };
            if number > 0 && !self.config.others && untouched(number) && untouched(number - 1) {
                continue;
            }
            next.extend(self.attempt_steps(number));
        }
        if self.sweeper.is_some() {
            next.extend(self.sweeper_steps());
            let mut world = self.clone();
            world.sweeper = None;
            next.push((label("sweeper", 0, "crashes", 0), world));
        } else if self.clock != Clock::InTime {
            for kind in self.config.sweepers {
                for set in self.sets_to_sweep() {
                    let mut world = self.clone();
                    world.start_sweep(*kind, set);
                    let label = label("sweeper", kind.number(), "finds something to sweep", 0);
                    next.push((label, world));
                }
            }
        }
        next.extend(self.surroundings());
        next
    }

    fn something_to_sweep(&self) -> bool {
        !self.sets_to_sweep().is_empty()
    }

    /// The transactions of one name that a sweeper finds.
    fn sets_to_sweep(&self) -> Vec<u8> {
        let prepared = |set| {
            let mut parts = self.parts.iter();
            parts.any(|part| part.prepared && part.set == set)
        };
        let open = self.register.value.is_some() && !self.register.finished;
        [0, 1]
            .into_iter()
            .filter(|set| prepared(*set) || (open && self.register.set == *set))
            .collect()
    }

    /// Which participants took part.
    fn members(&self, set: u8) -> impl Iterator<Item = usize> {
        let roles = self.config.roles_of(usize::from(set));
        (0..self.parts.len()).filter(|at| roles[*at] != Role::Reader)
    }

    fn start_sweep(&mut self, kind: Kind, set: u8) {
        let known = match kind {
            Kind::Part => 1,
            Kind::Superset => self.parts.len() + 1,
            Kind::Whole | Kind::Wrong => self.parts.len(),
        };
        let entitled = kind != Kind::Wrong || self.broken == Some(Mistake::SweeperNotEntitled);
        self.sweeper = Some(SweeperRun {
            kind,
            set,
            machine: Sweep::new(known, entitled),
            steps: vec![Step::Idle; known],
        });
    }
}

impl Config {
    /// The roles of an attempt's participants. A store that takes no part is one that reads.
    pub(crate) fn roles_of(&self, number: usize) -> &'static [Role] {
        if self.others && number == 1 {
            OTHERS
        } else {
            self.roles
        }
    }

    /// Which set of participants an attempt has.
    fn set_of(&self, number: usize) -> u8 {
        u8::from(self.others && number == 1)
    }
}

impl Kind {
    /// In traces.
    fn number(self) -> usize {
        match self {
            Self::Whole => 0,
            Self::Part => 1,
            Self::Superset => 2,
            Self::Wrong => 3,
        }
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

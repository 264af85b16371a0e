//! The world: participants, register, attempts, a sweeper, a watcher, a clock; and its steps.

use std::fmt;

use exactly_once_core::{
    Decision,
    coordinator::machine::{Action, Attempt, Found, Ruling, Sweep, SweepAction, Vote},
};

use crate::{
    mistakes::Mistake,
    participant::{Answer, Clock, Part, Register, Row},
};

/// How large the world is, and what happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    pub(crate) participants: usize,
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
            machine: Attempt::new(config.participants),
            steps: vec![Step::Idle; config.participants],
        };
        Self {
            config,
            broken,
            clock: Clock::InTime,
            parts: vec![Part::new(); config.participants],
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
            let untouched = |n: usize| self.attempts.get(n).is_some_and(Coordinator::untouched);
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
            machine: Sweep::new(self.parts.len()),
            steps: vec![Step::Idle; self.parts.len()],
        });
    }

    /// Clock, forgetting, failover, watcher.
    fn surroundings(&self) -> Vec<(Label, Self)> {
        let mut next = Vec::new();
        let tick = match self.clock {
            Clock::InTime => Some(Clock::PastDeadline),
            // No session lives as long as that.
            Clock::PastDeadline if self.parts.iter().all(|part| part.open.is_none()) => {
                Some(Clock::PastForget)
            }
            _ => None,
        };
        if let Some(clock) = tick {
            next.push((
                label("clock", 0, "ticks", 0),
                Self {
                    clock,
                    ..self.clone()
                },
            ));
        }
        let early = self.broken == Some(Mistake::RecordsRemovedEarly);
        if self.clock == Clock::PastForget || early {
            next.extend(self.forgetting());
        }
        for (at, part) in self.parts.iter().enumerate() {
            if self.config.losses && !self.lost && part.prepared {
                let mut world = self.clone();
                world.parts[at].prepared = false;
                world.lost = true;
                next.push((label("failover", 0, "loses what was prepared", at), world));
            }
        }
        if self.config.observer {
            next.push((
                label("watcher", 0, "asks for the status", 0),
                self.watched(),
            ));
        }
        next
    }

    fn forgetting(&self) -> Vec<(Label, Self)> {
        let mut next = Vec::new();
        for (at, part) in self.parts.iter().enumerate() {
            if part.row != Row::None {
                let mut world = self.clone();
                world.parts[at].row = Row::None;
                next.push((label("forgetting", 0, "removes an outcome", at), world));
            }
        }
        let removable = self.register.finished || self.register.value == Some(Decision::Rollback);
        if self.register.value.is_some() && removable {
            let mut world = self.clone();
            world.register = Register {
                value: None,
                finished: false,
            };
            next.push((label("forgetting", 0, "removes the decision", 0), world));
        }
        next
    }

    /// The two questions of a status, one at a time; the answer is held against the truth.
    fn watched(&self) -> Self {
        let mut world = self.clone();
        let Some(part) = self.parts.first() else {
            return world;
        };
        let marker_first = self.broken == Some(Mistake::StatusReadsMarkerFirst);
        let first_is_yes = if marker_first {
            part.row != Row::None
        } else {
            part.prepared
        };
        world.watcher = match self.watcher {
            Watcher::Idle if !first_is_yes => Watcher::Asked,
            Watcher::Idle => Watcher::Idle,
            Watcher::Asked => {
                let answered_undone = if marker_first {
                    !part.prepared
                } else {
                    match part.row {
                        Row::Committed => false,
                        Row::RolledBack => true,
                        Row::None if self.clock == Clock::PastForget => {
                            self.broken == Some(Mistake::AbsentIsRolledBack)
                        }
                        Row::None => true,
                    }
                };
                if answered_undone && part.effects > 0 {
                    world.violation = Some("the status of a committed transaction read as undone");
                }
                Watcher::Idle
            }
        };
        world
    }

    fn attempt_steps(&self, number: usize) -> Vec<(Label, Self)> {
        let attempt = &self.attempts[number];
        if !attempt.alive {
            return Vec::new();
        }
        let mut next = Vec::new();
        let offered = self.offered(&attempt.machine);
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
    fn offered(&self, machine: &Attempt) -> Vec<Action> {
        let actions = machine.actions();
        if self.broken == Some(Mistake::CommitDespiteRefusal)
            && actions == [Action::Decide(Decision::Rollback)]
        {
            return vec![Action::Decide(Decision::Commit)];
        }
        actions
    }

    fn attempt_step(&self, number: usize, action: Action) -> Vec<(Label, Self)> {
        let mut world = self.clone();
        let named = |what, at| label("attempt", number, what, at);
        match action {
            Action::Prepare(at) => self.prepare_steps(number, at),
            Action::Decide(proposal) => {
                let alone = self.broken == Some(Mistake::CoordinatorWithoutRegister);
                let decided = if alone {
                    Some(proposal)
                } else {
                    world.register.decide(proposal, self.clock, self.broken)
                };
                match decided {
                    Some(decision) => world.attempts[number].machine.decided(decision),
                    None => world.end(number),
                }
                if self.broken == Some(Mistake::FinishBeforeTold) {
                    world.register.finished = true;
                }
                vec![(named("asks the register", 0), world)]
            }
            Action::Commit(at) => {
                world.tell_commit(number, at);
                vec![(named("commits", at), world)]
            }
            Action::Rollback(at) => {
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
                let all = world.parts.iter().all(|part| part.effects == 1);
                let none = world.parts.iter().all(|part| part.effects == 0);
                if decision == Decision::Commit && !all {
                    world.violation = Some("reported as committed, and somebody has not");
                }
                if decision == Decision::Rollback && !none {
                    world.violation = Some("reported as rolled back, and somebody has committed");
                }
                world.end(number);
                vec![(named("reports", 0), world)]
            }
        }
    }

    fn prepare_steps(&self, number: usize, at: usize) -> Vec<(Label, Self)> {
        let named = |what| label("attempt", number, what, at);
        let mut world = self.clone();
        let in_time = self.clock == Clock::InTime;
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
                    world.parts[at].open = None;
                    world.vote(number, at, Vote::No);
                }
                vec![(named("checks the clock"), world)]
            }
            Step::Worked => {
                let mut next = Vec::new();
                if self.config.refusals && at + 1 == self.parts.len() {
                    let mut refused = self.clone();
                    refused.parts[at].open = None;
                    refused.vote(number, at, Vote::No);
                    next.push((named("refuses"), refused));
                }
                world.parts[at].open = None;
                world.parts[at].prepared = true;
                if self.parts[at].late {
                    world.violation = Some("work that began past the deadline was prepared");
                }
                world.vote(number, at, Vote::Yes);
                next.push((named("prepares"), world));
                next
            }
            Step::Ended => Vec::new(),
        }
    }

    /// Inserts the marker, or reads what is there. Says whether anything happened: behind another
    /// transaction's lock nothing does.
    fn insert_marker(&mut self, number: usize, at: usize) -> bool {
        let (clock, broken) = (self.clock, self.broken);
        let part = &mut self.parts[at];
        if broken == Some(Mistake::NoMarker) {
            if part.prepared {
                self.vote(number, at, Vote::Yes);
                return true;
            }
            if part.open.is_some() {
                return false;
            }
        } else if part.prepared || part.row == Row::Committed {
            self.vote(number, at, Vote::Yes);
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
        part.late = clock != Clock::InTime;
        let checked = self.attempts[number].steps[at] == Step::PreChecked;
        self.attempts[number].steps[at] = if checked { Step::Worked } else { Step::Marked };
        true
    }

    fn vote(&mut self, number: usize, at: usize, vote: Vote) {
        self.attempts[number].steps[at] = Step::Idle;
        self.attempts[number].machine.voted(at, vote);
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
        let mut step = self.attempts[number].steps[at];
        let (what, answer) = self.rollback_step(at, &mut step)?;
        self.attempts[number].steps[at] = step;
        match answer {
            Some(Answer::Done | Answer::Forgotten) => {
                self.attempts[number].steps[at] = Step::Idle;
                self.attempts[number].machine.told(at);
            }
            Some(Answer::Opposite) => self.violation = Some("a heuristic outcome"),
            _ => {}
        }
        Some(what)
    }

    /// One statement of a rollback: end what is prepared, then the tombstone.
    fn rollback_step(
        &mut self,
        at: usize,
        step: &mut Step,
    ) -> Option<(&'static str, Option<Answer>)> {
        let (clock, broken) = (self.clock, self.broken);
        let part = &mut self.parts[at];
        let tombstone_first = broken == Some(Mistake::TombstoneBeforeRollback);
        let second = *step == Step::Ended;
        if second != tombstone_first {
            let answer = part.tombstone(clock, broken);
            if tombstone_first {
                *step = Step::Ended;
                return Some(("writes the tombstone", None));
            }
            if answer == Answer::Busy {
                // Behind the lock of an open transaction; or prepared anew, then from the start.
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

    /// The attempt is over: what it had open is rolled back.
    fn end(&mut self, number: usize) {
        let own = u8::try_from(number).ok();
        for part in &mut self.parts {
            if part.open.is_some() && part.open == own {
                part.open = None;
            }
        }
        let attempt = &mut self.attempts[number];
        attempt.alive = false;
        // Dead attempts are alike: fewer states to tell apart.
        attempt.machine = Attempt::new(self.parts.len());
        attempt.steps.fill(Step::Idle);
    }

    fn sweeper_steps(&self) -> Vec<(Label, Self)> {
        let Some(run) = &self.sweeper else {
            return Vec::new();
        };
        run.machine
            .actions()
            .into_iter()
            .filter_map(|action| self.sweeper_step(action))
            .collect()
    }

    fn sweeper_step(&self, action: SweepAction) -> Option<(Label, Self)> {
        let mut world = self.clone();
        let mut run = world.sweeper.take()?;
        let (what, at) = match action {
            SweepAction::ProposeRollback => {
                run.machine.ruled(world.rule());
                ("asks the register", 0)
            }
            SweepAction::Inspect(at) => {
                run.machine.found(at, world.inspect(at));
                ("inspects", at)
            }
            SweepAction::Commit(at) => {
                match world.parts[at].commit(world.clock, world.broken) {
                    Answer::Done | Answer::Forgotten => run.machine.found(at, Found::Ended),
                    Answer::Opposite => world.violation = Some("a heuristic outcome"),
                    Answer::Busy | Answer::Unknown => {
                        return Some((label("sweeper", 0, "gives up", at), world));
                    }
                }
                ("commits", at)
            }
            SweepAction::Rollback(at) => {
                let (what, answer) = world.rollback_step(at, &mut run.steps[at])?;
                match answer {
                    Some(Answer::Done | Answer::Forgotten) => run.machine.found(at, Found::Ended),
                    Some(Answer::Opposite) => world.violation = Some("a heuristic outcome"),
                    _ => {}
                }
                (what, at)
            }
            SweepAction::Finish => {
                world.register.finished = world.register.value.is_some();
                run.machine.finished();
                ("notes the end", 0)
            }
            SweepAction::Done => {
                if world.broken == Some(Mistake::SweeperLeavesNoTombstone) {
                    world.register.finished = world.register.value == Some(Decision::Rollback);
                }
                return Some((label("sweeper", 0, "is done", 0), world));
            }
        };
        world.sweeper = Some(run);
        Some((label("sweeper", 0, what, at), world))
    }

    fn rule(&mut self) -> Ruling {
        match self.broken {
            Some(Mistake::SweeperWithoutRegister) => Ruling::Decided(Decision::Rollback),
            Some(Mistake::SweeperCommits) => Ruling::Decided(Decision::Commit),
            broken => match self.register.decide(Decision::Rollback, self.clock, broken) {
                Some(Decision::Rollback) if broken == Some(Mistake::SweeperLeavesNoTombstone) => {
                    Ruling::Forgotten
                }
                Some(decision) => Ruling::Decided(decision),
                None if broken == Some(Mistake::SweeperDoesNotRecheck) => {
                    Ruling::Decided(Decision::Rollback)
                }
                None => Ruling::Forgotten,
            },
        }
    }

    fn inspect(&self, at: usize) -> Found {
        let part = &self.parts[at];
        match (part.prepared, part.row) {
            (true, _) => Found::InDoubt,
            (false, Row::None) if self.clock == Clock::PastForget => Found::Ended,
            (false, Row::None) if self.broken == Some(Mistake::SweeperFinishesALoss) => {
                Found::Ended
            }
            (false, Row::None) => Found::Nothing,
            (false, _) => Found::Ended,
        }
    }
}

impl Coordinator {
    fn untouched(&self) -> bool {
        self.alive
            && self.steps.iter().all(|step| *step == Step::Idle)
            && self.machine == Attempt::new(self.steps.len())
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

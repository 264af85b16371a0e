//! The steps of sweepers.

use exactly_once_core::{
    Decision, PreparedStatus,
    two_phase::machine::{
        Found, Named, Noted, Ruling, Sweep, SweepAction, one_identity_at_two_places,
    },
};

use super::{Label, Step, World, config::Knowing, label};
use crate::{
    mistakes::Mistake,
    participant::{Answer, Ruled},
};

/// A sweeper's work on one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SweeperRun {
    sweeping: Knowing,
    terms: usize,
    machine: Sweep,
    steps: Vec<Step>,
    /// Whether a store was restored since it began.
    stale: bool,
}

impl World {
    pub(super) fn sweeper_steps(&self, slot: usize) -> Vec<(Label, Self)> {
        let Some(sweeping) = self.config.sweepers.get(slot).copied() else {
            return Vec::new();
        };
        if self.sweepers[slot].is_some() {
            let mut next = self.run_steps(slot);
            let mut world = self.clone();
            world.sweepers[slot] = None;
            next.push((label("sweeper", slot, "crashes", 0), world));
            return next;
        }
        let mut next = Vec::new();
        for terms in 0..self.config.terms() {
            if self.past_deadline() && self.something_to_sweep(sweeping, terms) {
                let mut world = self.clone();
                world.sweepers[slot] = Some(world.sweep(sweeping, terms));
                next.push((
                    label("sweeper", slot, "finds something to sweep", terms),
                    world,
                ));
            }
        }
        next
    }

    /// Whether a sweeper finds these terms in doubt, or in its register. Where it meets a copy of its
    /// register it does nothing.
    pub(super) fn something_to_sweep(&self, sweeping: Knowing, terms: usize) -> bool {
        let place = self.config.registers[sweeping.0].place;
        let mut met = vec![(Some(self.identity(sweeping.0)), usize::from(place))];
        met.extend(
            identities(sweeping)
                .into_iter()
                .zip(sweeping.1.iter().copied()),
        );
        let copy = one_identity_at_two_places(&met).is_some();
        if copy && self.broken != Some(Mistake::CopyIsNotToldApart) {
            return false;
        }
        let register = &self.registers[sweeping.0];
        let in_doubt = |at: &usize| self.parts[*at].prepared && self.parts[*at].terms == terms;
        sweeping.1.iter().any(in_doubt)
            || (register.value.is_some() && !register.finished && register.terms == terms)
    }

    pub(super) fn sweep(&self, sweeping: Knowing, terms: usize) -> SweeperRun {
        let entitled = self.config.register(terms) == self.identity(sweeping.0);
        let entitled = entitled || self.broken == Some(Mistake::SweeperTakesAnyRegister);
        SweeperRun {
            sweeping,
            terms,
            machine: Sweep::new(sweeping.1.len(), entitled),
            steps: vec![Step::Idle; sweeping.1.len()],
            stale: false,
        }
    }

    /// A store was restored: what sweeps have seen of it is not true any more.
    pub(super) fn stale_sweeps(&mut self) {
        for run in self.sweepers.iter_mut().flatten() {
            run.stale = true;
        }
    }

    /// The steps of the sweep in this slot.
    pub(super) fn run_steps(&self, slot: usize) -> Vec<(Label, Self)> {
        let Some(run) = &self.sweepers[slot] else {
            return Vec::new();
        };
        let mut next = Vec::new();
        for action in run.machine.actions() {
            next.extend(self.clone().sweeper_step(slot, action));
            if self.config.away {
                next.extend(self.meets_nobody(slot, action));
            }
        }
        next
    }

    /// The first step of the sweep in this slot.
    pub(super) fn swept_on(self, slot: usize) -> Option<Self> {
        let actions = self.sweepers[slot].as_ref()?.machine.actions();
        let (_, next) = self.sweeper_step(slot, actions.into_iter().next()?)?;
        Some(next)
    }

    fn sweeper_step(self, slot: usize, action: SweepAction) -> Option<(Label, Self)> {
        let mut world = self;
        let mut run = world.sweepers[slot].take()?;
        let (register, terms) = (run.sweeping.0, run.terms);
        let store = |at: usize| run.sweeping.1[at];
        let (what, at) = match action {
            SweepAction::ProposeRollback => {
                if !world.rule(&mut run) {
                    return Some((
                        label("sweeper", slot, "is refused by the register", 0),
                        world,
                    ));
                }
                ("asks the register", 0)
            }
            SweepAction::Inspect(at) => {
                let at_store = store(at);
                let found = world.inspect(&run, at_store);
                world.found(&mut run, at, found);
                ("inspects", at_store)
            }
            SweepAction::Commit(at) => {
                let at_store = store(at);
                let answer = world.commit_step(at_store, terms);
                world.answered(&mut run, at, action, answer);
                ("commits", at_store)
            }
            SweepAction::Rollback(at) => {
                let at_store = store(at);
                let (what, answer) = world.rollback_step(at_store, terms, &mut run.steps[at])?;
                if let Some(answer) = answer {
                    run.steps[at] = Step::Idle;
                    world.answered(&mut run, at, action, answer);
                }
                (what, at_store)
            }
            SweepAction::Dispute(at, decision) => {
                world.dispute(register, terms, decision);
                run.machine.disputed(at);
                ("notes that it did not obey", store(at))
            }
            SweepAction::Finish(decision) => {
                let Some(noted) = world.finish(register, terms, decision) else {
                    return Some((
                        label("sweeper", slot, "is refused by the register", 0),
                        world,
                    ));
                };
                run.machine.noted(noted);
                ("notes the end", 0)
            }
            SweepAction::LeaveAlone | SweepAction::Done => {
                if !run.machine.lost().is_empty() {
                    world.loss();
                }
                if let Some(kind) = run.machine.stops() {
                    world.stop(kind);
                }
                if world.registers[register].disputed {
                    world.heuristic();
                }
                world.swept |= world.restored && !run.stale && run.machine.ruling().is_some();
                if world.broken == Some(Mistake::SweeperLeavesNoTombstone) {
                    let register = &mut world.registers[register];
                    register.finished = register.value == Some(Decision::Rollback);
                }
                return Some((label("sweeper", slot, "is done", 0), world));
            }
        };
        world.sweepers[slot] = Some(run);
        Some((label("sweeper", slot, what, at), world))
    }

    /// The store does not answer: the sweep goes on without it.
    fn meets_nobody(&self, slot: usize, action: SweepAction) -> Option<(Label, Self)> {
        let (SweepAction::Inspect(at) | SweepAction::Commit(at) | SweepAction::Rollback(at)) =
            action
        else {
            return None;
        };
        let mut world = self.clone();
        let mut run = world.sweepers[slot].take()?;
        let store = run.sweeping.1[at];
        run.steps[at] = Step::Idle;
        let ended = self.broken == Some(Mistake::AwayCountsAsEnded);
        run.machine
            .found(at, if ended { Found::Ended } else { Found::Away });
        world.sweepers[slot] = Some(run);
        Some((label("sweeper", slot, "finds it away", store), world))
    }

    /// Says no where the register refuses to be asked.
    fn rule(&mut self, run: &mut SweeperRun) -> bool {
        let (register, terms) = (run.sweeping.0, run.terms);
        let members = self.members(terms);
        let ruling = match self.broken {
            Some(Mistake::SweeperWithoutRegister) => Ruling::Decided(Decision::Rollback),
            Some(Mistake::SweeperCommits) => Ruling::Decided(Decision::Commit),
            broken => {
                // An entry knows the digest only: the members follow where they are those known.
                let named = run.sweeping.1 == members;
                match self.propose(register, Decision::Rollback, terms, named) {
                    Ruled::Stands(Decision::Rollback)
                        if broken == Some(Mistake::SweeperLeavesNoTombstone) =>
                    {
                        Ruling::Forgotten
                    }
                    Ruled::Stands(decision) => Ruling::Decided(decision),
                    Ruled::Forgotten if broken == Some(Mistake::SweeperDoesNotRecheck) => {
                        Ruling::Decided(Decision::Rollback)
                    }
                    Ruled::Forgotten => Ruling::Forgotten,
                    Ruled::Mismatch => Ruling::Taken,
                    Ruled::NotMine => return false,
                }
            }
        };
        let stands = &self.registers[register];
        let members: Vec<_> = members.iter().map(|at| identity(*at)).collect();
        let mut named = Named::of(&members, &identities(run.sweeping));
        match self.broken {
            Some(Mistake::PartFinishes) => named.unknown = 0,
            Some(Mistake::EachKnownTookPart) => named.took_part.fill(true),
            _ => {}
        }
        let has_names = stands.value.is_some() && stands.named;
        run.machine.ruled(ruling, has_names.then_some(named));
        if stands.value.is_some() && stands.disputed {
            run.machine.in_dispute();
        }
        if stands.value.is_some() && stands.finished {
            run.machine.noted(Noted::Finished);
        }
        true
    }

    fn inspect(&self, run: &SweeperRun, store: usize) -> Found {
        let Some(ruling) = run.machine.ruling() else {
            return Found::Away;
        };
        let status = if self.differs(store, run.terms) {
            if ruling == Ruling::Decided(Decision::Commit) {
                return Found::Away;
            }
            PreparedStatus::None
        } else {
            self.parts[store].status(self.clock)
        };
        match Found::of(status, ruling) {
            Found::Nothing if self.broken == Some(Mistake::SweeperFinishesALoss) => Found::Ended,
            found => found,
        }
    }

    fn answered(&mut self, run: &mut SweeperRun, at: usize, action: SweepAction, answer: Answer) {
        let proposal = match action {
            SweepAction::Commit(_) => Decision::Commit,
            _ => Decision::Rollback,
        };
        let found = match (answer.kind(proposal), run.machine.ruling()) {
            (None, _) => Found::Ended,
            (Some(kind), Some(ruling)) => {
                Found::refused(action, kind, ruling).unwrap_or(Found::Away)
            }
            (Some(_), None) => Found::Away,
        };
        self.found(run, at, found);
    }

    fn found(&mut self, run: &mut SweeperRun, at: usize, found: Found) {
        let committing = run.machine.ruling() == Some(Ruling::Decided(Decision::Commit));
        let silent = match self.broken {
            Some(Mistake::RolledBackCountsAsEnded) => committing,
            Some(Mistake::CommittedCountsAsEnded) => !committing,
            _ => false,
        };
        if found == Found::Opposite && silent {
            run.machine.found(at, Found::Ended);
            return;
        }
        if found == Found::Opposite {
            self.heuristic();
        }
        run.machine.found(at, found);
    }
}

fn identity(store: usize) -> u8 {
    u8::try_from(store).unwrap_or(u8::MAX)
}

/// The stores that a sweeper knows, by their identities: each has its number as its identity.
fn identities(sweeping: Knowing) -> Vec<Option<u8>> {
    sweeping.1.iter().map(|at| Some(identity(*at))).collect()
}

//! The steps of a sweeper.

use exactly_once_core::{
    Decision,
    coordinator::machine::{Found, Named, Ruling, SweepAction},
};

use super::{Kind, Label, SweeperRun, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Answer, Clock, Row},
};

impl World {
    pub(super) fn sweeper_steps(&self) -> Vec<(Label, Self)> {
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
        let named = |what, at| label("sweeper", run.kind.number(), what, at);
        let (what, at) = match action {
            SweepAction::ProposeRollback => {
                let ruling = world.rule(&run);
                let members = world.named(&run);
                run.machine.ruled(ruling, members);
                if world.register.finished && ruling != Ruling::Taken {
                    run.machine.finished();
                }
                ("asks the register", 0)
            }
            SweepAction::Inspect(at) => {
                run.machine.found(at, world.inspect(&run, at));
                ("inspects", at)
            }
            SweepAction::Commit(at) => {
                match world.parts[at].commit(world.clock, world.broken) {
                    Answer::Done | Answer::Forgotten => run.machine.found(at, Found::Ended),
                    Answer::Opposite if world.by_hand => run.machine.found(at, Found::Opposite),
                    Answer::Opposite => world.violation = Some("a heuristic outcome"),
                    Answer::Busy | Answer::Unknown | Answer::Mismatch => {
                        return Some((named("gives up", at), world));
                    }
                }
                ("commits", at)
            }
            SweepAction::Rollback(at) if at >= world.parts.len() => {
                run.machine.found(at, Found::Ended);
                ("leaves a tombstone where nothing was", at)
            }
            SweepAction::Rollback(at) => {
                let (what, answer) = world.rollback_step(at, run.set, &mut run.steps[at])?;
                match answer {
                    Some(Answer::Done | Answer::Forgotten | Answer::Mismatch) => {
                        run.machine.found(at, Found::Ended);
                    }
                    Some(Answer::Opposite) => world.violation = Some("a heuristic outcome"),
                    _ => {}
                }
                (what, at)
            }
            SweepAction::Finish => {
                if run.kind != Kind::Wrong {
                    world.register.finished = world.register.value.is_some();
                }
                run.machine.finished();
                ("notes the end", 0)
            }
            SweepAction::LeaveAlone => return Some((named("leaves it alone", 0), world)),
            SweepAction::Done => {
                if world.broken == Some(Mistake::SweeperLeavesNoTombstone) {
                    world.register.finished = world.register.value == Some(Decision::Rollback);
                }
                return Some((named("is done", 0), world));
            }
        };
        let label = named(what, at);
        world.sweeper = Some(run);
        Some((label, world))
    }

    fn rule(&mut self, run: &SweeperRun) -> Ruling {
        if run.kind == Kind::Wrong {
            // It knows nothing of the transaction.
            self.other_register = true;
            return Ruling::Decided(Decision::Rollback);
        }
        match self.broken {
            Some(Mistake::SweeperWithoutRegister) => Ruling::Decided(Decision::Rollback),
            Some(Mistake::SweeperCommits) => Ruling::Decided(Decision::Commit),
            _ if self.register.is_of_another(run.set) => Ruling::Taken,
            broken => {
                let stands = self.register.value.is_some();
                let decided = self.register.decide(Decision::Rollback, self.clock, broken);
                if !stands && decided.is_some() {
                    (self.register.set, self.register.named) = (run.set, false);
                }
                match decided {
                    Some(Decision::Rollback)
                        if broken == Some(Mistake::SweeperLeavesNoTombstone) =>
                    {
                        Ruling::Forgotten
                    }
                    Some(decision) => Ruling::Decided(decision),
                    None if broken == Some(Mistake::SweeperDoesNotRecheck) => {
                        Ruling::Decided(Decision::Rollback)
                    }
                    None => Ruling::Forgotten,
                }
            }
        }
    }

    /// What the decision's row says about the participants.
    fn named(&self, run: &SweeperRun) -> Option<Named> {
        let known = run.steps.len();
        let unasked = matches!(
            self.broken,
            Some(Mistake::SweeperWithoutRegister | Mistake::SweeperCommits)
        );
        if run.kind == Kind::Wrong || !(self.register.named || unasked) {
            return None;
        }
        let members: Vec<_> = self.members(run.set).collect();
        let strangers = self.broken == Some(Mistake::StrangersCount);
        let unknown = members.iter().filter(|at| **at >= known).count();
        Some(Named {
            took_part: (0..known)
                .map(|at| strangers || members.contains(&at))
                .collect(),
            unknown: if self.broken == Some(Mistake::PartFinishes) {
                0
            } else {
                unknown
            },
        })
    }

    fn inspect(&self, run: &SweeperRun, at: usize) -> Found {
        let Some(part) = self.parts.get(at) else {
            return Found::Nothing;
        };
        if part.is_of_another(run.set) {
            return Found::Nothing;
        }
        let committing = run.machine.ruling() == Some(Ruling::Decided(Decision::Commit));
        match (part.prepared, part.row) {
            (true, _) => Found::InDoubt,
            (false, Row::None) => match self.broken {
                Some(Mistake::SweeperFinishesALoss) => Found::Ended,
                Some(Mistake::ForgottenConfirms) if self.clock == Clock::PastForget => Found::Ended,
                _ => Found::Nothing,
            },
            (false, Row::RolledBack)
                if committing && self.broken != Some(Mistake::HeuristicFinishes) =>
            {
                Found::Opposite
            }
            (false, _) => Found::Ended,
        }
    }
}

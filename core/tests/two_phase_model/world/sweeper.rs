//! The steps of a sweeper.

use exactly_once_core::{
    Decision,
    coordinator::machine::{Found, Named, Ruling, SweepAction},
};

use super::{Label, World, label};
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
        let (what, at) = match action {
            SweepAction::ProposeRollback => {
                let named = Named {
                    took_part: vec![true; world.parts.len()],
                    unknown: 0,
                };
                run.machine.ruled(world.rule(), Some(named));
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
            SweepAction::LeaveAlone | SweepAction::Done => {
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

//! What happens around attempts and sweepers: the clock, forgetting, a failover, a watcher.

use exactly_once_core::Decision;

use super::{Label, Watcher, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Clock, Register, Row},
};

impl World {
    /// Clock, forgetting, failover, watcher.
    pub(super) fn surroundings(&self) -> Vec<(Label, Self)> {
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
}

//! What happens around attempts and sweepers: the clock, forgetting, a failover, a watcher.

use exactly_once_core::Decision;

use super::{Backup, Label, Watcher, World, label};
use crate::{
    mistakes::Mistake,
    participant::{Clock, Part, Register, Row},
};

impl World {
    /// Clock, forgetting, failover, watcher.
    pub(super) fn surroundings(&self) -> Vec<(Label, Self)> {
        let mut next = Vec::new();
        let tick = match self.clock {
            Clock::InTime => Some(Clock::PastDeadline),
            // No session lives as long as that.
            Clock::PastDeadline
                if self.config.forgets
                    && self.is_swept()
                    && self.parts.iter().all(|part| part.open.is_none()) =>
            {
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
        if self.config.by_hand && !self.by_hand {
            next.extend(self.by_hand());
        }
        // A backup as old as the records' time has lost them.
        if self.config.restores && !self.restored && self.clock != Clock::PastForget {
            next.extend(self.backups());
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
        for (at, register) in self.registers.iter().enumerate() {
            let removable = register.finished || register.value == Some(Decision::Rollback);
            if register.value.is_some() && removable && !register.disputed {
                let mut world = self.clone();
                world.registers[at] = Register::new();
                next.push((label("forgetting", at, "removes the decision", 0), world));
            }
        }
        next
    }

    /// An operator rolls back what is prepared somewhere, and asks no register.
    fn by_hand(&self) -> Vec<(Label, Self)> {
        let prepared = (0..self.parts.len()).filter(|at| self.parts[*at].prepared);
        prepared
            .map(|at| {
                let mut world = self.clone();
                world.parts[at].rollback();
                world.parts[at].row = Row::RolledBack;
                world.by_hand = true;
                (label("operator", 0, "rolls back by hand", at), world)
            })
            .collect()
    }

    /// A backup of one store is taken, and later the store is restored from it.
    fn backups(&self) -> Vec<(Label, Self)> {
        let Some(backup) = self.backup.clone() else {
            let stores = 0..self.parts.len();
            return stores
                .map(|store| {
                    let mut world = self.clone();
                    world.backup = Some(Backup {
                        store,
                        part: self.parts[store].clone(),
                        register: self.registers[0].clone(),
                    });
                    (label("operator", 0, "takes a backup", store), world)
                })
                .collect();
        };
        let (mut world, store) = (self.clone(), backup.store);
        // Services and sweepers go on, with what they know; only what is open there is cut off.
        if let Some(open) = self.parts[store].open {
            world.end(usize::from(open));
        }
        world.parts[store] = Part {
            open: None,
            ..backup.part
        };
        if store == 0 {
            world.registers[0] = backup.register;
        }
        world.backup = None;
        world.stale_sweeps();
        world.restored = true;
        vec![(label("operator", 0, "restores the backup", store), world)]
    }

    /// A store that was restored is swept before its records may be removed.
    fn is_swept(&self) -> bool {
        let doubts = || {
            (0..self.config.terms())
                .any(|terms| self.something_to_sweep(self.right_sweeper(terms), terms))
        };
        !self.restored || self.swept || !doubts()
    }

    pub(super) fn past_deadline(&self) -> bool {
        self.clock != Clock::InTime
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

//! How large a world is, which actors it has, and which faults.

use exactly_once_core::two_phase::machine::Role;

/// What an attempt is made with: the stores of its participants, and the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Terms {
    pub(crate) members: &'static [usize],
    /// The identity of the register.
    pub(crate) register: u8,
}

/// A database that holds a register. The register of the flow is in the first store, and has its
/// identity and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    pub(crate) identity: u8,
    pub(crate) place: u8,
}

/// What a sweeper is configured with: which of the registers, and which stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Knowing(pub(crate) usize, pub(crate) &'static [usize]);

/// How large the world is, and what happens in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Config {
    /// What each participant is; those that only read come after those that write.
    pub(crate) roles: &'static [Role],
    pub(crate) attempts: usize,
    /// One attempt more, with other participants or another register.
    pub(crate) other: Option<Terms>,
    pub(crate) registers: &'static [Held],
    pub(crate) sweepers: &'static [Knowing],
    /// An attempt handles its participants in any order, as the driver does, instead of one after
    /// the other.
    pub(crate) parallel: bool,
    /// The last participant's work may refuse.
    pub(crate) refusals: bool,
    /// A failover may lose one prepared transaction.
    pub(crate) losses: bool,
    /// A watcher asks for the first participant's status, all the time.
    pub(crate) observer: bool,
    /// A sweeper may find a store away.
    pub(crate) away: bool,
    /// One prepared transaction may be rolled back past the register.
    pub(crate) by_hand: bool,
    /// One store may be restored from a backup: its participant, and with the first one the register.
    /// A backup is never as old as the time after which records are removed.
    pub(crate) restores: bool,
    /// Records are removed in their time.
    pub(crate) forgets: bool,
}

/// The register of the flow, which is in the first store.
pub(crate) const OWN: Held = Held {
    identity: 0,
    place: 0,
};
/// The register of another flow.
pub(crate) const ANOTHER: Held = Held {
    identity: 7,
    place: 7,
};
/// A restored copy of the first store, which knows nothing of the transaction.
pub(crate) const COPY: Held = Held {
    identity: 0,
    place: 9,
};
/// A copy that was given an identity of its own.
pub(crate) const ADOPTED: Held = Held {
    identity: 9,
    place: 9,
};

/// Two participants, two attempts, and one right sweeper. Every shape has a sweeper that may crash,
/// the deadline and forgetting besides.
pub(crate) const SMALL: Config = Config {
    roles: &[Role::Prepared; 2],
    attempts: 2,
    other: None,
    registers: &[OWN],
    sweepers: &[Knowing(0, &[0, 1])],
    parallel: false,
    refusals: false,
    losses: false,
    observer: false,
    away: false,
    by_hand: false,
    restores: false,
    forgets: true,
};

impl Config {
    /// What a trace says of its world beside the participants; nothing for the usual ones.
    pub(crate) fn extras(&self) -> String {
        let mut lines = String::new();
        if self.registers != [OWN] {
            for held in self.registers {
                let Held { identity, place } = held;
                lines += &format!("with a register of identity {identity} at place {place}\n");
            }
        }
        if let Some(Terms { members, register }) = self.other {
            lines += &format!("with an attempt of stores {members:?} and register {register}\n");
        }
        if self.is_misconfigured() || self.registers != [OWN] || self.other.is_some() {
            for Knowing(register, stores) in self.sweepers {
                lines += &format!("with a sweeper of register {register} and stores {stores:?}\n");
            }
        }
        for (happens, what) in [
            (self.away, "stores away"),
            (self.by_hand, "an operator"),
            (self.restores, "a backup"),
        ] {
            if happens {
                lines += &format!("with {what}\n");
            }
        }
        lines
    }

    fn is_misconfigured(&self) -> bool {
        let right = |sweeper: &Knowing| sweeper.1.iter().copied().eq(0..self.writers());
        !self.sweepers.iter().all(right)
    }

    fn writers(&self) -> usize {
        let writers = self.roles.iter().filter(|role| **role != Role::Reader);
        writers.count()
    }

    /// How many stores there are.
    pub(crate) fn stores(&self) -> usize {
        let others = self.other.iter().flat_map(|terms| terms.members);
        let known = self.sweepers.iter().flat_map(|sweeper| sweeper.1);
        let last = others.chain(known).max().copied().unwrap_or_default();
        self.writers().max(last + 1)
    }

    /// How many different terms there are.
    pub(crate) fn terms(&self) -> usize {
        1 + usize::from(self.other.is_some())
    }

    /// The stores of the participants.
    pub(crate) fn members(&self, terms: usize) -> &'static [usize] {
        const FIRST: &[usize] = &[0, 1, 2, 3];
        match self.other {
            Some(other) if terms > 0 => other.members,
            _ => &FIRST[..self.writers()],
        }
    }

    /// The identity of the register that the terms name.
    pub(crate) fn register(&self, terms: usize) -> u8 {
        match self.other {
            Some(other) if terms > 0 => other.register,
            _ => OWN.identity,
        }
    }
}

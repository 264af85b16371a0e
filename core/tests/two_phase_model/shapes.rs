//! The worlds that are explored.

use exactly_once_core::two_phase::machine::Role::{Alone, Last, Prepared, Reader};

use crate::world::config::{ADOPTED, ANOTHER, COPY, Config, Knowing, OWN, SMALL, Terms};

/// The right protocol, in the shapes that together cover every actor, every day.
pub(crate) const SHAPES: [(&str, Config); 17] = [
    (
        "an attempt with another register, and a sweeper of each",
        Config {
            attempts: 1,
            registers: &[OWN, ANOTHER],
            other: Some(Terms {
                members: &[0, 1],
                register: ANOTHER.identity,
            }),
            sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[0, 1])],
            forgets: false,
            ..SMALL
        },
    ),
    (
        "a store that is restored from a backup, two attempts",
        Config {
            restores: true,
            forgets: false,
            ..SMALL
        },
    ),
    (
        "a store that is restored from a backup, and records that are removed",
        Config {
            attempts: 1,
            restores: true,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "an operator who rolls back by hand, two attempts",
        Config {
            by_hand: true,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "a restored copy of the register, beside its original and adopted, two attempts",
        Config {
            registers: &[OWN, COPY, ADOPTED],
            sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[0, 1]), Knowing(2, &[1])],
            ..SMALL
        },
    ),
    (
        "one participant, three attempts (two of them zombies)",
        Config {
            roles: &[Prepared],
            sweepers: &[Knowing(0, &[0])],
            attempts: 3,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "two participants, two attempts, refusals",
        Config {
            refusals: true,
            ..SMALL
        },
    ),
    (
        "two participants, two attempts, a watcher of the status",
        Config {
            observer: true,
            ..SMALL
        },
    ),
    (
        "two participants, two attempts, a failover that loses what was prepared",
        Config {
            losses: true,
            ..SMALL
        },
    ),
    (
        "three participants, one attempt",
        Config {
            roles: &[Prepared; 3],
            sweepers: &[Knowing(0, &[0, 1, 2])],
            attempts: 1,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "one that writes beside one that reads, three attempts",
        Config {
            roles: &[Alone, Reader],
            sweepers: &[Knowing(0, &[0])],
            attempts: 3,
            parallel: true,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "one beside the one that holds the register, two attempts",
        Config {
            roles: &[Prepared, Last],
            refusals: true,
            ..SMALL
        },
    ),
    (
        "two participants and one that reads, two attempts",
        Config {
            roles: &[Prepared, Prepared, Reader],
            ..SMALL
        },
    ),
    (
        "a sweeper of another flow over the shared store, two attempts",
        Config {
            registers: &[OWN, ANOTHER],
            sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[1, 2])],
            refusals: true,
            ..SMALL
        },
    ),
    (
        "a sweeper with the wrong register over all stores, one attempt, stores away",
        Config {
            attempts: 1,
            registers: &[OWN, ANOTHER],
            sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[0, 1])],
            refusals: true,
            away: true,
            ..SMALL
        },
    ),
    (
        "a sweeper that knows a part, one that knows too much, one attempt",
        Config {
            attempts: 1,
            sweepers: &[Knowing(0, &[1]), Knowing(0, &[0, 1, 2])],
            refusals: true,
            ..SMALL
        },
    ),
    (
        "an attempt with other participants",
        Config {
            attempts: 1,
            forgets: false,
            other: Some(Terms {
                members: &[2, 0],
                register: OWN.identity,
            }),
            sweepers: &[Knowing(0, &[0, 1, 2])],
            ..SMALL
        },
    ),
];

/// Larger ones, for when something was changed.
pub(crate) const LARGE: [(&str, Config); 12] = [
    (
        "a store that is restored from a backup, two attempts, refusals",
        Config {
            restores: true,
            forgets: false,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "three participants, one attempt, all at once",
        Config {
            roles: &[Prepared; 3],
            sweepers: &[Knowing(0, &[0, 1, 2])],
            attempts: 1,
            parallel: true,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "two participants, three attempts (two of them zombies)",
        Config {
            attempts: 3,
            ..SMALL
        },
    ),
    (
        "three participants, two attempts",
        Config {
            roles: &[Prepared; 3],
            sweepers: &[Knowing(0, &[0, 1, 2])],
            ..SMALL
        },
    ),
    (
        "two participants, two attempts, all at once",
        Config {
            parallel: true,
            ..SMALL
        },
    ),
    (
        "two beside the one that holds the register, two attempts, a failover",
        Config {
            roles: &[Last, Prepared, Prepared],
            sweepers: &[Knowing(0, &[0, 1, 2])],
            losses: true,
            ..SMALL
        },
    ),
    (
        "one beside the one that holds the register, three attempts",
        Config {
            roles: &[Last, Prepared],
            attempts: 3,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "an attempt with other participants, two attempts",
        Config {
            other: Some(Terms {
                members: &[2, 0],
                register: OWN.identity,
            }),
            sweepers: &[Knowing(0, &[0, 1, 2])],
            ..SMALL
        },
    ),
    (
        "a sweeper that knows a part, one that knows too much, two attempts, stores away",
        Config {
            sweepers: &[Knowing(0, &[1]), Knowing(0, &[0, 1, 2])],
            refusals: true,
            away: true,
            ..SMALL
        },
    ),
    (
        "a store that is restored from a backup, and a sweeper of another flow",
        Config {
            registers: &[OWN, ANOTHER],
            sweepers: &[Knowing(0, &[0, 1, 2]), Knowing(1, &[1, 2])],
            restores: true,
            forgets: false,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "an attempt with none of the participants",
        Config {
            attempts: 1,
            forgets: false,
            other: Some(Terms {
                members: &[2, 3],
                register: OWN.identity,
            }),
            sweepers: &[Knowing(0, &[0, 1, 2, 3])],
            ..SMALL
        },
    ),
    (
        "an attempt with another register, and a sweeper of each, refusals, forgetting",
        Config {
            attempts: 1,
            registers: &[OWN, ANOTHER],
            other: Some(Terms {
                members: &[0, 1],
                register: ANOTHER.identity,
            }),
            sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[0, 1])],
            refusals: true,
            ..SMALL
        },
    ),
];

//! The two-phase protocol, explored exhaustively.
//!
//! Goal: no interleaving of attempts (two of them zombies), crashes, a crashing sweeper, the
//! deadline and forgetting breaks an invariant, and each deliberate mistake in the protocol does.
//! Method: breadth-first search over every state of a small world in which the participants are
//! modelled statement by statement, and the coordinator and the sweeper are the library's own
//! machines. Run with `--nocapture` to see the counts and the traces.
//!
//! The shortest trace of each mistake is kept in `traces/`; the adapters' tests replay them on real
//! servers. `EXACTLY_ONCE_MODEL=whole` explores the largest worlds too, and
//! `EXACTLY_ONCE_MODEL=traces` writes the traces anew.

#![allow(clippy::print_stdout, clippy::panic, clippy::expect_used)] // the counts and traces are for people

mod mistakes;
mod participant;
mod search;
mod world;

use std::{env, fs, path::PathBuf};

use exactly_once_core::coordinator::machine::Role::{Alone, Last, Prepared, Reader};
use mistakes::Mistake;
use search::{Explored, explore};
use world::{Config, World};

/// The right protocol, in the shapes that together cover every actor, every day.
const SHAPES: [(&str, Config); 8] = [
    (
        "one participant, three attempts (two of them zombies)",
        Config {
            roles: &[Prepared],
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
            attempts: 1,
            refusals: true,
            ..SMALL
        },
    ),
    (
        "one that writes beside one that reads, three attempts",
        Config {
            roles: &[Alone, Reader],
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
];

/// Larger ones, for when something was changed.
const LARGE: [(&str, Config); 6] = [
    (
        "three participants, one attempt, all at once",
        Config {
            roles: &[Prepared; 3],
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
];

/// Every shape has a sweeper that may crash, the deadline and forgetting besides.
const SMALL: Config = Config {
    roles: &[Prepared; 2],
    attempts: 2,
    parallel: false,
    refusals: false,
    losses: false,
    observer: false,
};

fn asked_for(what: &str) -> bool {
    env::var("EXACTLY_ONCE_MODEL").is_ok_and(|asked| asked == what)
}

#[test]
fn the_protocol_holds_in_every_state() {
    let mut shapes = SHAPES.to_vec();
    if asked_for("whole") {
        shapes.extend(LARGE);
    }
    let total: usize = std::thread::scope(|scope| {
        let searches: Vec<_> = shapes
            .into_iter()
            .map(|(name, config)| scope.spawn(move || holds(name, config)))
            .collect();
        searches
            .into_iter()
            .map(|search| search.join().unwrap())
            .sum()
    });
    println!("{total:>9} states, no violation");
    assert!(
        total >= 1_000_000,
        "the search has become too small to mean anything: {total}"
    );
}

fn holds(name: &str, config: Config) -> usize {
    match explore(World::new(config, None)) {
        Explored::Holds { states } => {
            println!("{states:>9} states: {name}");
            states
        }
        Explored::Violated { what, trace, .. } => panic!("{name}: {what}\n{}", trace.join("\n")),
    }
}

#[test]
fn each_mistake_is_caught() {
    let mut missed = Vec::new();
    for &mistake in Mistake::ALL {
        let world = World::new(mistake.shape(), Some(mistake));
        match explore(world) {
            Explored::Violated {
                what,
                trace,
                states,
            } => {
                println!(
                    "{mistake:?}: {what}, after {states} states, by {} steps:",
                    trace.len()
                );
                trace.iter().for_each(|step| println!("    {step}"));
                kept(mistake, what, &trace);
            }
            Explored::Holds { states } => missed.push(format!("{mistake:?} ({states} states)")),
        }
    }
    println!(
        "{} of {} mistakes caught",
        Mistake::ALL.len() - missed.len(),
        Mistake::ALL.len()
    );
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// The trace is the one that is kept, and replayed elsewhere.
fn kept(mistake: Mistake, what: &str, trace: &[String]) {
    let path: PathBuf = [
        env!("CARGO_MANIFEST_DIR"),
        "tests/two_phase_model/traces",
        &mistake.file_name(),
    ]
    .iter()
    .collect();
    let roles: Vec<_> = mistake.shape().roles.iter().collect();
    let found = format!("participants {roles:?}\n{}\n=> {what}\n", trace.join("\n"));
    if asked_for("traces") {
        fs::write(&path, &found).expect("the folder of traces can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, found,
        "{mistake:?} has another trace now: EXACTLY_ONCE_MODEL=traces writes it anew"
    );
}

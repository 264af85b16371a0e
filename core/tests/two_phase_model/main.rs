//! The two-phase protocol, explored exhaustively.
//!
//! Goal: no interleaving of attempts (two of them zombies), crashes, a crashing sweeper, the
//! deadline and forgetting breaks an invariant, and each deliberate mistake in the protocol does.
//! Method: breadth-first search over every state of a small world in which the participants are
//! modelled statement by statement, and the coordinator and the sweeper are the library's own
//! machines. Run with `--nocapture` to see the counts and the traces.

#![allow(clippy::print_stdout, clippy::panic)] // the counts and traces are for people

mod mistakes;
mod participant;
mod search;
mod world;

use mistakes::Mistake;
use search::{Explored, explore};
use world::{Config, World};

/// The right protocol, in the shapes that together cover every actor.
const SHAPES: [(&str, Config); 6] = [
    (
        "one participant, three attempts",
        Config {
            participants: 1,
            attempts: 3,
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
            participants: 3,
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
        "two participants, two attempts, refusals, a watcher of the status",
        Config {
            refusals: true,
            observer: true,
            ..SMALL
        },
    ),
    (
        "two participants, two attempts, a failover that loses what was prepared",
        Config {
            refusals: true,
            losses: true,
            ..SMALL
        },
    ),
];

/// Every shape has a sweeper that may crash, the deadline and forgetting besides.
const SMALL: Config = Config {
    participants: 2,
    attempts: 2,
    parallel: false,
    refusals: false,
    losses: false,
    observer: false,
};

#[test]
fn the_protocol_holds_in_every_state() {
    let total: usize = std::thread::scope(|scope| {
        let searches = SHAPES.map(|(name, config)| scope.spawn(move || holds(name, config)));
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
    for mistake in Mistake::ALL {
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

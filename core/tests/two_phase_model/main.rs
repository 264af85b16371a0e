//! The two-phase protocol, explored exhaustively.
//!
//! Goal: no interleaving of attempts (two of them zombies), crashes, crashing sweepers, the deadline
//! and forgetting breaks an invariant, and each deliberate mistake in the protocol does. Nor do two
//! registers over shared stores, sweepers with a part of the stores, with too many or with the wrong
//! register, an attempt with other participants, a restored store or an operator's rollback: what
//! these make impossible to keep is reported by every sweep.
//! Method: breadth-first search over every state of a small world in which the participants are
//! modelled statement by statement, and the coordinator and the sweeper are the library's own
//! machines. Run with `--nocapture` to see the counts and the traces.
//!
//! The shortest trace of each mistake is kept in `traces/`; the adapters' tests replay them on real
//! servers. `EXACTLY_ONCE_MODEL=whole` explores the largest worlds too, and
//! `EXACTLY_ONCE_MODEL=traces` writes the traces again.

#![allow(clippy::print_stdout, clippy::panic, clippy::expect_used)] // the counts and traces are for people

mod mistakes;
mod participant;
mod search;
mod shapes;
mod world;

use std::{
    env, fs,
    num::NonZero,
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    thread::available_parallelism,
    time::Instant,
};

use mistakes::Mistake;
use search::{Explored, explore, holds};
use shapes::{LARGE, SHAPES};
use world::{World, config::Config};

fn asked_for(what: &str) -> bool {
    env::var("EXACTLY_ONCE_MODEL").is_ok_and(|asked| asked == what)
}

#[test]
fn the_protocol_holds_in_every_state() {
    let mut shapes = SHAPES.to_vec();
    if asked_for("whole") {
        shapes.extend(LARGE);
    }
    // The next shape goes to the thread that is free: there are more shapes than cores.
    let next = AtomicUsize::new(0);
    let threads = available_parallelism().map_or(1, NonZero::get);
    let explored = || {
        let mut total = 0;
        while let Some((name, config)) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            total += states(name, *config);
        }
        total
    };
    let total: usize = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..threads).map(|_| scope.spawn(explored)).collect();
        let searches = searches.into_iter().map(|search| search.join().unwrap());
        searches.sum()
    });
    println!("{total:>9} states, no violation");
    assert!(
        total >= 3_000_000,
        "the search has become too small to mean anything: {total}"
    );
}

fn states(name: &str, config: Config) -> usize {
    let started = Instant::now();
    if let Some(states) = holds(World::new(config, None)) {
        println!("{states:>9} states in {:.1?}: {name}", started.elapsed());
        return states;
    }
    // Once more, with the way to each state.
    match explore(World::new(config, None)) {
        Explored::Holds { states } => states,
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
    let shape = mistake.shape();
    let (roles, extras) = (shape.roles, shape.extras());
    let steps = trace.join("\n");
    let found = format!("participants {roles:?}\n{extras}{steps}\n=> {what}\n");
    if asked_for("traces") {
        fs::write(&path, &found).expect("the folder of traces can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept, found,
        "{mistake:?} has another trace now: EXACTLY_ONCE_MODEL=traces writes it anew"
    );
}

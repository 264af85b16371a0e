//! Breadth-first search: the first violation found has the shortest trace.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use crate::world::{Label, World};

/// What a search came to.
pub(crate) enum Explored {
    /// Every reachable state is fine.
    Holds { states: usize },
    /// One is not, and this is how to get there.
    Violated {
        what: &'static str,
        trace: Vec<String>,
        states: usize,
    },
}

fn digest(world: &World) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash(&mut hasher);
    hasher.finish()
}

/// Explores every state that can be reached. States are told apart by a 64-bit digest: among a few
/// million states two collide with a probability below one in a million.
pub(crate) fn explore(start: World) -> Explored {
    let first = digest(&start);
    let mut seen: HashMap<u64, Option<(u64, Label)>> = HashMap::from([(first, None)]);
    let mut frontier = VecDeque::from([(first, start)]);
    while let Some((at, world)) = frontier.pop_front() {
        for (label, next) in world.successors() {
            let digest = digest(&next);
            let std::collections::hash_map::Entry::Vacant(entry) = seen.entry(digest) else {
                continue;
            };
            entry.insert(Some((at, label)));
            if let Some(what) = next.violation() {
                let states = seen.len();
                return Explored::Violated {
                    what,
                    trace: trace(&seen, digest),
                    states,
                };
            }
            frontier.push_back((digest, next));
        }
    }
    Explored::Holds { states: seen.len() }
}

fn trace(seen: &HashMap<u64, Option<(u64, Label)>>, mut at: u64) -> Vec<String> {
    let mut steps = Vec::new();
    while let Some(Some((before, label))) = seen.get(&at) {
        steps.push(label.to_string());
        at = *before;
    }
    steps.reverse();
    steps
}

//! Breadth-first search: the first violation found has the shortest trace.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasherDefault, Hash, Hasher},
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

/// Folds each word into the digest by a full multiplication: quick, and every bit counts.
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.write_u64(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        const ODD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let product = u128::from(self.0 ^ word ^ 0xa076_1d64_78bd_642f).wrapping_mul(ODD);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A digest is its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn digest(world: &World) -> u64 {
    let mut hasher = Fold(0);
    world.hash(&mut hasher);
    hasher.finish()
}

/// How many states can be reached; nothing if one of them is wrong. It keeps no way to a state, which
/// is most of the memory.
///
/// States are distinguished by a 64-bit digest: among a few million states two collide with a probability
/// below one in a million.
pub(crate) fn holds(start: World) -> Option<usize> {
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    seen.insert(digest(&start));
    let mut frontier = VecDeque::from([start]);
    while let Some(world) = frontier.pop_front() {
        for (_, next) in world.successors() {
            if seen.insert(digest(&next)) {
                if next.violation().is_some() {
                    return None;
                }
                frontier.push_back(next);
            }
        }
    }
    Some(seen.len())
}

/// Explores every state that can be reached, with the shortest way to the first that is wrong.
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

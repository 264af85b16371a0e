//! Mutants that don't say where their data are.

use std::sync::atomic::{AtomicU64, Ordering};

use exactly_once::{Place, memory::MemoryStore};

use crate::{harness::assert_killed, patch::Patch};

/// All data are at one place.
#[derive(Clone, Default)]
struct Everywhere;

impl Patch for Everywhere {
    fn place(&self, _: &MemoryStore) -> Place {
        Place::new(["memory"])
    }
}

/// Each look is at another place, as with a number of the handle.
#[derive(Clone, Default)]
struct Restless;

impl Patch for Restless {
    fn place(&self, _: &MemoryStore) -> Place {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Place::new([NEXT.fetch_add(1, Ordering::Relaxed).to_string()])
    }
}

#[test]
fn all_data_at_one_place() {
    assert_killed::<Everywhere>("idempotency::life::i91_place");
}

#[test]
fn each_handle_at_another_place() {
    assert_killed::<Restless>("idempotency::life::i91_place");
}

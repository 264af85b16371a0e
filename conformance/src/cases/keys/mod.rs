//! Keys in both forms, by transaction and by lease: cases that need
//! [`IdempotencyStore`](exactly_once_core::IdempotencyStore) and
//! [`LeaseStore`](exactly_once_core::LeaseStore).

mod forms;
mod tokens;

use exactly_once_core::{IdempotencyStore, LeaseStore};

use super::{Registry, invariants};
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: IdempotencyStore + LeaseStore,
{
    forms::register(registry);
    tokens::register(registry);
    invariants::keys::register(registry);
}

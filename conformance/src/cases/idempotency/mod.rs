//! Topic I: idempotency stores, transactional form.

mod basic;

use exactly_once_core::IdempotencyStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: IdempotencyStore,
{
    basic::register(registry);
}

//! Topic I: idempotency stores, transactional form.

mod abandoned;
mod answers;
mod basic;
mod concurrency;
mod crash;
mod declared;
mod expiry;
mod fingerprint;
mod ground;
mod life;
mod limits;
mod replay;
mod retention;
mod shared;
pub(crate) mod support;

use exactly_once_core::IdempotencyStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: IdempotencyStore,
{
    basic::register(registry);
    replay::register(registry);
    fingerprint::register(registry);
    concurrency::register(registry);
    crash::register(registry);
    abandoned::register(registry);
    expiry::register(registry);
    limits::register(registry);
    life::register(registry);
    ground::register(registry);
    declared::register(registry);
    retention::register(registry);
    shared::register(registry);
    answers::register(registry);
}

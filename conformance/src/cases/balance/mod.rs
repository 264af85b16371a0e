//! Cases of [`BalanceStore`](exactly_once_core::BalanceStore): topic B.

mod basic;
mod concurrency;
mod crash;
mod history;
mod legs;
pub(crate) mod model;
mod names;
mod numbers;
pub(crate) mod random;
mod refusals;
mod replay;
pub(crate) mod support;
mod version;

use exactly_once_core::BalanceStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceStore,
{
    basic::register(registry);
    replay::register(registry);
    refusals::register(registry);
    version::register(registry);
    numbers::register(registry);
    legs::register(registry);
    random::register(registry);
    concurrency::register(registry);
    crash::register(registry);
    history::register(registry);
    names::register(registry);
    super::invariants::balances::register(registry);
}

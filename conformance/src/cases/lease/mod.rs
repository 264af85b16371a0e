//! Topic I, leased form: cases of [`LeaseStore`](exactly_once_core::LeaseStore).

mod basic;
mod ended;
mod expiry;
mod fence;
pub(crate) mod support;
mod words;

use exactly_once_core::LeaseStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: LeaseStore,
{
    basic::register(registry);
    fence::register(registry);
    expiry::register(registry);
    ended::register(registry);
    words::register(registry);
}

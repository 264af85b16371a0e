//! Topic I, leased form: cases of [`LeaseStore`](exactly_once_core::LeaseStore).

mod basic;
mod expiry;
mod fence;
mod support;

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
}

//! Topic I, one-shot form: cases of [`OneShotStore`](exactly_once_core::OneShotStore).

mod basic;
mod crash;
mod groups;
mod keys;
pub(crate) mod leases;
mod rows;
mod rows_crash;
mod rows_shared;
pub(crate) mod support;

use exactly_once_core::OneShotStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: OneShotStore,
{
    basic::register(registry);
    groups::register(registry);
    crash::register(registry);
    keys::register(registry);
    rows::register(registry);
    rows_shared::register(registry);
    rows_crash::register(registry);
}

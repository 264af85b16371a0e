//! Cases of [`LeaseStore`](exactly_once_core::LeaseStore).

use exactly_once_core::LeaseStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: LeaseStore,
{
}

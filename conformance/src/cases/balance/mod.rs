//! Cases of [`BalanceStore`](exactly_once_core::BalanceStore).

use exactly_once_core::BalanceStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceStore,
{
}

//! Cases of [`BalanceTransaction`](exactly_once_core::BalanceTransaction).

use exactly_once_core::BalanceTransaction;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceTransaction,
{
}

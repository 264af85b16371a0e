//! Cases of [`PreparedTransactions`](exactly_once_core::PreparedTransactions).

use exactly_once_core::PreparedTransactions;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: PreparedTransactions,
{
}

//! Cases of participants and register together.

use exactly_once_core::{DecisionRegister, PreparedTransactions};

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: PreparedTransactions + DecisionRegister,
{
}

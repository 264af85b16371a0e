//! Cases of [`DecisionRegister`](exactly_once_core::DecisionRegister).

use exactly_once_core::DecisionRegister;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: DecisionRegister,
{
}

//! Topic T, one-shot form: cases of [`OneShotParticipant`](exactly_once_core::OneShotParticipant).

mod apply;
mod basic;
mod crash;
mod refusals;
mod support;
pub(crate) mod together;

use exactly_once_core::OneShotParticipant;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: OneShotParticipant,
{
    basic::register(registry);
    apply::register(registry);
    refusals::register(registry);
    crash::register(registry);
}

//! Cases of [`OneShotStore`](exactly_once_core::OneShotStore).

use exactly_once_core::OneShotStore;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: OneShotStore,
{
}

//! Keys and leases under random faults.

use exactly_once_core::{IdempotencyStore, LeaseStore};

use crate::cases::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: IdempotencyStore + LeaseStore,
{
}

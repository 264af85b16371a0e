//! Cases of [`PreparedTransactions`](exactly_once_core::PreparedTransactions): topic T.

mod alone;
pub(crate) mod balances;
mod basic;
mod crash;
mod ground;
mod in_doubt;
mod late;
mod limits;
mod races;
mod replay;
pub(crate) mod support;
mod zombies;

use exactly_once_core::PreparedTransactions;

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: PreparedTransactions,
{
    alone::register(registry);
    basic::register(registry);
    replay::register(registry);
    races::register(registry);
    zombies::register(registry);
    crash::register(registry);
    in_doubt::register(registry);
    limits::register(registry);
    ground::register(registry);
    late::register(registry);
}

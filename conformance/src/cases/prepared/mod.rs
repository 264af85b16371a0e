//! Cases of [`PreparedTransactions`](exactly_once_core::PreparedTransactions): topic T.

mod alone;
mod apart;
mod balances;
mod basic;
mod crash;
pub(crate) mod effects;
mod ground;
mod in_doubt;
mod late;
mod limits;
mod open;
mod races;
mod replay;
mod reservations;
pub(crate) mod support;
mod taken;
mod undecided;
mod words;
mod zombies;

use exactly_once_core::{BalanceTransaction, PreparedTransactions};

use super::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: PreparedTransactions,
{
    alone::register(registry);
    apart::register(registry);
    basic::register(registry);
    replay::register(registry);
    races::register(registry);
    zombies::register(registry);
    crash::register(registry);
    in_doubt::register(registry);
    limits::register(registry);
    ground::register(registry);
    late::register(registry);
    words::register(registry);
}

/// The cases with balances changed in the prepared transactions.
pub(crate) fn register_balances<H>(registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceTransaction + PreparedTransactions,
{
    balances::register(registry);
    reservations::register(registry);
    taken::register(registry);
    open::register(registry);
    undecided::register(registry);
}

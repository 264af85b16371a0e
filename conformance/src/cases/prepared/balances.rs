//! Balances changed in prepared transactions.

use exactly_once_core::{BalanceTransaction, PreparedTransactions};

use crate::cases::Registry;
use crate::harness::Harness;

pub(crate) fn register<H>(_registry: &mut Registry<H>)
where
    H: Harness,
    H::Store: BalanceTransaction + PreparedTransactions,
{
}

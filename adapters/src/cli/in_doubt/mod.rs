//! Transactions that wait for their decision, over all stores that are given.
//!
//! - `list`: what is in doubt, and decisions that are not carried out.
//! - `find`: one transaction by its digest; `state`: where it stands at each store.
//! - `show`, `resolve`, `settle`: one transaction. `sweep`: all of them, and their records.

mod find;
mod list;
mod resolve;
mod settle;
mod show;
mod state;
mod sweep;

use super::{arguments::InDoubtCommand, output::Answer, stores::Stores};
use crate::{Result, connect::Access};

impl InDoubtCommand {
    pub(super) fn access(&self) -> Access {
        match self {
            Self::List { .. } | Self::Show { .. } => Access::Read,
            Self::Resolve { .. } | Self::Sweep { .. } | Self::Settle(_) | Self::Forget { .. } => {
                Access::Existing
            }
        }
    }
}

pub(super) async fn run(stores: &mut Stores, command: InDoubtCommand) -> Result<Answer> {
    match command {
        InDoubtCommand::List { after, limit } => list::list(stores, after, limit).await,
        InDoubtCommand::Show { digest } => show::show(stores, &digest).await,
        InDoubtCommand::Resolve { digest, sure } => resolve::resolve(stores, &digest, sure).await,
        InDoubtCommand::Sweep { sure } => sweep::sweep(stores, sure).await,
        InDoubtCommand::Settle(settle) => settle::settle(stores, settle).await,
        InDoubtCommand::Forget { limit, sure } => sweep::forget(stores, limit, sure).await,
    }
}

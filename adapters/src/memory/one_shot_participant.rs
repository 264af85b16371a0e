//! A participant whose work is known up front, by the steps of any other.

use exactly_once_core::{
    LastOneShotParticipant, OneShotParticipant, Result, Statement,
    adapter::check_statements_without_rows,
};

use super::{MemoryStore, error::BACKEND, one_shot::apply, transaction::MemoryTx};

/// Statements are the commands of [`OneShotStore`](exactly_once_core::OneShotStore).
impl OneShotParticipant for MemoryStore {
    async fn apply(&self, tx: &mut MemoryTx, statements: &[Statement]) -> Result<()> {
        check_statements_without_rows(statements, "apply", BACKEND)?;
        tx.check_home(self, "apply")?;
        apply(tx, statements, "apply").map(drop)
    }
}

impl LastOneShotParticipant for MemoryStore {}

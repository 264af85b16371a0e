//! A participant whose work is known up front, by the steps of any other.

use exactly_once_core::{LastOneShotParticipant, OneShotParticipant, Result, Statement};

use super::{MemoryStore, one_shot::apply, transaction::MemoryTx};

/// Statements are the commands of [`OneShotStore`](exactly_once_core::OneShotStore).
impl OneShotParticipant for MemoryStore {
    async fn apply(&self, tx: &mut MemoryTx, statements: &[Statement]) -> Result<()> {
        tx.check_home(self, "apply")?;
        apply(tx, statements, "apply")
    }
}

impl LastOneShotParticipant for MemoryStore {}

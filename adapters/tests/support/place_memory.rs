//! Places in memory, for tests that need any store: the matrix of engines, say.

use exactly_once::{
    Statement, WorkError,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{CaseResult, Harness};

/// A store in memory.
pub(crate) struct Memory;

impl Harness for Memory {
    type Store = MemoryStore;
    type Guard = MemoryStore;

    fn name(&self) -> &str {
        "memory"
    }
    async fn fresh(&self) -> CaseResult<MemoryStore> {
        Ok(MemoryStore::new())
    }
    async fn open(&self, data: &MemoryStore) -> CaseResult<MemoryStore> {
        Ok(data.another_handle())
    }
    async fn write_effect(&self, tx: &mut MemoryTx, id: &str) -> Result<(), WorkError> {
        tx.append(id, b"x");
        Ok(())
    }
    async fn count_effects(&self, data: &MemoryStore, id: &str) -> CaseResult<u64> {
        Ok(data.get(id).map_or(0, |row| row.len() as u64))
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new("append").bind(id).bind("x"))
    }
    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("no such command"))
    }
}

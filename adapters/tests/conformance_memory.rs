//! The reference store passes every case.

use std::{process::ExitCode, time::Duration};

use exactly_once::{
    Statement, WorkError,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{CaseResult, harness::Harness};

struct Memory;

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
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        vec![("no command", vec![Statement::new("no such command")])]
    }
    async fn fail_half_way(&self, tx: &mut MemoryTx, id: &str) -> bool {
        tx.append(id, b"x");
        tx.put("spoilt", "no number");
        tx.add("spoilt", 1).is_err()
    }
    async fn spoil(&self, tx: &mut MemoryTx) -> bool {
        tx.put("spoilt", "no number");
        tx.add("spoilt", 1).is_err()
    }
    async fn left_open(&self, data: &MemoryStore) -> CaseResult<Option<u64>> {
        Ok(Some(data.open_transactions()))
    }
    fn tick(&self) -> Duration {
        // It distinguishes microseconds; what is left is for the machine to be busy in.
        Duration::from_millis(20)
    }
}

fn main() -> ExitCode {
    exactly_once_conformance::run(Memory)
}

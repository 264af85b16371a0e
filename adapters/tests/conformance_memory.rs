//! The reference store passes every case.

use std::{process::ExitCode, time::Duration};

use exactly_once::{
    Statement, Value, WorkError,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{
    CaseResult,
    harness::{Harness, RowsOf},
};

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
    fn returning_statement(&self, _: &MemoryStore, wanted: RowsOf<'_>) -> Option<Statement> {
        match wanted {
            RowsOf::Effects { id, count: 1 } => self.effect_statement(id),
            RowsOf::Effects { .. } => None,
            RowsOf::Value { id, value } => value_statement(id, value),
        }
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

/// The reference store keeps text, bytes, whole numbers and what has a text.
fn value_statement(id: &str, value: &Value) -> Option<Statement> {
    match value {
        Value::Integer(_) => Some(Statement::new("add").bind(id).bind(value.clone())),
        Value::Null | Value::Bool(_) | Value::Float(_) => None,
        value => Some(Statement::new("put").bind(id).bind(value.clone())),
    }
}

fn main() -> ExitCode {
    exactly_once_conformance::run(Memory)
}

//! Mutants of the commit in one phase.

use exactly_once::{
    Participation, PreparedTransactions, Result, Transactional,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Prepares, and takes that for a commit.
#[derive(Clone, Default)]
struct OnlyPrepares;

impl Patch for OnlyPrepares {
    async fn commit_alone(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, asked).await
    }
}

#[test]
fn alone_and_only_prepared() {
    assert_killed::<OnlyPrepares>("prepared::alone::t80_commits_in_one_phase");
}

/// Says that it has committed, and has not.
#[derive(Clone, Default)]
struct OnlySaysSo;

impl Patch for OnlySaysSo {
    async fn commit_alone(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        _: &Participation,
    ) -> Result<()> {
        right.rollback(tx).await
    }
}

#[test]
fn alone_and_nothing_committed() {
    for case in [
        "t80_commits_in_one_phase",
        "t81_late",
        "t82_foreign_transaction",
    ] {
        assert_killed::<OnlySaysSo>(&format!("prepared::alone::{case}"));
    }
}

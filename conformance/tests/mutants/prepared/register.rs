//! Mutants of the decision register.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Decision, DecisionRegister, Dispute, ErrorKind, Participation, RegisterEntry, Result,
    Settlement, Store, Timestamp, TransactionDigest, memory::MemoryStore,
};
use tokio::task::yield_now;

use crate::{harness::assert_killed, patch::Patch};

/// The last writer wins.
#[derive(Clone, Default)]
struct LastWriterWins(Arc<Mutex<HashMap<TransactionDigest, Decision>>>);

impl Patch for LastWriterWins {
    async fn decide(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        right.decide(participation, proposal).await?;
        let mut decided = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        decided.insert(*participation.transaction(), proposal);
        Ok(proposal)
    }
    async fn decision(
        &self,
        right: &MemoryStore,
        participation: &Participation,
    ) -> Result<Option<RegisterEntry>> {
        let entry = right.decision(participation).await?;
        let decided = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = decided.get(participation.transaction()).copied();
        Ok(entry.map(|entry| RegisterEntry {
            decision: last.unwrap_or(entry.decision),
            ..entry
        }))
    }
}

#[test]
fn the_last_writer_wins() {
    assert_killed::<LastWriterWins>("register::decide::r02_first_writer_wins");
    assert_killed::<LastWriterWins>("register::decide::t36_late_decision");
    assert_killed::<LastWriterWins>("two_phase::t38_coordinator_after_the_sweeper");
}

/// The same transaction with a deadline that never passes.
fn timeless(participation: &Participation) -> Result<Participation> {
    let end = participation.forget_after().as_micros();
    Participation::from_terms(
        *participation.transaction(),
        &participation.terms(),
        Timestamp::from_micros(end - 1),
        participation.forget_after(),
    )
}

/// A commit is taken after the deadline.
#[derive(Clone, Default)]
struct CommitAfterTheDeadline;

impl Patch for CommitAfterTheDeadline {
    async fn decide(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        right.decide(&timeless(participation)?, proposal).await
    }
    async fn decision(
        &self,
        right: &MemoryStore,
        participation: &Participation,
    ) -> Result<Option<RegisterEntry>> {
        let entry = right.decision(&timeless(participation)?).await?;
        let participation = participation.clone();
        Ok(entry.map(|entry| RegisterEntry {
            participation,
            ..entry
        }))
    }
}

#[test]
fn a_commit_is_taken_after_the_deadline() {
    assert_killed::<CommitAfterTheDeadline>("register::decide::r04_commit_after_the_deadline");
}

/// Looks for a decision, and then writes its own: two statements, and the answer is the proposal.
#[derive(Clone, Default)]
struct LookThenWrite;

impl Patch for LookThenWrite {
    async fn decide(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        if let Some(entry) = right.decision(participation).await? {
            return Ok(entry.decision);
        }
        for _ in 0..8 {
            yield_now().await;
        }
        right.decide(participation, proposal).await?;
        Ok(proposal)
    }
}

#[test]
fn the_answer_is_the_proposal() {
    assert_killed::<LookThenWrite>("register::decide::r06_racing_proposals");
    assert_killed::<LookThenWrite>("register::decide::r04_commit_after_the_deadline");
}

/// Finishing makes a decision up.
#[derive(Clone, Default)]
struct FinishUpserts;

impl Patch for FinishUpserts {
    async fn finish(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        decision: Decision,
    ) -> Result<()> {
        right.decide(participation, decision).await?;
        right.finish(participation, decision).await
    }
}

#[test]
fn finish_makes_a_decision_up() {
    assert_killed::<FinishUpserts>("register::lists::r07_finish");
}

/// Finishes whatever stands.
#[derive(Clone, Default)]
struct FinishesAnyDecision;

impl Patch for FinishesAnyDecision {
    async fn finish(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        decision: Decision,
    ) -> Result<()> {
        let stands = right.decision(participation).await?;
        let decision = stands.map_or(decision, |stands| stands.in_force());
        right.finish(participation, decision).await
    }
}

#[test]
fn finish_sets_a_flag_whatever_the_row_says() {
    assert_killed::<FinishesAnyDecision>("register::notes::r17_finish_names_the_decision");
}

/// Keeps no note of a participant that did not obey.
#[derive(Clone, Default)]
struct DisputesDropped;

impl Patch for DisputesDropped {
    async fn dispute(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        _: &Dispute,
    ) -> Result<Option<Settlement>> {
        let stands = right.decision(participation).await?;
        Ok(stands.and_then(|stands| stands.settled))
    }
}

#[test]
fn disputes_are_dropped() {
    assert_killed::<DisputesDropped>("register::notes::r18_disputes");
    assert_killed::<DisputesDropped>("two_phase::t100_heuristic_outlives_the_records");
}

/// A disputed decision ends with its time, as any other.
#[derive(Clone, Default)]
struct DisputesExpire;

impl Patch for DisputesExpire {
    async fn forget_decisions(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        let now = right.now().await?;
        let page = right.unfinished(None, 1_000).await?;
        for entry in page.entries {
            if entry.participation.forget_after() < now && !entry.disputes.is_empty() {
                let over = Settlement::now(right, entry.decision, "nobody", "expired").await?;
                right.settle(&entry.participation, &over).await?;
            }
        }
        right.forget_decisions(limit).await
    }
}

#[test]
fn disputes_expire() {
    assert_killed::<DisputesExpire>("register::notes::r19_a_dispute_outlives_the_records");
    assert_killed::<DisputesExpire>("two_phase::t100_heuristic_outlives_the_records");
}

/// An unfinished commit is removed with its time.
#[derive(Clone, Default)]
struct UnfinishedForgotten;

impl Patch for UnfinishedForgotten {
    async fn forget_decisions(&self, right: &MemoryStore, limit: u32) -> Result<u64> {
        let now = right.now().await?;
        let page = right.unfinished(None, 1_000).await?;
        for entry in page.entries {
            if entry.participation.forget_after() < now {
                right.finish(&entry.participation, entry.decision).await?;
            }
        }
        right.forget_decisions(limit).await
    }
}

#[test]
fn an_unfinished_commit_is_removed() {
    assert_killed::<UnfinishedForgotten>("register::lists::r09_forget");
    assert_killed::<UnfinishedForgotten>("two_phase::t59_unfinished_commit_is_kept");
}

/// What was forgotten is decided again.
#[derive(Clone, Default)]
struct DecidedAnew;

impl Patch for DecidedAnew {
    async fn decide(
        &self,
        right: &MemoryStore,
        participation: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        match right.decide(participation, proposal).await {
            Err(error) if error.kind() == ErrorKind::Forgotten => Ok(proposal),
            answer => answer,
        }
    }
}

#[test]
fn what_was_forgotten_is_decided_anew() {
    assert_killed::<DecidedAnew>("register::lists::r10_nothing_after_its_time");
}

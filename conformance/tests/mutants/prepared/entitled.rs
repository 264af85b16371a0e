//! Mutants that lose the proof that a transaction is a caller's to act on.

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, InDoubtPage, NamespaceIdentity, Participants,
    Participation, PreparedTransactions, Result, Settlement, StoreIdentity, TransactionDigest,
    memory::{MemoryStore, MemoryTx},
};

use crate::{harness::assert_killed, patch::Patch};

/// Another identity whenever it is read.
#[derive(Clone, Default)]
struct IdentityOfTheCall;

impl Patch for IdentityOfTheCall {
    async fn identity(&self, _: &MemoryStore) -> Result<StoreIdentity> {
        Ok(StoreIdentity::random())
    }
}

#[test]
fn the_identity_is_made_by_the_call() {
    assert_killed::<IdentityOfTheCall>("two_phase::t93_identity_is_one");
}

/// Keeps neither register nor participants.
fn without_terms(asked: &Participation) -> Participation {
    asked
        .clone()
        .entitled(NamespaceIdentity::NONE, Participants::NONE)
}

#[derive(Clone, Default)]
struct TermsNotCompared;

impl Patch for TermsNotCompared {
    async fn begin_prepared(
        &self,
        right: &MemoryStore,
        asked: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        right.begin_prepared(&without_terms(asked)).await
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, &without_terms(asked)).await
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.commit_prepared(&without_terms(asked)).await
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        right.rollback_prepared(&without_terms(asked)).await
    }
}

#[test]
fn terms_are_not_compared() {
    assert_killed::<TermsNotCompared>("two_phase::t94_other_terms_are_a_mismatch");
}

/// The decision is stored without its participants.
#[derive(Clone, Default)]
struct ParticipantsNotKept;

impl Patch for ParticipantsNotKept {
    async fn decide(
        &self,
        right: &MemoryStore,
        asked: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        let digest = *asked.participants().digest();
        let nameless = asked
            .clone()
            .entitled(*asked.register(), Participants::from_digest(digest));
        right.decide(&nameless, proposal).await
    }
}

#[test]
fn participants_are_not_kept() {
    assert_killed::<ParticipantsNotKept>("two_phase::t95_register_keeps_the_terms");
    assert_killed::<ParticipantsNotKept>("two_phase::t96_part_does_not_finish");
    assert_killed::<ParticipantsNotKept>("two_phase::t97_third_store_holds_up_nothing");
}

/// Decides about the transactions of every register.
#[derive(Clone, Default)]
struct AnyRegister;

impl Patch for AnyRegister {
    async fn decide(
        &self,
        right: &MemoryStore,
        asked: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        let held = exactly_once::identity_of(right).await?;
        let own = asked.clone().entitled(held, asked.participants().clone());
        right.decide(&own, proposal).await
    }
}

#[test]
fn it_decides_for_every_register() {
    assert_killed::<AnyRegister>("two_phase::t95_register_keeps_the_terms");
}

/// What is in doubt is listed without the register that it names.
#[derive(Clone, Default)]
struct RegisterNotListed;

impl Patch for RegisterNotListed {
    async fn in_doubt(
        &self,
        right: &MemoryStore,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<InDoubtPage> {
        let mut page = right.in_doubt(after, limit).await?;
        for entry in &mut page.entries {
            entry.participation = without_terms(&entry.participation);
        }
        Ok(page)
    }
}

#[test]
fn the_register_is_not_listed() {
    assert_killed::<RegisterNotListed>("two_phase::t98_other_register_left_alone");
}

/// The settlement is returned and not stored.
#[derive(Clone, Default)]
struct SettlementNotKept;

impl Patch for SettlementNotKept {
    async fn settle(
        &self,
        _: &MemoryStore,
        _: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        Ok(settlement.clone())
    }
}

#[test]
fn a_settlement_is_not_kept() {
    assert_killed::<SettlementNotKept>("two_phase::t99_heuristic_until_settled");
}

/// The answer is what was decided, whatever an operator settled.
#[derive(Clone, Default)]
struct SettlementNotAnswered;

impl Patch for SettlementNotAnswered {
    async fn decide(
        &self,
        right: &MemoryStore,
        asked: &Participation,
        proposal: Decision,
    ) -> Result<Decision> {
        match right.decision(asked).await? {
            Some(entry) => Ok(entry.decision),
            None => right.decide(asked, proposal).await,
        }
    }
}

#[test]
fn a_settlement_is_not_the_answer_to_a_late_attempt() {
    assert_killed::<SettlementNotAnswered>("register::lists::r09_forget");
}

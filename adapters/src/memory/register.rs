//! Decisions, written once.

use exactly_once_core::{
    Decision, DecisionRegister, Dispute, Participation, RegisterEntry, RegisterPage, Result,
    Settlement, TransactionDigest,
    adapter::{check_limit, refusals, rules::participants::Note},
};

use super::{
    MemoryStore,
    error::BACKEND,
    state::{Decided, Space},
};

/// What was decided; a name that was used otherwise is a mismatch.
pub(super) fn find<'a>(
    space: &'a mut Space,
    participation: &Participation,
    operation: &'static str,
) -> Result<Option<&'a mut Decided>> {
    match space.decisions.get_mut(participation.transaction()) {
        Some(known) if known.participation != *participation => {
            Err(refusals::another_transaction(operation, BACKEND))
        }
        known => Ok(known),
    }
}

/// Writes what was decided; the caller has looked that nothing stands.
pub(super) fn write(space: &mut Space, participation: &Participation, decision: Decision) {
    let decided = Decided {
        participation: participation.clone(),
        decision,
        finished: false,
        disputes: Vec::new(),
        settled: None,
    };
    space
        .decisions
        .insert(*participation.transaction(), decided);
}

pub(super) fn entry(decided: &Decided) -> RegisterEntry {
    RegisterEntry {
        participation: decided.participation.clone(),
        decision: decided.decision,
        finished: decided.finished,
        disputes: decided.disputes.clone(),
        settled: decided.settled.clone(),
    }
}

impl MemoryStore {
    /// Refuses a transaction of another register.
    pub(super) fn check_register(
        &self,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        let held = self.shared.identity().within(&self.namespace);
        participation.check_register(&held, operation, BACKEND)
    }
}

impl DecisionRegister for MemoryStore {
    async fn decide(&self, participation: &Participation, proposal: Decision) -> Result<Decision> {
        self.check_register(participation, "decide")?;
        let mut state = self.state("decide")?;
        let space = state.space(&self.namespace);
        if let Some(known) = find(space, participation, "decide")? {
            return Ok(entry(known).in_force());
        }
        let decision = self.asked(participation, "decide").decide(proposal)?;
        write(space, participation, decision);
        Ok(decision)
    }

    async fn decision(&self, participation: &Participation) -> Result<Option<RegisterEntry>> {
        self.check_register(participation, "decision")?;
        let mut state = self.state("decision")?;
        let known = find(state.space(&self.namespace), participation, "decision")?;
        Ok(known.map(|known| entry(known)))
    }

    async fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> Result<Option<RegisterEntry>> {
        let mut state = self.state("find_decision")?;
        let decisions = &state.space(&self.namespace).decisions;
        Ok(decisions.get(transaction).map(entry))
    }

    async fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> Result<Option<Settlement>> {
        self.check_register(participation, "dispute")?;
        let mut state = self.state("dispute")?;
        let mut known = find(state.space(&self.namespace), participation, "dispute")?;
        let stands = known.as_deref().map(entry);
        let asked = self.asked(participation, "dispute");
        let (note, settled) = asked.dispute(stands.as_ref(), dispute)?;
        if let (Note::Write, Some(known)) = (note, &mut known) {
            known.disputes.push(dispute.clone());
            known.finished = false;
        }
        Ok(settled)
    }

    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        self.check_register(participation, "settle")?;
        let mut state = self.state("settle")?;
        match find(state.space(&self.namespace), participation, "settle")? {
            Some(known) => {
                known.finished = true;
                let settled = known.settled.get_or_insert_with(|| settlement.clone());
                Ok(settled.clone())
            }
            None => Err(self.asked(participation, "settle").undecided()),
        }
    }

    async fn finish(&self, participation: &Participation, decision: Decision) -> Result<()> {
        self.check_register(participation, "finish")?;
        let mut state = self.state("finish")?;
        let mut known = find(state.space(&self.namespace), participation, "finish")?;
        let stands = known.as_deref().map(entry);
        let note = self
            .asked(participation, "finish")
            .finish(stands.as_ref(), decision)?;
        if let (Note::Write, Some(known)) = (note, &mut known) {
            known.finished = true;
        }
        Ok(())
    }

    async fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        let limit = check_limit(limit, "unfinished", BACKEND)?;
        let mut state = self.state("unfinished")?;
        let mut rest = state
            .space(&self.namespace)
            .decisions
            .iter()
            .filter(|(digest, _)| after.is_none_or(|after| *digest > after))
            .filter(|(_, known)| !known.finished)
            .map(|(_, known)| entry(known));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries: Vec<RegisterEntry> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let last = entries.last().filter(|_| more);
        let next = last.map(|entry| *entry.participation.transaction());
        Ok(RegisterPage { entries, next })
    }

    async fn forget_decisions(&self, limit: u32) -> Result<u64> {
        let limit = check_limit(limit, "forget_decisions", BACKEND)?;
        let mut state = self.state("forget_decisions")?;
        let now = self.shared.clock.now();
        let decisions = &mut state.space(&self.namespace).decisions;
        let over: Vec<_> = decisions
            .iter()
            .filter(|(_, known)| known.finished || known.decision == Decision::Rollback)
            .filter(|(_, known)| known.settled.is_none() && known.disputes.is_empty())
            .filter(|(_, known)| now > known.participation.forget_after())
            .map(|(digest, _)| *digest)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        for digest in &over {
            decisions.remove(digest);
        }
        Ok(over.len() as u64)
    }
}

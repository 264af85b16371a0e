//! One participant of a two-phase commit: the writes are staged, and what they touch is reserved.

use exactly_once_core::{
    BegunPrepared, Decision, InDoubt, InDoubtPage, LastResource, Participation, PreparedStatus,
    PreparedTransactions, Result, TransactionDigest,
    adapter::{
        check_limit, refusals,
        rules::participants::{Asked, Commit, Known, RollBack},
    },
};

use super::{
    MemoryStore,
    error::BACKEND,
    register,
    state::{Participant, Space, Stage, State},
    transaction::{MemoryTx, Purpose},
};

/// What is known of the transaction.
fn known(space: &Space, participation: &Participation) -> Known {
    let stored = space.participants.get(participation.transaction());
    let stored = stored.map(|stored| (&stored.participation, stored.stage.known()));
    Known::of(stored, participation)
}

fn set_stage(space: &mut Space, participation: &Participation, stage: Stage) {
    if matches!(stage, Stage::Prepared { .. }) {
        space.in_doubt.insert(*participation.transaction());
    } else {
        space.in_doubt.remove(participation.transaction());
    }
    let record = Participant {
        participation: participation.clone(),
        stage,
    };
    space
        .participants
        .insert(*participation.transaction(), record);
}

impl MemoryStore {
    pub(super) fn asked<'a>(
        &self,
        participation: &'a Participation,
        operation: &'static str,
    ) -> Asked<'a> {
        Asked {
            participation,
            now: self.shared.clock.now(),
            operation,
            store: BACKEND,
        }
    }

    /// Commits the work of an open participant.
    fn commit_open(
        &self,
        state: &mut State,
        tx: &mut MemoryTx,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        tx.check_home(self, operation)?;
        if !matches!(&tx.purpose, Purpose::Participant(own) if own == participation) {
            return Err(refusals::foreign(operation, BACKEND));
        }
        let known = known(state.space(&self.namespace), participation);
        self.asked(participation, operation).prepare(known)?;
        tx.check(state, operation)?;
        let writes = std::mem::take(&mut tx.writes);
        set_stage(
            state.space(&self.namespace),
            participation,
            Stage::Committed,
        );
        writes.apply(state, &self.namespace);
        Ok(())
    }
}

impl LastResource for MemoryStore {
    async fn commit_deciding(
        &self,
        mut tx: MemoryTx,
        participation: &Participation,
    ) -> Result<Decision> {
        const OPERATION: &str = "commit_deciding";
        self.check_register(participation, OPERATION)?;
        let mut state = self.state(OPERATION)?;
        match register::find(state.space(&self.namespace), participation, OPERATION)? {
            Some(known) if register::entry(known).in_force() == Decision::Rollback => {
                return Ok(Decision::Rollback);
            }
            // It holds no marker of ours, so the next attempt finds out what it did.
            Some(_) => return Err(refusals::overtaken(OPERATION, BACKEND)),
            None => {}
        }
        self.commit_open(&mut state, &mut tx, participation, OPERATION)?;
        let space = state.space(&self.namespace);
        register::write(space, participation, Decision::Commit);
        Ok(Decision::Commit)
    }
}

impl PreparedTransactions for MemoryStore {
    async fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> Result<BegunPrepared<MemoryTx>> {
        const OPERATION: &str = "begin_prepared";
        let mut state = self.state(OPERATION)?;
        let space = state.space(&self.namespace);
        let known = known(space, participation);
        if let Some(answer) = self.asked(participation, OPERATION).begin(known)?.known() {
            return Ok(answer);
        }
        // Marker and deadline are one step here: no call can come between under the lock.
        set_stage(space, participation, Stage::Working);
        let purpose = Purpose::Participant(participation.clone());
        Ok(BegunPrepared::Fresh(MemoryTx::open(
            self, &mut state, purpose,
        )))
    }

    async fn prepare(&self, mut tx: MemoryTx, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "prepare";
        tx.check_home(self, OPERATION)?;
        if !matches!(&tx.purpose, Purpose::Participant(own) if own == participation) {
            return Err(refusals::foreign(OPERATION, BACKEND));
        }
        let mut state = self.state(OPERATION)?;
        let asked = self.asked(participation, OPERATION);
        asked.prepare(known(state.space(&self.namespace), participation))?;
        tx.check(&state, OPERATION)?;
        let staged = std::mem::take(&mut tx.writes);
        let space = state.space(&self.namespace);
        let at = asked.now;
        set_stage(space, participation, Stage::Prepared { at, staged });
        Ok(())
    }

    async fn commit_alone(&self, mut tx: MemoryTx, participation: &Participation) -> Result<()> {
        let mut state = self.state("commit_alone")?;
        self.commit_open(&mut state, &mut tx, participation, "commit_alone")
    }

    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "commit_prepared";
        let mut state = self.state(OPERATION)?;
        let space = state.space(&self.namespace);
        let known = known(space, participation);
        match self.asked(participation, OPERATION).commit(known)? {
            Commit::Done => return Ok(()),
            Commit::Apply => {}
        }
        let before = space.participants.remove(participation.transaction());
        set_stage(space, participation, Stage::Committed);
        if let Some(Participant {
            stage: Stage::Prepared { staged, .. },
            ..
        }) = before
        {
            staged.apply(&mut state, &self.namespace);
        }
        Ok(())
    }

    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        const OPERATION: &str = "rollback_prepared";
        let mut state = self.state(OPERATION)?;
        let space = state.space(&self.namespace);
        let known = known(space, participation);
        match self.asked(participation, OPERATION).roll_back(known)? {
            RollBack::Done => return Ok(()),
            RollBack::Undo | RollBack::Bury => {}
        }
        set_stage(space, participation, Stage::RolledBack);
        Ok(())
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        const OPERATION: &str = "prepared_status";
        let mut state = self.state(OPERATION)?;
        let known = known(state.space(&self.namespace), participation);
        self.asked(participation, OPERATION).status(known)
    }

    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        let limit = check_limit(limit, "in_doubt", BACKEND)?;
        let mut state = self.state("in_doubt")?;
        let now = self.shared.clock.now();
        let mut rest = state
            .space(&self.namespace)
            .participants
            .iter()
            .filter(|(digest, _)| after.is_none_or(|after| *digest > after))
            .filter_map(|(_, known)| match known.stage {
                Stage::Prepared { at, .. } => Some(InDoubt {
                    participation: known.participation.clone(),
                    prepared_at: at,
                    age: now.since(at),
                }),
                _ => None,
            });
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let entries: Vec<InDoubt> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let last = entries.last().filter(|_| more);
        let next = last.map(|entry| *entry.participation.transaction());
        Ok(InDoubtPage { entries, next })
    }

    async fn forget_prepared(&self, limit: u32) -> Result<u64> {
        let limit = check_limit(limit, "forget_prepared", BACKEND)?;
        let mut state = self.state("forget_prepared")?;
        let now = self.shared.clock.now();
        let participants = &mut state.space(&self.namespace).participants;
        let over: Vec<_> = participants
            .iter()
            .filter(|(_, known)| matches!(known.stage, Stage::Committed | Stage::RolledBack))
            .filter(|(_, known)| now > known.participation.forget_after())
            .map(|(digest, _)| *digest)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        for digest in &over {
            participants.remove(digest);
        }
        Ok(over.len() as u64)
    }
}

//! One participant of a two-phase commit: the writes are staged, and what they touch is reserved.

use exactly_once_core::{
    BegunPrepared, Decision, Error, ErrorKind, InDoubt, InDoubtPage, LastResource, Participation,
    PreparedStatus, PreparedTransactions, Result, Timestamp, TransactionDigest,
    register::check_limit,
};

use super::{
    MemoryStore,
    error::{BACKEND, error, foreign},
    register,
    state::{Participant, Space, Stage, State},
    transaction::{MemoryTx, Purpose},
};

fn rolled_back(operation: &'static str) -> Error {
    error(
        ErrorKind::RolledBack,
        operation,
        "the transaction was rolled back, or its deadline has passed",
    )
}

fn forgotten(operation: &'static str) -> Error {
    error(
        ErrorKind::Forgotten,
        operation,
        "the record's time is over, and nothing is kept",
    )
}

/// What is known of the transaction; a name that was used otherwise is a mismatch.
fn find<'a>(
    space: &'a Space,
    participation: &Participation,
    operation: &'static str,
) -> Result<Option<&'a Participant>> {
    match space.participants.get(participation.transaction()) {
        Some(known) if known.participation != *participation => Err(error(
            ErrorKind::Mismatch,
            operation,
            "this transaction's name was used for another request or with other deadlines",
        )),
        known => Ok(known),
    }
}

/// Whether absent means forgotten.
fn is_over(participation: &Participation, now: Timestamp) -> bool {
    now > participation.forget_after()
}

/// Whether it is too late to prepare.
fn is_late(participation: &Participation, now: Timestamp) -> bool {
    now > participation.not_after()
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
            return Err(foreign(operation));
        }
        if is_late(participation, self.shared.clock.now()) {
            return Err(rolled_back(operation));
        }
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
            Some(known) if known.decision == Decision::Rollback => return Ok(Decision::Rollback),
            // It holds no marker of ours, so the next attempt finds out what it did.
            Some(_) => {
                let message = "another attempt has decided to commit: begin again";
                return Err(error(ErrorKind::Busy, OPERATION, message));
            }
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
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        match find(space, participation, OPERATION)?.map(|known| &known.stage) {
            Some(Stage::Working) => {
                return Err(error(
                    ErrorKind::Busy,
                    OPERATION,
                    "another attempt is at it",
                ));
            }
            Some(Stage::Prepared { .. }) => return Ok(BegunPrepared::AlreadyPrepared),
            Some(Stage::Committed) => return Ok(BegunPrepared::AlreadyCommitted),
            Some(Stage::RolledBack) => return Err(rolled_back(OPERATION)),
            None if is_over(participation, now) => return Err(forgotten(OPERATION)),
            None if is_late(participation, now) => return Err(rolled_back(OPERATION)),
            None => {}
        }
        // Marker and deadline are one step here: nobody can come between under the lock.
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
            return Err(foreign(OPERATION));
        }
        let mut state = self.state(OPERATION)?;
        let at = self.shared.clock.now();
        if is_late(participation, at) {
            return Err(rolled_back(OPERATION));
        }
        tx.check(&state, OPERATION)?;
        let staged = std::mem::take(&mut tx.writes);
        let space = state.space(&self.namespace);
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
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        match find(space, participation, OPERATION)?.map(|known| &known.stage) {
            Some(Stage::Committed) => return Ok(()),
            Some(Stage::RolledBack) => return Err(rolled_back(OPERATION)),
            None if is_over(participation, now) => return Err(forgotten(OPERATION)),
            None | Some(Stage::Working) => {
                return Err(error(
                    ErrorKind::NotPrepared,
                    OPERATION,
                    "nothing is prepared",
                ));
            }
            Some(Stage::Prepared { .. }) => {}
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
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        match find(space, participation, OPERATION)?.map(|known| &known.stage) {
            Some(Stage::RolledBack) => return Ok(()),
            Some(Stage::Committed) => {
                let message = "it was committed, and can't be rolled back any more";
                return Err(error(ErrorKind::Committed, OPERATION, message));
            }
            Some(Stage::Working) => {
                let message = "an attempt is at it and holds the marker";
                return Err(error(ErrorKind::Busy, OPERATION, message));
            }
            None if is_over(participation, now) => return Err(forgotten(OPERATION)),
            None | Some(Stage::Prepared { .. }) => {}
        }
        set_stage(space, participation, Stage::RolledBack);
        Ok(())
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        const OPERATION: &str = "prepared_status";
        let mut state = self.state(OPERATION)?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        Ok(
            match find(space, participation, OPERATION)?.map(|known| &known.stage) {
                Some(Stage::Prepared { .. }) => PreparedStatus::Prepared,
                Some(Stage::Committed) => PreparedStatus::Committed,
                Some(Stage::RolledBack) => PreparedStatus::RolledBack,
                None if is_over(participation, now) => PreparedStatus::Forgotten,
                None | Some(Stage::Working) => PreparedStatus::None,
            },
        )
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
            .filter(|(_, known)| is_over(&known.participation, now))
            .map(|(digest, _)| *digest)
            .take(usize::try_from(limit).unwrap_or(usize::MAX))
            .collect();
        for digest in &over {
            participants.remove(digest);
        }
        Ok(over.len() as u64)
    }
}

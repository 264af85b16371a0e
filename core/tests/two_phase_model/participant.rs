//! A participant and the register, as a database does it: one statement, one step.

use exactly_once_core::Decision;

use crate::mistakes::Mistake;

/// Before the deadline, past it, past the time when records may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Clock {
    InTime,
    PastDeadline,
    PastForget,
}

/// The committed outcome row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Row {
    None,
    Committed,
    RolledBack,
}

/// One participant's database, as far as this transaction goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) row: Row,
    /// Which attempt's open transaction holds the uncommitted marker.
    pub(crate) open: Option<u8>,
    /// Whether the open transaction began past the deadline.
    pub(crate) late: bool,
    pub(crate) prepared: bool,
    /// How often the work became visible.
    pub(crate) effects: u8,
    /// Whether a prepared transaction was rolled back, or a tombstone written.
    pub(crate) undone: bool,
}

/// An answer of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, or was done before.
    Done,
    /// Somebody holds the marker: again.
    Busy,
    /// Nothing is known of it.
    Unknown,
    /// Its time is over.
    Forgotten,
    /// The opposite was done.
    Opposite,
}

impl Part {
    pub(crate) fn new() -> Self {
        Self {
            row: Row::None,
            open: None,
            late: false,
            prepared: false,
            effects: 0,
            undone: false,
        }
    }

    /// `COMMIT PREPARED`, and the outcome row where there is nothing to commit.
    pub(crate) fn commit(&mut self, clock: Clock, broken: Option<Mistake>) -> Answer {
        if self.prepared {
            self.prepared = false;
            self.effects += 1;
            if broken != Some(Mistake::NoMarker) {
                self.row = Row::Committed;
            }
            return Answer::Done;
        }
        match self.row {
            Row::Committed => Answer::Done,
            Row::RolledBack => Answer::Opposite,
            Row::None if broken == Some(Mistake::UnknownOnCommitIsOk) => Answer::Done,
            Row::None if clock == Clock::PastForget => Answer::Forgotten,
            Row::None => Answer::Unknown,
        }
    }

    /// The commit of the open transaction, with its marker.
    pub(crate) fn commit_open(&mut self) {
        self.open = None;
        self.effects += 1;
        self.row = Row::Committed;
    }

    /// `ROLLBACK PREPARED`.
    pub(crate) fn rollback(&mut self) {
        if self.prepared {
            self.prepared = false;
            self.undone = true;
        }
    }

    /// The tombstone: it can't be written while anybody holds the marker.
    pub(crate) fn tombstone(&mut self, clock: Clock, broken: Option<Mistake>) -> Answer {
        if self.open.is_some() || self.prepared {
            return Answer::Busy;
        }
        match self.row {
            Row::Committed => Answer::Opposite,
            Row::RolledBack => Answer::Done,
            Row::None
                if clock == Clock::PastForget && broken != Some(Mistake::SweeperDoesNotRecheck) =>
            {
                Answer::Forgotten
            }
            Row::None => {
                self.row = Row::RolledBack;
                self.undone = true;
                Answer::Done
            }
        }
    }
}

/// The decision register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    pub(crate) value: Option<Decision>,
    pub(crate) finished: bool,
}

impl Register {
    /// Insert, on conflict do nothing; read back. `None` is *forgotten*.
    pub(crate) fn decide(
        &mut self,
        proposal: Decision,
        clock: Clock,
        broken: Option<Mistake>,
    ) -> Option<Decision> {
        if broken == Some(Mistake::RegisterLastWriterWins) {
            self.value = None;
        }
        if let Some(stands) = self.value {
            return Some(stands);
        }
        let late_commit = broken == Some(Mistake::RegisterTakesLateCommit);
        let value = match (proposal, clock) {
            (Decision::Commit, _) if late_commit => Decision::Commit,
            (_, Clock::PastForget) => return None,
            (Decision::Commit, Clock::PastDeadline) => Decision::Rollback,
            (proposal, _) => proposal,
        };
        self.value = Some(value);
        Some(value)
    }
}

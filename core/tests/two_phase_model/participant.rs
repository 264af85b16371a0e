//! A participant and the register, as a database does it: one statement, one step.

use exactly_once_core::{Decision, ErrorKind, PreparedStatus};

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
    /// The terms of what stands here.
    pub(crate) terms: usize,
}

/// An answer of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, or was done before.
    Done,
    /// Another holds the marker: again.
    Busy,
    /// Nothing is known of it.
    Unknown,
    /// Its time has passed.
    Forgotten,
    /// The opposite was done.
    Opposite,
    /// The name stands there with other terms.
    Mismatch,
}

impl Answer {
    /// The error of a real store.
    pub(crate) fn kind(self, proposal: Decision) -> Option<ErrorKind> {
        Some(match (self, proposal) {
            (Self::Done, _) => return None,
            (Self::Busy, _) => ErrorKind::Busy,
            (Self::Unknown, _) => ErrorKind::NotPrepared,
            (Self::Forgotten, _) => ErrorKind::Forgotten,
            (Self::Opposite, Decision::Commit) => ErrorKind::RolledBack,
            (Self::Opposite, Decision::Rollback) => ErrorKind::Committed,
            (Self::Mismatch, _) => ErrorKind::Mismatch,
        })
    }
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
            terms: 0,
        }
    }

    /// Whether the transaction's name stands here.
    pub(crate) fn knows_it(&self) -> bool {
        self.prepared || self.row != Row::None || self.open.is_some()
    }

    /// What its status says, with the terms that stand.
    pub(crate) fn status(&self, clock: Clock) -> PreparedStatus {
        match (self.prepared, self.row) {
            (true, _) => PreparedStatus::Prepared,
            (false, Row::Committed) => PreparedStatus::Committed,
            (false, Row::RolledBack) => PreparedStatus::RolledBack,
            (false, Row::None) if clock == Clock::PastForget => PreparedStatus::Forgotten,
            (false, Row::None) => PreparedStatus::None,
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

/// A decision register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    pub(crate) value: Option<Decision>,
    pub(crate) finished: bool,
    /// Whether it has the note that a participant did not obey.
    pub(crate) disputed: bool,
    /// The terms of the decision.
    pub(crate) terms: usize,
    /// Whether the decision names its participants, and not only their digest.
    pub(crate) named: bool,
}

/// An answer of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruled {
    Stands(Decision),
    Forgotten,
    /// The name stands there with other terms.
    Mismatch,
    /// The transaction names another register.
    NotMine,
}

impl Register {
    pub(crate) fn new() -> Self {
        Self {
            value: None,
            finished: false,
            disputed: false,
            terms: 0,
            named: false,
        }
    }

    /// Insert, on conflict do nothing; read back.
    pub(crate) fn decide(
        &mut self,
        proposal: Decision,
        (terms, named): (usize, bool),
        clock: Clock,
        broken: Option<Mistake>,
    ) -> Ruled {
        if broken == Some(Mistake::RegisterLastWriterWins) {
            self.value = None;
        }
        if let Some(stands) = self.value {
            return Ruled::Stands(stands);
        }
        let late_commit = broken == Some(Mistake::RegisterTakesLateCommit);
        let value = match (proposal, clock) {
            (Decision::Commit, _) if late_commit => Decision::Commit,
            (_, Clock::PastForget) => return Ruled::Forgotten,
            (Decision::Commit, Clock::PastDeadline) => Decision::Rollback,
            (proposal, _) => proposal,
        };
        self.value = Some(value);
        self.terms = terms;
        self.named = named;
        Ruled::Stands(value)
    }
}

//! What a sweeper finds at participants.

use super::{Ruling, SweepAction};
use crate::{error::ErrorKind, prepared::PreparedStatus, register::Decision};

/// What a participant answered to a sweeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// Prepared, and waiting.
    InDoubt,
    /// It ended there as was decided.
    Ended,
    /// It ended there otherwise than was decided: a heuristic outcome.
    Opposite,
    /// Nothing is known of it there, or no longer.
    Nothing,
    /// It can't be asked now.
    Away,
}

impl Found {
    /// What a participant's status means under this ruling.
    #[must_use]
    pub fn of(status: PreparedStatus, ruling: Ruling) -> Self {
        let committing = ruling == Ruling::Decided(Decision::Commit);
        match status {
            PreparedStatus::Prepared => Self::InDoubt,
            PreparedStatus::None => Self::Nothing,
            // It may have ended otherwise: that is for an operator to say.
            PreparedStatus::Forgotten if committing => Self::Nothing,
            PreparedStatus::RolledBack if committing => Self::Opposite,
            PreparedStatus::Committed | PreparedStatus::RolledBack | PreparedStatus::Forgotten => {
                Self::Ended
            }
        }
    }

    /// What an error of a participant means that was to commit or to roll back; `None` where it says
    /// nothing about how the transaction ended there.
    #[must_use]
    pub fn refused(action: SweepAction, error: ErrorKind, ruling: Ruling) -> Option<Self> {
        let committing = ruling == Ruling::Decided(Decision::Commit);
        match (action, error) {
            // Its record was removed in its time, which confirms nothing.
            (SweepAction::Commit(_), ErrorKind::Forgotten) if committing => Some(Self::Nothing),
            // Nothing is left to end.
            (SweepAction::Commit(_) | SweepAction::Rollback(_), ErrorKind::Forgotten) => {
                Some(Self::Ended)
            }
            (SweepAction::Commit(_), ErrorKind::RolledBack) if committing => Some(Self::Opposite),
            // The name stands there with other terms, so these were never prepared.
            (SweepAction::Rollback(_), ErrorKind::Mismatch) => Some(Self::Ended),
            (SweepAction::Rollback(_), ErrorKind::Committed) => Some(Self::Opposite),
            _ => None,
        }
    }
}

/// The participants that a decision names, as a sweeper knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Named {
    /// For each participant of the sweeper, whether it took part.
    pub took_part: Vec<bool>,
    /// How many took part that the sweeper does not know.
    pub unknown: usize,
}

impl Named {
    /// The members that a decision names, beside the identities that the sweeper's participants
    /// report; `None` for one that can't be asked.
    #[must_use]
    pub fn of<I: PartialEq>(members: &[I], participants: &[Option<I>]) -> Self {
        let is_known = |member: &&I| participants.iter().flatten().any(|known| known == *member);
        Self {
            took_part: (participants.iter())
                .map(|known| known.as_ref().is_some_and(|known| members.contains(known)))
                .collect(),
            unknown: members.len() - members.iter().filter(is_known).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_went_confirms_no_commit() {
        let commit = Ruling::Decided(Decision::Commit);
        let told = |action, ruling| Found::refused(action, ErrorKind::Forgotten, ruling);
        assert_eq!(told(SweepAction::Commit(0), commit), Some(Found::Nothing));
        assert_eq!(Found::of(PreparedStatus::Forgotten, commit), Found::Nothing);
        let rollback = Ruling::Decided(Decision::Rollback);
        assert_eq!(told(SweepAction::Rollback(0), rollback), Some(Found::Ended));
        assert_eq!(Found::of(PreparedStatus::Forgotten, rollback), Found::Ended);
    }
}

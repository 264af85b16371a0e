//! What becomes of the note that every participant has confirmed a decision.

use crate::{error::ErrorKind, register::Decision};

/// What the register answered to the note of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noted {
    /// That decision stands there, and is finished.
    Finished,
    /// It can't be finished: another decision stands, since the register was restored, or a participant
    /// disputes it.
    Otherwise,
    /// No decision stands: the register was restored, and has lost it.
    Nothing,
}

impl Noted {
    /// What a refusal of the register means; `None` where it says nothing about its decision.
    #[must_use]
    pub fn refused(error: ErrorKind) -> Option<Self> {
        match error {
            ErrorKind::Heuristic => Some(Self::Otherwise),
            ErrorKind::NotPrepared => Some(Self::Nothing),
            _ => None,
        }
    }

    /// With which error a caller stops that has carried out this decision; `None` where all is well.
    #[must_use]
    pub fn stops(self, decision: Decision) -> Option<ErrorKind> {
        match (self, decision) {
            (Self::Finished, _) => None,
            (Self::Otherwise, _) => Some(ErrorKind::Heuristic),
            (Self::Nothing, Decision::Commit) => Some(ErrorKind::Lost),
            // Every participant has a tombstone, so nothing else can be decided: again.
            (Self::Nothing, Decision::Rollback) => Some(ErrorKind::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_decision_that_stands_is_reported() {
        for decision in [Decision::Commit, Decision::Rollback] {
            assert_eq!(Noted::Finished.stops(decision), None);
            let otherwise = Noted::refused(ErrorKind::Heuristic).unwrap();
            assert_eq!(otherwise.stops(decision), Some(ErrorKind::Heuristic));
        }
        let nothing = Noted::refused(ErrorKind::NotPrepared).unwrap();
        assert_eq!(nothing.stops(Decision::Commit), Some(ErrorKind::Lost));
        assert_eq!(nothing.stops(Decision::Rollback), Some(ErrorKind::Busy));
        assert_eq!(Noted::refused(ErrorKind::Unavailable), None);
    }
}

//! What came of the participants that did not consent.

use super::{
    machine::{Attempt, Vote},
    participant::OPERATION,
};
use crate::error::{Advice, Error, ErrorKind, Result};

/// What came of the participants that did not vote yes.
#[derive(Default)]
pub(super) struct Votes {
    /// Must stop the caller without deciding anything: the transaction is another's, say.
    undecided: Option<Error>,
    no: bool,
    /// The first refusal with a reason of its own.
    refused: Option<(String, Error)>,
    /// May go away: for the next attempt.
    retry: Option<Error>,
}

impl Votes {
    /// A refusal for good is a *no*.
    pub(super) fn failed(
        &mut self,
        attempt: &mut Attempt,
        names: &[String],
        index: usize,
        error: Error,
    ) {
        let undecided = matches!(
            error.kind(),
            ErrorKind::Mismatch | ErrorKind::Forgotten | ErrorKind::Unsupported
        );
        match error.kind().advice() {
            Advice::Stop { .. } if !undecided => {
                attempt.voted(index, Vote::No);
                self.no = true;
                // "Rolled back" is what the deadline, a sweeper or an earlier attempt has decided,
                // and no reason.
                if error.kind() != ErrorKind::RolledBack && self.refused.is_none() {
                    let name = names.get(index).cloned().unwrap_or_default();
                    self.refused = Some((name, error));
                }
            }
            Advice::Stop { .. } => self.undecided = self.undecided.take().or(Some(error)),
            _ => self.retry = self.retry.take().or(Some(error)),
        }
    }

    pub(super) fn all_yes(&self) -> bool {
        !self.no && self.undecided.is_none() && self.retry.is_none()
    }

    /// One *no* is enough, also where another participant can't say: it will be rolled back too.
    pub(super) fn into_refusal(self) -> Result<Option<(String, Error)>> {
        match (self.undecided, self.no, self.retry) {
            (Some(error), ..) | (None, false, Some(error)) => Err(error),
            (None, ..) => Ok(self.refused),
        }
    }
}

/// A participant that voted yes and does not do as was decided.
pub(super) fn alarm(kind: ErrorKind, name: &str, what: &str, source: Error) -> Error {
    let store = source.store();
    tracing::error!(
        participant = name,
        kind = kind.as_str(),
        "two-phase commit: {what}"
    );
    Error::new(kind, OPERATION, store)
        .with_message(format!("the participant {name:?} {what}"))
        .with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        register::Decision,
        two_phase::machine::{Action, Role},
    };

    fn votes(kinds: &[ErrorKind]) -> (Attempt, Result<Option<(String, Error)>>) {
        let mut attempt = Attempt::new(vec![Role::Prepared; kinds.len()]);
        let names: Vec<_> = (0..kinds.len()).map(|index| index.to_string()).collect();
        let mut votes = Votes::default();
        for (index, kind) in kinds.iter().enumerate() {
            let error = Error::new(*kind, OPERATION, "test");
            votes.failed(&mut attempt, &names, index, error);
        }
        (attempt, votes.into_refusal())
    }

    fn kind(answer: Result<Option<(String, Error)>>) -> Result<Option<ErrorKind>, ErrorKind> {
        answer
            .map(|refused| refused.map(|(_, error)| error.kind()))
            .map_err(|error| error.kind())
    }

    #[test]
    fn one_no_is_enough_beside_a_participant_that_cant_say() {
        let refused = ErrorKind::Rejected { status: 422 };
        let (attempt, answer) = votes(&[ErrorKind::Reserved, refused]);
        assert_eq!(kind(answer), Ok(Some(refused)));
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Rollback)]);
    }

    #[test]
    fn what_may_go_away_is_for_the_next_attempt() {
        let (attempt, answer) = votes(&[ErrorKind::Reserved, ErrorKind::Ambiguous]);
        assert_eq!(kind(answer), Err(ErrorKind::Reserved));
        assert_eq!(attempt.actions().len(), 2);
    }

    #[test]
    fn somebody_elses_transaction_is_never_decided() {
        let (_, answer) = votes(&[ErrorKind::Rejected { status: 422 }, ErrorKind::Mismatch]);
        assert_eq!(kind(answer), Err(ErrorKind::Mismatch));
    }

    #[test]
    fn a_rollback_by_the_deadline_is_no_reason() {
        let (attempt, answer) = votes(&[ErrorKind::RolledBack]);
        assert_eq!(kind(answer), Ok(None));
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Rollback)]);
    }
}

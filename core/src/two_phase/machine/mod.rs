//! The coordinator's side of the protocol, as a pure state machine.
//!
//! It knows no store, no clock and no future: it takes what happened and returns what may be done
//! next. `run` drives it against real stores, and the model test drives the very same code
//! through every interleaving of attempts, zombies, crashes and a sweeper.
//!
//! # The short ways
//! - **One participant that writes** ([`Role::Alone`]) commits in one phase and needs no register:
//!   its outcome row, inserted with the work, is the decision. Nothing is ever prepared, so no
//!   sweeper can come between. To *prepare* it and leave only the register out would not be safe: a
//!   sweeper, which can't know how many there are, would propose rollback while its coordinator
//!   commits (the model has the trace).
//! - **A participant that only reads** ([`Role::Reader`]) is asked before the decision, is always
//!   undone, and is left out of the rest. It must be said beforehand, the same in every attempt: one
//!   that happens to change nothing in this attempt may have been prepared by another one, and
//!   would stay in doubt when it is left out (the model has that trace too).
//! - **The one that holds the register** ([`Role::Last`]) commits in one phase, together with the
//!   decision and after all others have prepared.

mod apart;
mod found;
mod noted;
mod sweep;

pub use apart::one_identity_at_two_places;
pub use found::{Found, Named};
pub use noted::Noted;
pub use sweep::{Ruling, Sweep, SweepAction};

use crate::{error::ErrorKind, register::Decision};

/// How a participant takes part; the same in every attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Prepares, and receives the decision.
    Prepared,
    /// Only reads: it may refuse, and there is nothing to tell it.
    Reader,
    /// The only one that writes.
    Alone,
    /// Holds the register: its commit is the decision.
    Last,
}

/// What may be done next. All actions that are offered at once may run in parallel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Begin at this participant, do its work, and prepare, if that is its role.
    Prepare(usize),
    /// Propose this decision to the register.
    Decide(Decision),
    /// Commit this participant's open transaction: no other one writes.
    CommitAlone(usize),
    /// Commit this participant's open transaction together with the decision *commit*.
    CommitDeciding(usize),
    /// Commit this participant.
    Commit(usize),
    /// Roll this participant back.
    Rollback(usize),
    /// Note in the register that this participant ended otherwise than was decided.
    Dispute(usize),
    /// Note in the register that every participant has confirmed this decision.
    Finish(Decision),
    /// End the attempt without an outcome, with an error of this kind.
    Stop(ErrorKind),
    /// Answer the caller with this decision; the attempt ends.
    Report(Decision),
}

/// How a participant voted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vote {
    /// Prepared (now, or by an earlier attempt), committed by an earlier one, or a reader's consent.
    Yes,
    /// Of one that commits in one phase: its work is done, and its transaction is open.
    Open,
    /// Of the only one that writes: an earlier attempt has committed it.
    Committed,
    /// Refused, for good.
    No,
}

/// What a participant has made of the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Told {
    /// The decision is not sent to it yet, or it has not answered.
    Open,
    /// It has done as the decision says.
    Obeyed,
    /// It ended otherwise.
    Opposed,
    /// It ended otherwise, and the register has that note.
    Disputed,
}

/// One attempt of a coordinator at one transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    roles: Vec<Role>,
    votes: Vec<Option<Vote>>,
    decision: Option<Decision>,
    told: Vec<Told>,
    noted: Option<Noted>,
}

impl Attempt {
    /// An attempt at a transaction of participants with these roles.
    #[must_use]
    pub fn new(roles: Vec<Role>) -> Self {
        Self {
            votes: vec![None; roles.len()],
            decision: None,
            told: Vec::from_iter(roles.iter().map(|role| match role {
                Role::Reader => Told::Obeyed,
                _ => Told::Open,
            })),
            noted: None,
            roles,
        }
    }

    /// What may be done next.
    #[must_use]
    pub fn actions(&self) -> Vec<Action> {
        let Some(decision) = self.decision else {
            return self.before_decision();
        };
        let all =
            |told| Vec::from_iter((0..self.told.len()).filter(move |i| self.told[*i] == told));
        let open = all(Told::Open).into_iter().map(|index| match decision {
            Decision::Commit => Action::Commit(index),
            Decision::Rollback => Action::Rollback(index),
        });
        let opposed = all(Told::Opposed).into_iter().map(Action::Dispute);
        // A participant that is away keeps no other's note from being written.
        let next = Vec::from_iter(opposed.chain(open));
        if !next.is_empty() {
            return next;
        }
        if self.told.contains(&Told::Disputed) {
            return vec![Action::Stop(ErrorKind::Heuristic)];
        }
        vec![match self.noted {
            None => Action::Finish(decision),
            Some(noted) => match noted.stops(decision) {
                None => Action::Report(decision),
                Some(kind) => Action::Stop(kind),
            },
        }]
    }

    /// Presumed abort: one *no* is enough for rollback, and only all *yes* allow commit.
    fn before_decision(&self) -> Vec<Action> {
        if self.votes.contains(&Some(Vote::No)) {
            return vec![match self.alone() {
                // Its tombstone is the decision, as its outcome row would be.
                Some(alone) => Action::Rollback(alone),
                None => Action::Decide(Decision::Rollback),
            }];
        }
        let missing: Vec<_> = (0..self.votes.len())
            .filter(|i| self.votes[*i].is_none())
            .map(Action::Prepare)
            .collect();
        if !missing.is_empty() {
            return missing;
        }
        let open = self.votes.iter().position(|v| *v == Some(Vote::Open));
        vec![match open {
            Some(open) if self.roles[open] == Role::Alone => Action::CommitAlone(open),
            Some(open) => Action::CommitDeciding(open),
            None => Action::Decide(Decision::Commit),
        }]
    }

    /// The only one that writes, unless it is prepared already: then the register decides.
    fn alone(&self) -> Option<usize> {
        let prepared = |i: &usize| self.votes[*i] == Some(Vote::Yes);
        let alone = self.roles.iter().position(|role| *role == Role::Alone);
        alone.filter(|alone| !prepared(alone))
    }

    /// What was decided.
    #[must_use]
    pub fn decision(&self) -> Option<Decision> {
        self.decision
    }

    /// Whether something was decided.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.decision.is_some()
    }

    /// Whether this participant is the only one that writes.
    #[must_use]
    pub fn is_alone(&self, participant: usize) -> bool {
        self.roles.get(participant) == Some(&Role::Alone)
    }

    /// A participant voted.
    pub fn voted(&mut self, participant: usize, vote: Vote) {
        let Some(slot) = self.votes.get_mut(participant) else {
            return;
        };
        *slot = Some(vote);
        if vote == Vote::Committed {
            self.ended_alone(participant, Decision::Commit);
        }
    }

    /// The only one that writes has ended like this, by whatever call. Nothing else decides.
    pub fn ended_alone(&mut self, participant: usize, decision: Decision) {
        self.decision = Some(decision);
        self.told(participant);
        self.noted = Some(Noted::Finished);
    }

    /// The register answered; what it says stands, whatever was proposed.
    pub fn decided(&mut self, decision: Decision) {
        self.decision = Some(decision);
    }

    /// A participant has done as the decision says.
    pub fn told(&mut self, participant: usize) {
        self.set(participant, Told::Obeyed);
    }

    /// A participant ended otherwise than the decision says.
    pub fn opposed(&mut self, participant: usize) {
        self.set(participant, Told::Opposed);
    }

    /// The register has the note that this participant ended otherwise.
    pub fn disputed(&mut self, participant: usize) {
        self.set(participant, Told::Disputed);
    }

    fn set(&mut self, participant: usize, told: Told) {
        if let Some(slot) = self.told.get_mut(participant) {
            *slot = told;
        }
    }

    /// What the register answered to the note of the end.
    pub fn noted(&mut self, noted: Noted) {
        self.noted = Some(noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commit_needs_every_yes_and_one_no_is_enough() {
        let mut attempt = Attempt::new(vec![Role::Prepared; 2]);
        assert_eq!(attempt.actions(), [Action::Prepare(0), Action::Prepare(1)]);
        attempt.voted(0, Vote::Yes);
        assert_eq!(attempt.actions(), [Action::Prepare(1)]);
        let mut refused = attempt.clone();
        refused.voted(1, Vote::No);
        assert_eq!(refused.actions(), [Action::Decide(Decision::Rollback)]);
        attempt.voted(1, Vote::Yes);
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Commit)]);
    }

    #[test]
    fn the_register_has_the_last_word() {
        let mut attempt = Attempt::new(vec![Role::Prepared; 2]);
        attempt.voted(0, Vote::Yes);
        attempt.voted(1, Vote::Yes);
        attempt.decided(Decision::Rollback);
        assert_eq!(
            attempt.actions(),
            [Action::Rollback(0), Action::Rollback(1)]
        );
        attempt.told(0);
        attempt.told(1);
        assert_eq!(attempt.actions(), [Action::Finish(Decision::Rollback)]);
        attempt.noted(Noted::Finished);
        assert_eq!(attempt.actions(), [Action::Report(Decision::Rollback)]);
    }

    #[test]
    fn a_participant_that_does_not_obey_is_noted_before_the_alarm() {
        let mut attempt = Attempt::new(vec![Role::Prepared; 2]);
        attempt.decided(Decision::Commit);
        attempt.opposed(1);
        assert_eq!(attempt.actions(), [Action::Dispute(1), Action::Commit(0)]);
        attempt.disputed(1);
        assert_eq!(attempt.actions(), [Action::Commit(0)]);
        attempt.told(0);
        assert_eq!(attempt.actions(), [Action::Stop(ErrorKind::Heuristic)]);
    }

    #[test]
    fn no_outcome_is_reported_that_the_register_does_not_say() {
        let mut attempt = Attempt::new(vec![Role::Prepared]);
        attempt.decided(Decision::Commit);
        attempt.told(0);
        assert_eq!(attempt.actions(), [Action::Finish(Decision::Commit)]);
        attempt.noted(Noted::Otherwise);
        assert_eq!(attempt.actions(), [Action::Stop(ErrorKind::Heuristic)]);
        attempt.noted(Noted::Nothing);
        assert_eq!(attempt.actions(), [Action::Stop(ErrorKind::Lost)]);
    }

    #[test]
    fn the_only_one_that_writes_needs_no_register() {
        let mut attempt = Attempt::new(vec![Role::Alone, Role::Reader]);
        assert_eq!(attempt.actions(), [Action::Prepare(0), Action::Prepare(1)]);
        attempt.voted(0, Vote::Open);
        let mut refused = attempt.clone();
        attempt.voted(1, Vote::Yes);
        assert_eq!(attempt.actions(), [Action::CommitAlone(0)]);
        attempt.ended_alone(0, Decision::Commit);
        assert_eq!(attempt.actions(), [Action::Report(Decision::Commit)]);
        refused.voted(1, Vote::No);
        assert_eq!(refused.actions(), [Action::Rollback(0)]);
        refused.ended_alone(0, Decision::Rollback);
        assert_eq!(refused.actions(), [Action::Report(Decision::Rollback)]);
    }

    #[test]
    fn what_somebody_has_prepared_goes_the_long_way() {
        let mut attempt = Attempt::new(vec![Role::Alone, Role::Reader]);
        attempt.voted(0, Vote::Yes);
        attempt.voted(1, Vote::Yes);
        assert_eq!(attempt.actions(), [Action::Decide(Decision::Commit)]);
        attempt.decided(Decision::Commit);
        assert_eq!(attempt.actions(), [Action::Commit(0)]);
        attempt.told(0);
        assert_eq!(attempt.actions(), [Action::Finish(Decision::Commit)]);
    }

    #[test]
    fn the_last_one_commits_when_all_others_have_prepared() {
        let mut attempt = Attempt::new(vec![Role::Last, Role::Prepared]);
        attempt.voted(0, Vote::Open);
        assert_eq!(attempt.actions(), [Action::Prepare(1)]);
        attempt.voted(1, Vote::Yes);
        assert_eq!(attempt.actions(), [Action::CommitDeciding(0)]);
        attempt.decided(Decision::Commit);
        attempt.told(0);
        assert_eq!(attempt.actions(), [Action::Commit(1)]);
    }
}

//! The steps of an attempt: what the library's machine offers, at the moment the trace says.

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, ErrorKind, LastResource, PreparedTransactions,
    Transactional,
    two_phase::machine::{Action, Attempt as Machine, Role, Vote},
};

use super::{Answer, Replay, answer, begin, noted, role};
use crate::{bench::Tx, mistake::Mistake, trace::Step};

/// One attempt; its transactions are connections of its own.
pub(super) struct Attempt {
    alive: bool,
    machine: Machine,
    open: Vec<Option<Tx>>,
}

impl Attempt {
    pub(super) fn new(roles: &[Role]) -> Self {
        Self {
            alive: true,
            machine: Machine::new(roles.to_vec()),
            open: roles.iter().map(|_| None).collect(),
        }
    }

    fn offers(&self, action: Action) -> bool {
        self.machine.actions().contains(&action)
    }

    fn end(&mut self) {
        self.alive = false;
        self.open.iter_mut().for_each(|open| *open = None);
    }
}

impl Replay<'_> {
    pub(super) async fn attempt_step(&mut self, step: &Step) {
        let (number, at) = (step.number, step.at);
        if !self.attempts[number].alive {
            return;
        }
        match step.what.as_str() {
            "inserts the marker" => self.begin_at(number, at).await,
            // Read in the same statement as the marker, and when it prepares or commits.
            "checks the clock" if self.ticks == 0 => {}
            "checks the clock" if role(self.trace, at) != Role::Prepared => {
                self.undo_at(number, at).await;
                self.attempts[number].machine.voted(at, Vote::No);
            }
            "checks the clock" => self.prepare_at(number, at).await,
            "prepares" | "stays open" => self.prepare_at(number, at).await,
            "does nothing, and is left out" if self.has(Mistake::LeftOutByWhatItDid) => {
                self.undo_at(number, at).await;
                self.attempts[number].machine.voted(at, Vote::Yes);
                self.attempts[number].machine.told(at);
            }
            "does nothing, and is left out" => self.prepare_at(number, at).await,
            "refuses" if self.attempts[number].open[at].is_some() => {
                self.undo_at(number, at).await;
                self.attempts[number].machine.voted(at, Vote::No);
            }
            "refuses" => {}
            "asks the register" => self.ask(number).await,
            "commits alone" | "commits with the decision" => self.commit_open(number, at).await,
            "leaves it at the refusal" if self.has(Mistake::AloneLeavesNoTombstone) => {
                let machine = &mut self.attempts[number].machine;
                machine.ended_alone(at, Decision::Rollback);
            }
            "notes the end" => {
                if let [Action::Finish(decision)] = self.attempts[number].machine.actions()[..] {
                    let told = answer(self.register().finish(&self.work, decision).await);
                    match noted(&told) {
                        Some(noted) => {
                            self.attempts[number].machine.noted(noted);
                            if let Some(kind @ (ErrorKind::Lost | ErrorKind::Heuristic)) =
                                noted.stops(decision)
                            {
                                self.alarms.push(format!("{} at the end", kind.as_str()));
                            }
                        }
                        None => self.attempts[number].end(),
                    }
                }
            }
            "reports" => {
                if let [Action::Report(decision)] = self.attempts[number].machine.actions()[..] {
                    self.reports.push(decision);
                    self.attempts[number].end();
                }
            }
            "crashes" => self.attempts[number].end(),
            _ => self.tell(number, at).await,
        }
    }

    async fn begin_at(&mut self, number: usize, at: usize) {
        let attempt = &self.attempts[number];
        if !attempt.offers(Action::Prepare(at)) || attempt.open[at].is_some() {
            return;
        }
        let begun = begin(&self.stores[at], &self.work, &self.tag).await;
        let alone = role(self.trace, at) == Role::Alone;
        let lock_is_yes = self.has(Mistake::LockTimeoutIsPrepared);
        let attempt = &mut self.attempts[number];
        match begun {
            Ok(BegunPrepared::Fresh(tx)) => attempt.open[at] = Some(tx),
            Ok(BegunPrepared::AlreadyCommitted) if alone => {
                attempt.machine.voted(at, Vote::Committed);
            }
            Ok(_) => attempt.machine.voted(at, Vote::Yes),
            Err(error) if lock_is_yes && error.kind() == ErrorKind::Busy => {
                attempt.machine.voted(at, Vote::Yes);
            }
            Err(error) if error.is_retryable() => {}
            Err(error) if error.kind() == ErrorKind::Forgotten => attempt.end(),
            Err(_) => attempt.machine.voted(at, Vote::No),
        }
    }

    async fn undo_at(&mut self, number: usize, at: usize) {
        if let Some(tx) = self.attempts[number].open[at].take() {
            self.stores[at].rollback(tx).await.unwrap();
        }
    }

    async fn prepare_at(&mut self, number: usize, at: usize) {
        if self.attempts[number].open[at].is_none() {
            return;
        }
        if matches!(role(self.trace, at), Role::Alone | Role::Last) {
            self.attempts[number].machine.voted(at, Vote::Open);
            return;
        }
        let Some(tx) = self.attempts[number].open[at].take() else {
            return;
        };
        let prepared = self.stores[at].prepare(tx, &self.work).await;
        self.voted(number, at, answer(prepared), Vote::Yes);
    }

    fn voted(&mut self, number: usize, at: usize, answer: Answer, yes: Vote) {
        let attempt = &mut self.attempts[number];
        match answer {
            Answer::Done => attempt.machine.voted(at, yes),
            Answer::No(_) => attempt.machine.voted(at, Vote::No),
            Answer::Later => attempt.end(),
        }
    }

    async fn ask(&mut self, number: usize) {
        let [Action::Decide(proposal)] = self.attempts[number].machine.actions()[..] else {
            return;
        };
        for at in 0..self.stores.len() {
            self.undo_at(number, at).await;
        }
        let proposal = match proposal {
            Decision::Rollback if self.has(Mistake::CommitDespiteRefusal) => Decision::Commit,
            proposal => proposal,
        };
        if self.has(Mistake::CoordinatorWithoutRegister) || self.has(Mistake::AlonePrepares) {
            self.attempts[number].machine.decided(proposal);
            return;
        }
        self.spoil_register(proposal).await;
        match self.register().decide(&self.work, proposal).await {
            Ok(decision) => self.attempts[number].machine.decided(decision),
            Err(_) => self.attempts[number].end(),
        }
    }

    /// What a wrong register would have done.
    pub(super) async fn spoil_register(&self, proposal: Decision) {
        let digest = self.digest();
        if self.has(Mistake::RegisterTakesLateCommit) && proposal == Decision::Commit {
            let hex = |bytes: &[u8]| -> String {
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                digits.collect()
            };
            let insert = format!(
                "INSERT INTO exactly_once.decisions (namespace, transaction, terms, \
                 participants, committed, not_after, forget_after) VALUES ('\\x{}', \
                 '\\x{digest}', '\\x{}', '', true, {}, {}) ON CONFLICT DO NOTHING",
                hex(self.tag.as_bytes()),
                hex(&self.work.terms()),
                self.work.not_after().as_micros(),
                self.work.forget_after().as_micros(),
            );
            self.bench.sql(0, &insert).await;
        }
    }

    async fn commit_open(&mut self, number: usize, at: usize) {
        let attempt = &self.attempts[number];
        let alone = attempt.offers(Action::CommitAlone(at));
        let waits = !self.has(Mistake::LastDoesNotWait);
        if !alone && !attempt.offers(Action::CommitDeciding(at)) && waits {
            return;
        }
        let Some(tx) = self.attempts[number].open[at].take() else {
            return;
        };
        let (store, work) = (&self.stores[at], &self.work);
        if alone || self.has(Mistake::LastCommitsBeforeDecision) {
            let committed = answer(store.commit_alone(tx, work).await);
            match committed {
                Answer::Done if alone => {
                    let machine = &mut self.attempts[number].machine;
                    machine.ended_alone(at, Decision::Commit);
                }
                committed => self.voted(number, at, committed, Vote::Yes),
            }
            return;
        }
        match store.commit_deciding(tx, work).await {
            Ok(decision) => {
                let machine = &mut self.attempts[number].machine;
                machine.decided(decision);
                if decision == Decision::Commit {
                    machine.told(at);
                }
            }
            Err(error) => self.voted(number, at, answer(Err(error)), Vote::Yes),
        }
    }

    /// Commit or rollback at this participant, as the decision says.
    async fn tell(&mut self, number: usize, at: usize) {
        let decided = self.attempts[number].machine.is_decided();
        if self.attempts[number].offers(Action::Commit(at)) {
            let told = answer(self.stores[at].commit_prepared(&self.work).await);
            self.told_commit(number, at, told).await;
        } else if self.attempts[number].offers(Action::Rollback(at)) {
            if !decided {
                self.undo_at(number, at).await;
            }
            let told = self.roll_back(at).await;
            self.told_rollback(number, at, told, decided);
        }
    }

    async fn told_commit(&mut self, number: usize, at: usize, told: Answer) {
        match told {
            Answer::Done => self.attempts[number].machine.told(at),
            Answer::No(ErrorKind::NotPrepared) if self.has(Mistake::UnknownOnCommitIsOk) => {
                self.attempts[number].machine.told(at);
            }
            Answer::No(ErrorKind::NotPrepared) => {
                let stands = self.register().decision(&self.work).await.unwrap();
                if stands.is_some_and(|entry| entry.finished) {
                    self.attempts[number].machine.told(at);
                } else {
                    if !self.trace.loses() {
                        self.alarms.push(format!("participant {at} has lost it"));
                    }
                    self.attempts[number].end();
                }
            }
            Answer::No(kind) => {
                self.alarms.push(format!("{} at commit", kind.as_str()));
                self.attempts[number].end();
            }
            Answer::Later => {}
        }
    }

    fn told_rollback(&mut self, number: usize, at: usize, told: Answer, decided: bool) {
        let attempt = &mut self.attempts[number];
        match told {
            Answer::Done | Answer::No(ErrorKind::Forgotten) if decided => attempt.machine.told(at),
            Answer::Done => attempt.machine.ended_alone(at, Decision::Rollback),
            Answer::No(ErrorKind::Committed) if !decided => {
                attempt.machine.ended_alone(at, Decision::Commit);
            }
            Answer::No(kind) => {
                self.alarms.push(format!("{} at rollback", kind.as_str()));
                attempt.end();
            }
            Answer::Later => {}
        }
    }

    pub(super) async fn roll_back(&self, at: usize) -> Answer {
        answer(self.stores[at].rollback_prepared(&self.work).await)
    }
}

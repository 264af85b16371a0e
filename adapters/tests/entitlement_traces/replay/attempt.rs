//! The steps of an attempt: what the library's machine offers, at the moment the trace says.

use exactly_once::{
    AnyStore, BegunPrepared, Decision, DecisionRegister, ErrorKind, OneShotParticipant,
    Participation, PreparedTransactions, Transactional,
    two_phase::machine::{Action, Attempt as Machine, Role, Vote},
};

use super::{Answer, Replay, answer, noted};
use crate::trace::Step;

type Tx = <AnyStore as Transactional>::Tx;

/// One attempt; its transactions are its own.
pub(super) struct Attempt {
    alive: bool,
    machine: Machine,
    open: Vec<Option<Tx>>,
}

impl Attempt {
    pub(super) fn new(members: &[usize]) -> Self {
        Self {
            alive: true,
            machine: Machine::new(vec![Role::Prepared; members.len()]),
            open: members.iter().map(|_| None).collect(),
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
            // Read with the marker in time, and when it prepares.
            "checks the clock" if self.ticks == 0 => {}
            "checks the clock" | "prepares" => self.prepare_at(number, at).await,
            "refuses" => {
                if let Some(tx) = self.attempts[number].open[at].take() {
                    self.store(number, at).rollback(tx).await.unwrap();
                    self.attempts[number].machine.voted(at, Vote::No);
                }
            }
            "asks the register" => self.ask(number).await,
            "notes the end" => {
                if let [Action::Finish(decision)] = self.attempts[number].machine.actions()[..] {
                    let terms = self.trace.terms_of(number);
                    let told = self.finish(self.register_for(terms), terms, decision).await;
                    match noted(&told) {
                        Some(noted) => self.attempts[number].machine.noted(noted),
                        None => self.attempts[number].end(),
                    }
                }
            }
            "notes that it did not obey" => {
                let terms = self.trace.terms_of(number);
                let decision = self.attempts[number].machine.decision().unwrap();
                let store = self.trace.terms[terms].0[at];
                self.dispute(self.register_for(terms), terms, store, decision)
                    .await;
                self.attempts[number].machine.disputed(at);
            }
            "reports" => {}
            "crashes" | "stops" => self.attempts[number].end(),
            _ => self.tell(number, at).await,
        }
    }

    fn store(&self, number: usize, at: usize) -> &AnyStore {
        let members = &self.trace.terms[self.trace.terms_of(number)].0;
        &self.stores[members[at]]
    }

    /// As the participants see it: where terms are not compared, all attempts are alike.
    fn work(&self, number: usize) -> &Participation {
        let alike =
            self.lacks("OtherParticipantsAreTheSame") || self.lacks("OtherRegisterIsTheSame");
        let terms = if alike {
            0
        } else {
            self.trace.terms_of(number)
        };
        &self.works[terms]
    }

    async fn begin_at(&mut self, number: usize, at: usize) {
        let attempt = &self.attempts[number];
        if !attempt.offers(Action::Prepare(at)) || attempt.open[at].is_some() {
            return;
        }
        let terms = self.trace.terms_of(number);
        let store = self.trace.terms[terms].0[at];
        let statement = self.bench.work(store, &self.tag, terms);
        let begun = self
            .store(number, at)
            .begin_prepared(self.work(number))
            .await;
        let begun = match begun {
            Ok(BegunPrepared::Fresh(mut tx)) => {
                let done = self.store(number, at).apply(&mut tx, &[statement]).await;
                done.map(|()| BegunPrepared::Fresh(tx))
            }
            begun => begun,
        };
        let attempt = &mut self.attempts[number];
        match begun {
            Ok(BegunPrepared::Fresh(tx)) => attempt.open[at] = Some(tx),
            Ok(_) => attempt.machine.voted(at, Vote::Yes),
            Err(error) if error.is_retryable() => {}
            Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Forgotten) => {
                attempt.end();
            }
            Err(_) => attempt.machine.voted(at, Vote::No),
        }
    }

    async fn prepare_at(&mut self, number: usize, at: usize) {
        let Some(tx) = self.attempts[number].open[at].take() else {
            return;
        };
        let prepared = self.store(number, at).prepare(tx, self.work(number)).await;
        let attempt = &mut self.attempts[number];
        match answer(prepared) {
            Answer::Done => attempt.machine.voted(at, Vote::Yes),
            Answer::No(_) => attempt.machine.voted(at, Vote::No),
            Answer::Later => attempt.end(),
        }
    }

    async fn ask(&mut self, number: usize) {
        let [Action::Decide(proposal)] = self.attempts[number].machine.actions()[..] else {
            return;
        };
        let terms = self.trace.terms_of(number);
        let alike = self.lacks("OtherParticipantsAreTheSame")
            || self.lacks("RegisterTakesOtherParticipants");
        let work = if alike {
            &self.works[0]
        } else {
            &self.works[terms]
        };
        let decided = self.register_for(terms).decide(work, proposal).await;
        match decided {
            Ok(decision) => self.attempts[number].machine.decided(decision),
            Err(_) => self.attempts[number].end(),
        }
    }

    /// Commit or rollback at this participant, as the decision says.
    async fn tell(&mut self, number: usize, at: usize) {
        let (store, work) = (self.store(number, at), self.work(number));
        if self.attempts[number].offers(Action::Commit(at)) {
            let told = answer(store.commit_prepared(work).await);
            self.told(number, at, told, Decision::Commit).await;
        } else if self.attempts[number].offers(Action::Rollback(at)) {
            let told = answer(store.rollback_prepared(work).await);
            self.told(number, at, told, Decision::Rollback).await;
        }
    }

    async fn told(&mut self, number: usize, at: usize, told: Answer, decision: Decision) {
        let terms = self.trace.terms_of(number);
        let heuristic_is_told = self.lacks("HeuristicIsTold");
        match told {
            Answer::Done => self.attempts[number].machine.told(at),
            Answer::No(ErrorKind::RolledBack) if heuristic_is_told => {
                self.attempts[number].machine.told(at);
            }
            Answer::No(ErrorKind::Forgotten) if decision == Decision::Rollback => {
                self.attempts[number].machine.told(at);
            }
            Answer::No(ErrorKind::NotPrepared) => {
                let stands = self.register_for(terms).decision(&self.works[terms]).await;
                if stands.is_ok_and(|entry| entry.is_some_and(|entry| entry.finished)) {
                    self.attempts[number].machine.told(at);
                } else {
                    self.alarms.push(format!("participant {at} has lost it"));
                    self.attempts[number].end();
                }
            }
            Answer::No(kind @ (ErrorKind::RolledBack | ErrorKind::Committed)) => {
                self.alarms
                    .push(format!("{} from participant {at}", kind.as_str()));
                self.attempts[number].machine.opposed(at);
            }
            Answer::No(_) => self.attempts[number].end(),
            Answer::Later => {}
        }
    }
}

//! A trace, step by step, against real stores.

use std::time::Duration;

use exactly_once::{
    AnyStore, Decision, DecisionRegister, Dispute, Error, ErrorKind, Fingerprint, Participants,
    Participation, PreparedTransactions, Store, Timestamp, TransactionId, identity_of,
    two_phase::{Sweeper, machine::Noted},
};

use crate::{
    bench::{ADOPTED, ANOTHER, Bench, COPY},
    trace::{Step, Trace},
};

mod attempt;
mod rest;
mod sweep;

use attempt::Attempt;
use sweep::Run;

/// One replay: its stores, attempts and sweeps.
pub(crate) struct Replay<'a> {
    bench: &'a Bench,
    trace: &'a Trace,
    broken: bool,
    tag: String,
    stores: Vec<AnyStore>,
    /// One for each terms of the trace.
    works: Vec<Participation>,
    attempts: Vec<Attempt>,
    sweeps: Vec<Option<Run>>,
    ticks: u32,
    in_time: bool,
    alarms: Vec<String>,
}

/// What became of one call.
enum Answer {
    Done,
    /// For good.
    No(ErrorKind),
    Later,
}

/// What an answer to the note of the end means.
fn noted(answer: &Answer) -> Option<Noted> {
    match answer {
        Answer::Done => Some(Noted::Finished),
        Answer::No(kind) => Noted::refused(*kind),
        Answer::Later => None,
    }
}

fn answer(result: Result<(), Error>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) if error.is_retryable() => Answer::Later,
        Err(error) => Answer::No(error.kind()),
    }
}

impl<'a> Replay<'a> {
    pub(crate) async fn begin(
        bench: &'a Bench,
        trace: &'a Trace,
        broken: bool,
        time: Duration,
    ) -> Self {
        let tag = format!("{}-{broken}-{}", trace.name, time.as_secs());
        let stores = bench.stores(&tag);
        let not_after = stores[0].now().await.unwrap().checked_add(time).unwrap();
        let remembered = match trace.forgets() {
            true => time,
            false => Duration::from_secs(3_600),
        };
        let work = Participation::new(
            &TransactionId::new(&*tag).unwrap(),
            Fingerprint::of("trace", &tag).unwrap(),
            not_after,
            not_after.checked_add(remembered).unwrap(),
        );
        let work = work.unwrap();
        let mut works = Vec::new();
        for (members, register) in &trace.terms {
            let register = if *register == 0 { 0 } else { ANOTHER };
            let register = identity_of(&stores[register]).await.unwrap();
            let mut named = Vec::new();
            for at in members {
                named.push(identity_of(&stores[*at]).await.unwrap());
            }
            works.push(work.clone().entitled(register, Participants::of(named)));
        }
        let attempts = trace.steps.iter().filter(|step| step.who == "attempt");
        let attempts = attempts.map(|step| step.number + 1).max().unwrap_or(0);
        let attempt = |number| Attempt::new(&trace.terms[trace.terms_of(number)].0);
        Self {
            bench,
            trace,
            broken,
            tag,
            stores,
            works,
            attempts: (0..attempts).map(attempt).collect(),
            sweeps: trace.sweepers.iter().map(|_| None).collect(),
            ticks: 0,
            in_time: true,
            alarms: Vec::new(),
        }
    }

    /// Whether the steps were in time: otherwise the schedule was another one.
    pub(crate) async fn run(&mut self) -> bool {
        let trace = self.trace;
        for step in &trace.steps {
            match step.who.as_str() {
                "attempt" => self.attempt_step(step).await,
                "sweeper" => self.sweep_step(step).await,
                "operator" => self.operate(step).await,
                "clock" => self.tick().await,
                // All that is past its time goes with the tick.
                "forgetting" => {}
                other => panic!("who is {other}?"),
            }
        }
        if self.ticks == 0 {
            self.in_time &= self.now().await <= self.works[0].not_after();
        }
        self.in_time
    }

    /// Whether this rule is switched off.
    fn lacks(&self, rule: &str) -> bool {
        self.broken && self.trace.name == rule
    }

    /// A register of the trace.
    fn register(&self, number: usize) -> &AnyStore {
        let keeps_its_identity = self.lacks("CopyKeepsItsIdentity");
        let store = match self.trace.registers[number] {
            (0, 0) => 0,
            (0, _) => COPY,
            (7, _) => ANOTHER,
            _ if keeps_its_identity => COPY,
            _ => ADOPTED,
        };
        &self.stores[store]
    }

    /// The register that the terms name.
    fn register_for(&self, terms: usize) -> &AnyStore {
        match self.trace.terms[terms].1 {
            0 => &self.stores[0],
            _ => &self.stores[ANOTHER],
        }
    }

    /// Notes the end of a decision; where that rule is switched off, of whatever stands.
    async fn finish(&self, register: &AnyStore, terms: usize, decision: Decision) -> Answer {
        let work = &self.works[terms];
        let stands = match self.lacks("FinishNamesNoDecision") {
            true => register.decision(work).await.unwrap(),
            false => None,
        };
        let decision = stands.map_or(decision, |stands| stands.decision);
        answer(register.finish(work, decision).await)
    }

    /// Notes that a participant did not obey.
    async fn dispute(&self, register: &AnyStore, terms: usize, store: usize, decision: Decision) {
        if self.lacks("DisputeIsNotNoted") {
            return;
        }
        let participant = identity_of(&self.stores[store]).await.unwrap();
        let dispute = Dispute::now(register, participant, decision).await.unwrap();
        let work = &self.works[terms];
        register.dispute(work, &dispute).await.unwrap();
    }

    async fn now(&self) -> Timestamp {
        self.stores[0].now().await.unwrap()
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks == 1 {
            self.in_time &= self.now().await <= self.works[0].not_after();
            self.pass_deadline().await;
            return;
        }
        self.in_time &= self.now().await <= self.works[0].forget_after();
        while self.now().await <= self.works[0].forget_after() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for store in &self.stores {
            // All traces share a file, so another one may hold its writer past the lock timeout.
            while let Err(error) = store.forget_prepared(100).await {
                assert!(error.is_retryable(), "{error}");
            }
            while let Err(error) = store.forget_decisions(100).await {
                assert!(error.is_retryable(), "{error}");
            }
        }
        // An alarm must stay: those of before the records went count for nothing.
        self.alarms.clear();
    }

    async fn pass_deadline(&self) {
        while self.now().await <= self.works[0].not_after() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn operate(&mut self, step: &Step) {
        match step.what.as_str() {
            "rolls back by hand" => {
                self.stores[step.at]
                    .rollback_prepared(&self.works[0])
                    .await
                    .unwrap();
            }
            // Of the first store, before anything is decided: the decision is what a restore takes
            // away, as long as the store has not committed.
            "takes a backup" => {
                assert_eq!(step.at, 0);
                let stands = self.stores[0].decision(&self.works[0]).await.unwrap();
                assert_eq!(stands, None);
            }
            _ => {
                let digest = self.works[0].transaction().to_string();
                self.bench.remove_decision(&self.tag, &digest).await;
                let stands = self.stores[0].decision(&self.works[0]).await.unwrap();
                assert_eq!(stands, None);
            }
        }
    }
}

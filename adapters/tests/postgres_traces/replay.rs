//! A trace, step by step, against real stores.

use std::time::Duration;

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, Error, ErrorKind, Fingerprint, Participants,
    Participation, PreparedStatus, PreparedTransactions, Store, Timestamp, TransactionId,
    Transactional, identity_of,
    postgres::TokioPostgresStore,
    two_phase::{
        Sweeper,
        machine::{Noted, Role, Sweep},
    },
};

use crate::{
    bench::{Bench, Tx},
    mistake::Mistake,
    trace::{Step, Trace},
};

mod attempt;
mod sweep;

use attempt::Attempt;

/// One replay: its stores, and who is at it.
pub(crate) struct Replay<'a> {
    bench: &'a Bench,
    trace: &'a Trace,
    mistake: Option<Mistake>,
    tag: String,
    stores: Vec<TokioPostgresStore>,
    work: Participation,
    attempts: Vec<Attempt>,
    sweep: Option<Sweep>,
    ticks: u32,
    in_time: bool,
    reports: Vec<Decision>,
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
        mistake: Option<Mistake>,
        time: Duration,
    ) -> Self {
        let tag = format!("{}/{}/{}", trace.name, mistake.is_some(), time.as_secs());
        let stores: Vec<_> = (0..trace.roles.len())
            .map(|at| bench.store(at, &tag))
            .collect();
        for at in 0..stores.len() {
            bench.seat(at, &tag).await;
        }
        let not_after = stores[0].now().await.unwrap().checked_add(time).unwrap();
        let work = Participation::new(
            &TransactionId::new(&*tag).unwrap(),
            Fingerprint::of("trace", &tag).unwrap(),
            not_after,
            not_after.checked_add(time / 2).unwrap(),
        );
        let mut members = Vec::new();
        for store in &stores {
            members.push(identity_of(store).await.unwrap());
        }
        let register = identity_of(&stores[0]).await.unwrap();
        let work = work.map(|work| work.entitled(register, Participants::of(members)));
        let attempt = || Attempt::new(&trace.roles);
        Self {
            bench,
            trace,
            mistake,
            tag,
            stores,
            work: work.unwrap(),
            attempts: (0..trace.attempts()).map(|_| attempt()).collect(),
            sweep: None,
            ticks: 0,
            in_time: true,
            reports: Vec::new(),
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
                "clock" => self.tick().await,
                "forgetting" => self.forget(step).await,
                "failover" => self.bench.lose(step.at, &self.digest()).await,
                "watcher" => self.watch(step.at).await,
                other => panic!("who is {other}?"),
            }
        }
        // Where the records were removed on purpose there is nothing left to be late for.
        if self.ticks < 2 {
            let end = [self.work.not_after(), self.work.forget_after()][self.ticks as usize];
            self.in_time &= self.now().await <= end;
        }
        self.in_time
    }

    fn digest(&self) -> String {
        self.work.transaction().to_string()
    }

    fn has(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// The register is in the first participant's store.
    fn register(&self) -> &TokioPostgresStore {
        &self.stores[0]
    }

    async fn now(&self) -> Timestamp {
        self.register().now().await.unwrap()
    }

    async fn tick(&mut self) {
        self.ticks += 1;
        let (not_after, forget_after) = (self.work.not_after(), self.work.forget_after());
        let (last, next) = match self.ticks {
            1 => (not_after, not_after),
            _ => (forget_after, forget_after),
        };
        self.in_time &= self.now().await <= last;
        self.pass(next).await;
    }

    async fn pass(&self, moment: Timestamp) {
        while self.now().await <= moment {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn forget(&mut self, step: &Step) {
        let early = self.has(Mistake::RecordsRemovedEarly);
        match step.what.as_str() {
            "removes an outcome" if early => {
                self.bench.remove(step.at, "outcomes", &self.digest()).await;
            }
            "removes the decision" if early => {
                self.bench.remove(0, "decisions", &self.digest()).await;
            }
            "removes an outcome" => {
                self.stores[step.at].forget_prepared(9).await.unwrap();
            }
            _ => {
                self.register().forget_decisions(9).await.unwrap();
            }
        }
    }

    async fn watch(&mut self, at: usize) {
        let before = self.bench.effects(at, &self.tag).await;
        let status = self.stores[at].prepared_status(&self.work).await.unwrap();
        let undone = matches!(status, PreparedStatus::None | PreparedStatus::RolledBack);
        if undone && before > 0 {
            self.alarms.push(format!("{status:?} after the commit"));
        }
    }

    /// What is wrong when everybody is dead, and one sweep was made.
    pub(crate) async fn anomalies(mut self) -> Vec<String> {
        self.attempts.clear();
        let mut wrong = std::mem::take(&mut self.alarms);
        if let Ok(Some(entry)) = self.register().decision(&self.work).await
            && entry.finished
            && self.in_doubt().await > 0
        {
            wrong.push("in doubt, though everybody was told".to_owned());
        }
        self.pass(self.work.not_after()).await;
        wrong.extend(self.swept().await);
        if self.in_doubt().await > 0 {
            wrong.push("in doubt after a sweep".to_owned());
        }
        let mut effects = Vec::new();
        for at in 0..self.stores.len() {
            effects.push(self.bench.effects(at, &self.tag).await);
            if self.bench.is_locked(at, &self.tag).await {
                wrong.push(format!("participant {at} is locked"));
            }
        }
        let all = effects.iter().all(|effects| *effects == 1);
        let none = effects.iter().all(|effects| *effects == 0);
        if !all && !none && !self.trace.loses() {
            wrong.push(format!("not all or none: {effects:?}"));
        }
        if let Ok(Some(entry)) = self.register().decision(&self.work).await
            && entry.finished
            && !self.trace.loses()
            && !matches!(
                (entry.decision, all, none),
                (Decision::Commit, true, _) | (_, _, true)
            )
        {
            wrong.push(format!(
                "{:?} is finished, and it is {effects:?}",
                entry.decision
            ));
        }
        for report in &self.reports {
            let kept = match report {
                Decision::Commit => all,
                Decision::Rollback => none,
            };
            if !kept {
                wrong.push(format!("reported {report:?}, and it is {effects:?}"));
            }
        }
        wrong
    }

    async fn in_doubt(&self) -> usize {
        let mut doubts = 0;
        for at in 0..self.stores.len() {
            doubts += self.bench.in_doubt(at, &self.tag).await;
        }
        doubts
    }

    /// One sweep by the library's own sweeper; again only where an attempt's lock was in the way.
    async fn swept(&self) -> Vec<String> {
        for _ in 0..20 {
            let mut sweeper = Sweeper::new(self.register().clone());
            for (at, store) in self.stores.iter().enumerate() {
                sweeper = sweeper.participant(at.to_string(), store.clone()).unwrap();
            }
            let report = sweeper.sweep().await.unwrap();
            if report.failed.is_empty() {
                // What is gone is reported: that is what the trace is about.
                let gone = self.trace.forgets() || self.trace.loses();
                let expected = |kind| gone && kind == ErrorKind::Lost;
                let alarms = report.alarms.iter().filter(|alarm| !expected(alarm.kind()));
                return alarms.map(|alarm| format!("alarm: {alarm}")).collect();
            }
        }
        vec!["sweeps keep failing".to_owned()]
    }
}

/// The work of every attempt: a row of its own, and a row that all of them change.
async fn do_work(tx: &mut Tx, tag: &str) -> Result<(), Error> {
    let insert = format!("INSERT INTO work VALUES ('{tag}')");
    let update = format!("UPDATE seat SET taken = taken + 1 WHERE tag = '{tag}'");
    let both = format!("{insert}; {update}");
    let done = tx.client()?.batch_execute(&both).await;
    done.map_err(|source| Error::new(ErrorKind::WorkFailed, "work", "postgres").with_source(source))
}

/// How a participant takes part at this place.
fn role(trace: &Trace, at: usize) -> Role {
    trace.roles[at]
}

/// Begins at a participant, and does the work.
async fn begin(
    store: &TokioPostgresStore,
    work: &Participation,
    tag: &str,
) -> Result<BegunPrepared<Tx>, Error> {
    match store.begin_prepared(work).await? {
        BegunPrepared::Fresh(mut tx) => {
            if let Err(error) = do_work(&mut tx, tag).await {
                store.rollback(tx).await?;
                return Err(error);
            }
            Ok(BegunPrepared::Fresh(tx))
        }
        other => Ok(other),
    }
}

//! What is wrong when all attempts have ended, and the library's own sweepers have run.

use exactly_once::two_phase::SweepReport;

use super::{
    AnyStore, Decision, DecisionRegister, ErrorKind, PreparedTransactions, Replay, Sweeper,
};

/// The stores that a transaction may take part in.
const PARTICIPANTS: [usize; 4] = [0, 1, 2, 3];

impl Replay<'_> {
    pub(crate) async fn anomalies(mut self) -> Vec<String> {
        self.attempts.clear();
        self.pass_deadline().await;
        // What an attempt has noted as finished is not looked at again.
        let mut wrong = self.finished_in_doubt().await;
        if self.broken {
            self.sweep_wrongly().await;
            wrong.extend(self.finished_in_doubt().await);
        }
        for (register, known) in self.trace.sweepers.clone() {
            let register = self.register(register).clone();
            self.swept(&register, &known).await;
        }
        for terms in 0..self.trace.terms.len() {
            let register = self.register_for(terms).clone();
            let failed = self.swept(&register, &PARTICIPANTS).await.failed;
            let failed = failed.into_iter();
            wrong.extend(failed.map(|error| format!("the right sweep: {error}")));
        }
        if self.in_doubt(&PARTICIPANTS).await > 0 {
            wrong.push("in doubt after a sweep".to_owned());
        }
        wrong.extend(self.torn().await);
        wrong.extend(self.finished_otherwise().await);
        if !self.trace.has_operator() {
            wrong.append(&mut self.alarms);
        }
        wrong
    }

    /// One sweep, and once more where an attempt's lock was in the way. A sweeper with a copy of the
    /// register does nothing, and its report says so.
    async fn swept(&mut self, register: &AnyStore, known: &[usize]) -> SweepReport {
        let mut report = SweepReport::default();
        for _ in 0..20 {
            let mut sweeper = Sweeper::new(register.clone());
            for at in known {
                let store = self.stores[*at].clone();
                sweeper = sweeper.participant(at.to_string(), store).unwrap();
            }
            report = sweeper.sweep().await.unwrap();
            self.alarms
                .extend(report.alarms.iter().map(ToString::to_string));
            if !report
                .failed
                .iter()
                .any(|error| error.kind() != ErrorKind::Invalid)
            {
                break;
            }
        }
        report
    }

    pub(super) async fn in_doubt(&self, stores: &[usize]) -> usize {
        let mut doubts = 0;
        for at in stores {
            doubts += self.stores[*at]
                .in_doubt(None, 10)
                .await
                .unwrap()
                .entries
                .len();
        }
        doubts
    }

    async fn finished_in_doubt(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (terms, work) in self.works.iter().enumerate() {
            let stands = self.register_for(terms).decision(work).await;
            let finished = stands.is_ok_and(|entry| entry.is_some_and(|entry| entry.finished));
            if finished && self.in_doubt(&self.trace.terms[terms].0).await > 0 {
                wrong.push("in doubt, though everybody was told".to_owned());
            }
        }
        wrong
    }

    /// A decision that is finished, and that a participant has not carried out.
    async fn finished_otherwise(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (terms, work) in self.works.iter().enumerate() {
            let stands = self.register_for(terms).decision(work).await;
            let Some(stands) = stands.ok().flatten().filter(|entry| entry.finished) else {
                continue;
            };
            let expected = u32::from(stands.decision == Decision::Commit);
            for at in &self.trace.terms[terms].0 {
                if self.bench.effects(*at, &self.tag, terms).await != expected {
                    wrong.push(format!("finished, though participant {at} ended otherwise"));
                }
            }
        }
        wrong
    }

    /// All or none of each set of participants, and of one set only.
    async fn torn(&self) -> Vec<String> {
        let (mut wrong, mut committed) = (Vec::new(), 0);
        for (terms, (members, _)) in self.trace.terms.iter().enumerate() {
            let mut effects = Vec::new();
            for at in members {
                effects.push(self.bench.effects(*at, &self.tag, terms).await);
            }
            let all = effects.iter().all(|effects| *effects == 1);
            let none = effects.iter().all(|effects| *effects == 0);
            committed += usize::from(!none);
            let reported = self.trace.has_operator() && !self.alarms.is_empty();
            if !all && !none && !reported {
                wrong.push(format!("not all or none: {effects:?}"));
            }
        }
        if committed > 1 {
            wrong.push("two sets of participants have committed".to_owned());
        }
        wrong
    }
}

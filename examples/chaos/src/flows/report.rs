//! What a run of the flows found.

use std::{fmt, time::Duration};

use super::{
    FlowsOptions,
    audit::Anomaly,
    clients::{Answer, Case},
    stores::NAMES,
    sweepers::Counts,
};

/// How many anomalies are shown in detail.
const EXAMPLES: usize = 20;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: FlowsOptions,
    /// How long the load took.
    pub took: Duration,
    /// How often each store was away.
    pub outages: [usize; 3],
    /// How many attempts were dropped half way.
    pub dropped: usize,
    /// What the sweepers did.
    pub swept: Counts,
    /// Every transaction with its answer.
    pub cases: Vec<Case>,
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for anomaly in self.anomalies.iter().take(EXAMPLES) {
            writeln!(f, "- {anomaly}")?;
        }
        if self.anomalies.len() > EXAMPLES {
            writeln!(f, "- … and {} more", self.anomalies.len() - EXAMPLES)?;
        }
        let count = |which: fn(&Answer) -> bool| {
            let cases = self.cases.iter();
            cases.filter(|case| which(&case.answer)).count()
        };
        let verdict = if self.anomalies.is_empty() {
            "PASSED"
        } else {
            "FAILED"
        };
        write!(
            f,
            "{verdict}: two flows, seed {}: {} transactions in {:.1} s ({} committed, {} rolled back, {} left \
             to the sweepers), {} attempts dropped, away: ",
            self.options.seed,
            self.cases.len(),
            self.took.as_secs_f64(),
            count(|answer| matches!(answer, Answer::Committed(_))),
            count(|answer| *answer == Answer::RolledBack),
            count(|answer| *answer == Answer::Dropped),
            self.dropped,
        )?;
        for (name, times) in NAMES.iter().zip(self.outages) {
            write!(f, "{name} {times}, ")?;
        }
        let Counts {
            committed,
            rolled_back,
            foreign,
            unfinished,
            forgotten,
        } = self.swept;
        write!(
            f,
            "sweepers: {committed} committed, {rolled_back} rolled back, {foreign} of another register left \
             alone, {unfinished} left unfinished, {forgotten} records removed: {} anomalies",
            self.anomalies.len()
        )
    }
}

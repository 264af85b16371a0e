//! What a run found: a table, what was seen of each anomaly, and one line of verdict.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{ChaosOptions, killer::Kills, operator::Deed, trouble::Troubles};
use crate::{
    audit::{Anomaly, Answer, Case, Kind},
    service::Recipe,
};

/// How many anomalies of a kind are reported in detail.
const EXAMPLES: usize = 20;
/// How many lines of a service's log are shown where something is wrong.
const LOG_LINES: usize = 20;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: ChaosOptions,
    /// How long the load took.
    pub took: Duration,
    /// How many HTTP requests the clients sent.
    pub sent: u64,
    /// How often what was killed.
    pub kills: Kills,
    /// What the network went through.
    pub troubles: Troubles,
    /// What was done to invocations.
    pub deeds: BTreeMap<Deed, usize>,
    /// How many participants the one sweep has committed, and how many it has rolled back.
    pub swept: [u64; 2],
    /// How often a store answered from the receipt of an earlier attempt.
    pub prevented: u64,
    /// How often the world outside has turned a zombie away.
    pub fenced: u64,
    /// Every operation with its answer.
    pub cases: Vec<Case>,
    /// What the services have printed.
    pub logs: [String; 2],
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    /// How many were killed, altogether.
    #[must_use]
    pub fn killed(&self) -> usize {
        self.kills.values().sum()
    }

    /// The anomalies, by kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Kind, Vec<&Anomaly>> {
        let mut kinds: BTreeMap<Kind, Vec<&Anomaly>> = BTreeMap::new();
        for anomaly in &self.anomalies {
            kinds.entry(anomaly.kind).or_default().push(anomaly);
        }
        kinds
    }

    fn deeds(&self, deed: Deed) -> usize {
        self.deeds.get(&deed).copied().unwrap_or_default()
    }

    fn count(&self, which: impl Fn(&Answer) -> bool) -> usize {
        self.cases.iter().filter(|case| which(&case.answer)).count()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name, &value]);
        };
        row("operations", self.cases.len().to_string());
        let mut forms: BTreeMap<&str, usize> = BTreeMap::new();
        for case in &self.cases {
            *forms.entry(case.operation.what.word()).or_default() += 1;
        }
        for (form, count) in forms {
            row(&format!("  {form}"), count.to_string());
        }
        let refused = self.count(|answer| matches!(answer, Answer::Refused(_)));
        row("  of these, refused for good", refused.to_string());
        let cut = self.count(|answer| matches!(answer, Answer::CutShort { .. }));
        row("  of these, cancelled or killed", cut.to_string());
        row("HTTP requests sent for them", self.sent.to_string());
        row("kills (SIGKILL)", self.killed().to_string());
        for (what, count) in &self.kills {
            row(&format!("  {what}"), count.to_string());
        }
        row("connections cut", self.troubles.cuts.to_string());
        row("times of delay", self.troubles.delays.to_string());
        row("times of replies held", self.troubles.held.to_string());
        row(
            "duplicates prevented by a store",
            self.prevented.to_string(),
        );
        row("zombies fenced outside", self.fenced.to_string());
        let [committed, rolled_back] = self.swept;
        row(
            "one sweep: commits, rollbacks",
            format!("{committed}, {rolled_back}"),
        );
        row("seconds", format!("{:.1}", self.took.as_secs_f64()));
        for (kind, anomalies) in self.by_kind() {
            row(
                &format!("ANOMALY: {}", kind.words()),
                anomalies.len().to_string(),
            );
        }
        if let Some(values) = table.column_mut(1) {
            values.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.anomalies.is_empty() {
            "PASSED"
        } else {
            "FAILED"
        };
        write!(f, "{verdict}: seed {}", self.options.seed)?;
        if self.options.recipe != Recipe::Ours {
            write!(f, ", recipe {}", self.options.recipe.name())?;
        }
        write!(
            f,
            ": {} operations, {} kills (",
            self.cases.len(),
            self.killed()
        )?;
        for (at, (what, count)) in self.kills.iter().enumerate() {
            write!(f, "{}{what} {count}", if at == 0 { "" } else { ", " })?;
        }
        write!(
            f,
            "), {} cuts, {} cancels, {} kills of invocations, {} pauses, {} restarts from a step, \
             {} duplicates prevented: {} anomalies",
            self.troubles.cuts,
            self.deeds(Deed::Cancel),
            self.deeds(Deed::Kill),
            self.deeds(Deed::Pause),
            self.deeds(Deed::Restart),
            self.prevented,
            self.anomalies.len()
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table())?;
        for anomalies in self.by_kind().values() {
            for anomaly in anomalies.iter().take(EXAMPLES) {
                writeln!(f, "- {anomaly}")?;
            }
            if anomalies.len() > EXAMPLES {
                writeln!(f, "- … and {} more of these", anomalies.len() - EXAMPLES)?;
            }
        }
        if !self.anomalies.is_empty() {
            for log in &self.logs {
                let lines: Vec<&str> = log.lines().collect();
                for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
                    writeln!(f, "  log: {line}")?;
                }
            }
        }
        self.verdict(f)
    }
}

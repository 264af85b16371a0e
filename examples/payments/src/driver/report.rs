//! What a run found, as a table and a verdict.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{DemoOptions, killer::Kills};
use crate::{
    audit::{Anomaly, Kind},
    process::Recipe,
};

/// How many anomalies of a kind are reported in detail.
const EXAMPLES: usize = 5;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: DemoOptions,
    /// How long the load took.
    pub took: Duration,
    /// How many different requests there were.
    pub requests: usize,
    /// How many of them were refused for good.
    pub refused: usize,
    /// How many HTTP requests the clients sent for them.
    pub sent: u64,
    /// How often the service was killed, by where.
    pub kills: Kills,
    /// How many calls of the store could have had an effect.
    pub attempts: u64,
    /// How many of them were answered from an earlier one's receipt.
    pub replays: u64,
    /// How many effects are in the database.
    pub effects: usize,
    /// The sum of all balances before.
    pub sum_before: i128,
    /// The sum of all balances after.
    pub sum_after: i128,
    /// How many transactions are left prepared and undecided.
    pub in_doubt: i64,
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    /// How many anomalies there are of each kind.
    #[must_use]
    pub fn by_kind(&self) -> BTreeMap<Kind, Vec<&Anomaly>> {
        let mut kinds: BTreeMap<Kind, Vec<&Anomaly>> = BTreeMap::new();
        for anomaly in &self.anomalies {
            kinds.entry(anomaly.kind).or_default().push(anomaly);
        }
        kinds
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name, &value]);
        };
        row("requests", self.requests.to_string());
        row("  refused for good", self.refused.to_string());
        row("  HTTP requests sent for them", self.sent.to_string());
        row(
            "kills of the service (SIGKILL)",
            self.kills.values().sum::<usize>().to_string(),
        );
        for (at, count) in &self.kills {
            row(&format!("  {at}"), count.to_string());
        }
        row("attempts at an effect", self.attempts.to_string());
        if self.options.recipe == Recipe::Ours {
            row(
                "  answered from the receipt (replays)",
                self.replays.to_string(),
            );
        }
        row("effects in the database", self.effects.to_string());
        row("sum of balances before", self.sum_before.to_string());
        row("sum of balances after", self.sum_after.to_string());
        row("transactions in doubt", self.in_doubt.to_string());
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
        let (recipe, seed) = (self.options.recipe.name(), self.options.seed);
        if self.anomalies.is_empty() {
            let requests = self.requests;
            write!(
                f,
                "PASSED: recipe {recipe}, seed {seed}: {requests} requests, 0 anomalies"
            )
        } else {
            let anomalies = self.anomalies.len();
            write!(
                f,
                "FAILED: recipe {recipe}, seed {seed}: {anomalies} anomalies"
            )
        }
    }
}

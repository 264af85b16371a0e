//! What a run found, as a table and a verdict.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::{
    audit::{Anomaly, Kind},
    driver::DemoOptions,
    killer::Kills,
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
    /// How many orders there were.
    pub orders: usize,
    /// How many of them the stock refused.
    pub refused: usize,
    /// How many HTTP requests the clients sent for them.
    pub sent: u64,
    /// How often what was killed.
    pub kills: Kills,
    /// How many effects were answered from an earlier attempt's receipt.
    pub replays: u64,
    /// How many rows are in both databases.
    pub rows: usize,
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    /// The anomalies of each kind.
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
        row("orders", self.orders.to_string());
        row("  refused by the stock", self.refused.to_string());
        row("  HTTP requests sent for them", self.sent.to_string());
        let kills: usize = self.kills.values().sum();
        row("kills (SIGKILL)", kills.to_string());
        for (victim, count) in &self.kills {
            row(&format!("  {}", victim.words()), count.to_string());
        }
        row("rows in both databases", self.rows.to_string());
        row("effects answered by a receipt", self.replays.to_string());
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
        let (verdict, count) = match self.anomalies.len() {
            0 => ("PASSED", 0),
            count => ("FAILED", count),
        };
        let orders = self.orders;
        write!(
            f,
            "{verdict}: recipe {recipe}, seed {seed}: {orders} orders, {count} anomalies"
        )
    }
}

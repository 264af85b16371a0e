//! What a run found, as a table and a verdict.

use std::{collections::BTreeMap, fmt, time::Duration};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use super::{DemoOptions, killer::Kills};
use crate::audit::{Anomaly, Kind};

/// How many anomalies of a kind are reported in detail.
const EXAMPLES: usize = 5;

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was run.
    pub options: DemoOptions,
    /// How long the load took.
    pub took: Duration,
    /// How many different orders there were.
    pub orders: usize,
    /// How many of them were refused for good.
    pub refused: usize,
    /// How many of them no client waited for, and whose invocations were killed.
    pub abandoned: usize,
    /// How many HTTP requests the clients sent for them.
    pub sent: u64,
    /// How often what was killed, and where.
    pub kills: Kills,
    /// How many orders are in Postgres, in SQLite and in Redis.
    pub rows: [usize; 3],
    /// What was in doubt or locked when the load and the service had ended.
    pub before_sweep: Vec<String>,
    /// How many participants the one sweep has committed, and how many it has rolled back.
    pub swept: [u64; 2],
    /// What is in doubt or locked after the sweep.
    pub left_behind: Vec<String>,
    /// What is wrong.
    pub anomalies: Vec<Anomaly>,
}

impl Report {
    fn by_kind(&self) -> BTreeMap<Kind, Vec<&Anomaly>> {
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
        let list = |left: &[String]| match left {
            [] => "nothing".to_owned(),
            left => left.join("\n"),
        };
        let [postgres, sqlite, redis] = self.rows;
        let [committed, rolled_back] = self.swept;
        row("orders", self.orders.to_string());
        row("  refused for good", self.refused.to_string());
        row("  abandoned at the end", self.abandoned.to_string());
        row("  HTTP requests sent for them", self.sent.to_string());
        row(
            "kills during the load",
            self.kills.values().sum::<usize>().to_string(),
        );
        for (what, count) in &self.kills {
            row(&format!("  {what}"), count.to_string());
        }
        row("orders in Postgres", postgres.to_string());
        row("orders in SQLite", sqlite.to_string());
        row("orders in Redis", redis.to_string());
        row(
            "in doubt or locked, before the sweep",
            list(&self.before_sweep),
        );
        row(
            "one sweep: commits, rollbacks",
            format!("{committed}, {rolled_back}"),
        );
        row("in doubt or locked, after it", list(&self.left_behind));
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
        let (seed, orders, anomalies) = (self.options.seed, self.orders, self.anomalies.len());
        if anomalies == 0 {
            write!(
                f,
                "PASSED: seed {seed}: {orders} orders, all or none, 0 anomalies"
            )
        } else {
            write!(f, "FAILED: seed {seed}: {anomalies} anomalies")
        }
    }
}

//! Tables for the terminal: every case, then every target beside what was measured.

use std::fmt::Write as _;

use crate::results::{Report, Row};

/// Whether a target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By the median of the rounds.
    Reached,
    /// By the upper quartile only: closer than this run can tell apart.
    Close,
    /// Not even by the upper quartile.
    Short,
}

impl Verdict {
    /// As the tables print it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Close => "CLOSE",
            Self::Short => "SHORT",
        }
    }
}

/// How a row stands to its target; `None` if it has none.
#[must_use]
pub fn verdict(row: &Row) -> Option<Verdict> {
    let target = row.target?;
    Some(if row.ratio.median >= target {
        Verdict::Reached
    } else if row.ratio.upper >= target {
        Verdict::Close
    } else {
        Verdict::Short
    })
}

/// Every case with every number of callers.
pub(super) fn cases(report: &Report) -> String {
    if report.rows.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{} · {} · {} processors · {} rounds of 4 × {} s\n\n{:<44} {:>7} {:>18} {:>9} {:>9} {:>9} {:>6} {:>6} {:>16} {:>6}\n",
        report.adapter,
        report.settings,
        report.processors,
        report.rounds,
        report.seconds,
        "case",
        "callers",
        "ratio to floor",
        "p50 µs",
        "p99 µs",
        "floor p50",
        "trips",
        "syncs",
        "cpu µs (server)",
        "floor",
    );
    for callers in report.callers() {
        for row in report.rows.iter().filter(|row| row.callers == callers) {
            let _ = writeln!(text, "{}", line(row));
        }
        text.push('\n');
    }
    text
}

fn line(row: &Row) -> String {
    let count = |count: Option<f64>| count.map_or("–".to_owned(), |count| format!("{count:.2}"));
    let used = match (row.used, row.used_by_server) {
        (Some(used), Some(server)) => format!("{} ({})", number(used), number(server)),
        _ => "–".to_owned(),
    };
    let mark = match (row.disturbed, row.repeated) {
        (0, 0) => String::new(),
        (0, repeated) => format!("  ({repeated} repeated)"),
        (disturbed, _) => format!("  ({disturbed} disturbed)"),
    };
    format!(
        "{:<44} {:>7} {:>6} [{:>4}–{:>4}] {:>9.0} {:>9.0} {:>9.0} {:>6} {:>6} {:>16} {:>6}{mark}",
        row.case,
        row.callers,
        number(row.ratio.median),
        number(row.ratio.lower),
        number(row.ratio.upper),
        row.p50,
        row.p99,
        row.floor_p50,
        count(row.trips),
        count(row.syncs),
        used,
        row.floor_used.map_or("–".to_owned(), number),
    )
}

/// Three digits that count.
pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// Every target beside what was measured.
pub(super) fn targets(report: &Report) -> String {
    let mut text = String::new();
    for row in &report.rows {
        if let (Some(target), Some(verdict)) = (row.target, verdict(row)) {
            let _ = writeln!(
                text,
                "{:<44} {:>7} {:>9} {:>9}  {}",
                row.case,
                row.callers,
                format!("≥ {}", number(target)),
                number(row.ratio.median),
                verdict.word(),
            );
        }
        if let Some((other, p50)) = rival(report, row) {
            let quick = row.p99 < p50;
            let _ = writeln!(
                text,
                "{:<44} {:>7} {:>9} {:>9}  {}",
                format!("{}: p99 < p50 of {other}", row.case),
                row.callers,
                format!("< {p50:.0} µs"),
                format!("{:.0} µs", row.p99),
                if quick { "reached" } else { "SHORT" },
            );
        }
    }
    if text.is_empty() {
        return text;
    }
    format!(
        "{:<44} {:>7} {:>9} {:>9}\n{text}",
        "target", "callers", "wanted", "measured"
    )
}

/// The case that a row should be quicker than, and its p50.
pub(super) fn rival<'a>(report: &'a Report, row: &'a Row) -> Option<(&'a str, f64)> {
    let name = row.quicker_than.as_deref()?;
    Some((name, report.row(name, row.callers)?.p50))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Spread;

    fn row(median: f64, upper: f64) -> Row {
        Row {
            case: "grouped".to_owned(),
            callers: 32,
            ratio: Spread {
                median,
                lower: median,
                upper,
            },
            target: Some(2.3),
            p99: 900.0,
            quicker_than: Some("usual".to_owned()),
            ..Row::default()
        }
    }

    #[test]
    fn what_falls_short_is_marked() {
        assert_eq!(verdict(&row(2.4, 2.5)), Some(Verdict::Reached));
        assert_eq!(verdict(&row(2.2, 2.35)), Some(Verdict::Close));
        assert_eq!(verdict(&row(1.2, 1.4)), Some(Verdict::Short));
        let report = Report {
            rows: vec![row(1.2, 1.4)],
            ..Report::default()
        };
        assert!(targets(&report).contains("SHORT"));
        assert!(!targets(&report).contains("reached"));
    }

    #[test]
    fn a_p99_is_held_against_the_other_p50() {
        let usual = Row {
            case: "usual".to_owned(),
            callers: 32,
            p50: 1000.0,
            ..Row::default()
        };
        let mut report = Report {
            rows: vec![row(2.4, 2.5), usual],
            ..Report::default()
        };
        assert!(!targets(&report).contains("SHORT"));
        report.rows[1].p50 = 800.0;
        assert!(targets(&report).contains("SHORT"));
    }
}

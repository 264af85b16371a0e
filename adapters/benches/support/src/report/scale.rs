//! The table of costs by how much is stored.

use std::fmt::Write as _;

use super::table::number;
use crate::results::{Report, ScaleRow};

/// More than this, from the smallest to the largest, is growth.
pub(super) const LIMIT: f64 = 1.3;

pub(super) fn table(report: &Report) -> String {
    if report.scale.is_empty() {
        return String::new();
    }
    let mut text = format!(
        "{} by keys stored\n{:<28} {:>10} {:>9} {:>9} {:>9} {:>9} {:>10}\n",
        report.adapter, "case", "keys", "p50 µs", "p99 µs", "ratio", "growth", "bytes/key"
    );
    for row in &report.scale {
        let growth = growth(&report.scale, row);
        let bytes = row
            .bytes_per_key
            .map_or("–".to_owned(), |bytes| format!("{bytes:.0}"));
        let _ = writeln!(
            text,
            "{:<28} {:>10} {:>9.0} {:>9.0} {:>9} {:>9} {:>10}  {}",
            row.case,
            row.keys,
            row.p50,
            row.p99,
            if row.ratio > 0.0 {
                number(row.ratio)
            } else {
                "–".to_owned()
            },
            format!("{growth:.2}×"),
            bytes,
            if growth > LIMIT { "SHORT" } else { "" },
        );
    }
    text
}

/// The cost beside that of the first size; by the floor beside each where there is one, because
/// the machine may have changed meanwhile.
pub(super) fn growth(rows: &[ScaleRow], row: &ScaleRow) -> f64 {
    let Some(first) = rows.iter().find(|other| other.case == row.case) else {
        return 1.0;
    };
    if row.ratio > 0.0 {
        first.ratio / row.ratio
    } else {
        row.p50 / first.p50.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_reported_by_the_floor_where_there_is_one() {
        let row = |keys, p50, ratio| ScaleRow {
            keys,
            case: "one-shot".to_owned(),
            p50,
            ratio,
            ..ScaleRow::default()
        };
        let rows = [row(10_000, 100.0, 0.8), row(100_000, 400.0, 0.4)];
        assert!((growth(&rows, &rows[1]) - 2.0).abs() < 1e-9);
        let bare = [row(10_000, 100.0, 0.0), row(100_000, 400.0, 0.0)];
        assert!((growth(&bare, &bare[1]) - 4.0).abs() < 1e-9);
        let report = Report {
            scale: rows.to_vec(),
            ..Report::default()
        };
        assert!(table(&report).contains("SHORT"));
    }
}

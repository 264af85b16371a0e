//! One page with all adapters, in one file: nothing is loaded from elsewhere.

use std::fmt::Write as _;

use super::{
    plot::plot,
    scale::{LIMIT, growth},
    table::{Verdict, number, rival, verdict},
};
use crate::results::{Report, Row};

const STYLE: &str = include_str!("page.css");

/// The page.
pub(super) fn page(reports: &[Report]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>exactly-once: speed</title>\
         <style>{STYLE}</style><body><h1>Speed beside the bare write</h1>\
         <p>Each figure is the median, over the rounds, of operations of the case for one operation \
         of its floor (the bare write without any protection) measured in the slices right before \
         and after it; quartiles in brackets. <em>A/A</em> is the floor against itself: what noise \
         alone does. Trips and syncs are for one operation.</p>{}",
        plot(reports)
    );
    for report in reports {
        section(&mut html, report);
    }
    html.push_str("</body></html>\n");
    html
}

/// Text as HTML and SVG show it.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn section(html: &mut String, report: &Report) {
    let _ = write!(
        html,
        "<h2>{}</h2><p>{} · {} processors · {} rounds of 4 × {} s</p>",
        escape(&report.adapter),
        escape(&report.settings),
        report.processors,
        report.rounds,
        report.seconds
    );
    if !report.rows.is_empty() {
        html.push_str(
            "<table><thead><tr><th>case<th>callers<th>ratio<th>quartiles<th>target<th>p50 µs\
             <th>p99 µs<th>floor p50<th>floor p99<th>trips<th>syncs</thead>",
        );
        for callers in report.callers() {
            html.push_str("<tbody>");
            for row in report.rows.iter().filter(|row| row.callers == callers) {
                case(html, report, row);
            }
            html.push_str("</tbody>");
        }
        html.push_str("</table>");
    }
    scale(html, report);
    for note in &report.notes {
        let _ = write!(html, "<p>{}</p>", escape(note));
    }
}

fn case(html: &mut String, report: &Report, row: &Row) {
    let count = |count: Option<f64>| count.map_or("–".to_owned(), |count| format!("{count:.2}"));
    let mut target = match (row.target, verdict(row)) {
        (Some(target), Some(verdict)) => format!(
            "<td class=\"{}\">≥ {} {}",
            class(verdict),
            number(target),
            verdict.word().to_lowercase()
        ),
        _ => "<td>".to_owned(),
    };
    if let Some((other, p50)) = rival(report, row) {
        let verdict = if row.p99 < p50 { "reached" } else { "short" };
        let _ = write!(target, "; p99 below p50 of {}: {verdict}", escape(other));
    }
    let _ = write!(
        html,
        "<tr><th>{}<td>{}<td>{}<td>{}–{}{target}<td>{:.0}<td>{:.0}<td>{:.0}<td>{:.0}<td>{}<td>{}",
        escape(&row.case),
        row.callers,
        number(row.ratio.median),
        number(row.ratio.lower),
        number(row.ratio.upper),
        row.p50,
        row.p99,
        row.floor_p50,
        row.floor_p99,
        count(row.trips),
        count(row.syncs)
    );
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Reached => "reached",
        Verdict::Close => "close",
        Verdict::Short => "short",
    }
}

fn scale(html: &mut String, report: &Report) {
    if report.scale.is_empty() {
        return;
    }
    html.push_str(
        "<table><thead><tr><th>by keys stored<th>keys<th>p50 µs<th>p99 µs<th>ratio<th>growth\
         <th>bytes a key</thead><tbody>",
    );
    for row in &report.scale {
        let growth = growth(&report.scale, row);
        let class = if growth > LIMIT { "short" } else { "reached" };
        let _ = write!(
            html,
            "<tr><th>{}<td>{}<td>{:.0}<td>{:.0}<td>{}<td class=\"{class}\">{growth:.2}×<td>{}",
            escape(&row.case),
            row.keys,
            row.p50,
            row.p99,
            number(row.ratio),
            row.bytes_per_key
                .map_or("–".to_owned(), |bytes| format!("{bytes:.0}"))
        );
    }
    html.push_str("</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use clap::Parser as _;

    #[test]
    fn the_page_loads_nothing_and_shows_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options::parse_from(["bench", "--rounds", "3"]);
        let mut report = Report::new("redis", "appendfsync <always>", &options);
        report.rows.push(Row {
            case: "usual recipe".to_owned(),
            callers: 8,
            target: Some(0.9),
            ..Row::default()
        });
        report.save(folder.path()).unwrap();
        let all = Report::load_all(folder.path()).unwrap();
        assert_eq!(all, [report]);
        let page = page(&all);
        assert!(page.contains("usual recipe") && page.contains("class=\"short\""));
        assert!(page.contains("appendfsync &lt;always&gt;"));
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "the page has {outside}");
        }
    }
}

//! What a person at a terminal sees: a progress bar while it runs, a table after it.
//!
//! Off a terminal (in CI, in a pipe) there is no bar, and the lines are those of `cargo test`.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use libtest_mimic::{Arguments, ColorSetting};

use super::{CaseReport, PAGE, Report, Status};

/// The terminal during a run.
pub(crate) struct Screen {
    bar: Option<ProgressBar>,
    colors: bool,
}

impl Screen {
    /// Draws a bar when a person watches and asked for nothing else. The bar then replaces the
    /// line per test, which is written nowhere.
    pub(crate) fn open(arguments: &mut Arguments) -> Self {
        let watched = io::stdout().is_terminal() && io::stderr().is_terminal();
        let plain = arguments.list
            || arguments.quiet
            || arguments.nocapture
            || arguments.format.is_some()
            || arguments.logfile.is_some()
            || std::env::var_os("CI").is_some();
        let colors = match arguments.color.unwrap_or_default() {
            ColorSetting::Always => true,
            ColorSetting::Never => false,
            ColorSetting::Auto => {
                io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
            }
        };
        if !watched || plain {
            return Self { bar: None, colors };
        }
        let nowhere = if cfg!(windows) { "NUL" } else { "/dev/null" };
        arguments.logfile = Some(nowhere.to_owned());
        let bar = ProgressBar::no_length();
        let template = "{elapsed_precise} {bar:32.green/dim} {pos}/{len} {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self {
            bar: Some(bar),
            colors,
        }
    }

    /// Says how many trials will run.
    pub(crate) fn expect(&self, count: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    /// Takes note of a finished trial; a failure is shown at once.
    pub(crate) fn finished(&self, case: &CaseReport) {
        let Some(bar) = &self.bar else { return };
        if case.status == Status::Failed {
            let failed = self.paint(Status::Failed, "FAILED");
            bar.println(format!("{failed} {}\n{}", case.name, case.failure_text()));
        }
        bar.set_message(case.name.clone());
        bar.inc(1);
    }

    /// Removes the bar.
    pub(crate) fn close(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn paint(&self, status: Status, text: &str) -> String {
        let code = match status {
            Status::Passed => 32,
            Status::Failed => 31,
            Status::Ignored => 33,
        };
        if self.colors {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Prints the table of topics, then what was ignored and why, and where the page is.
pub(crate) fn print_summary(report: &Report, dir: Option<&Path>, screen: &Screen) {
    let text = summary(report, dir, screen);
    // A closed pipe (`| head`) is no reason to fail a run.
    let _ = io::stdout().write_all(text.as_bytes());
}

fn summary(report: &Report, dir: Option<&Path>, screen: &Screen) -> String {
    if report.cases.is_empty() {
        return String::new();
    }
    let mut text = table(report, screen);
    let reasons = ignore_reasons(report);
    if !reasons.is_empty() {
        text.push_str("\nignored, because:\n");
        for (reason, names) in reasons {
            let ignored = screen.paint(Status::Ignored, &reason);
            text.push_str(&format!("  {ignored}: {}\n", names.join(", ")));
        }
    }
    let failed: Vec<_> = report
        .cases
        .iter()
        .filter(|case| case.status == Status::Failed)
        .collect();
    if screen.bar.is_some() && !failed.is_empty() {
        text.push_str("\nfailed:\n");
        for case in failed {
            text.push_str(&format!("  {}\n", screen.paint(Status::Failed, &case.name)));
        }
    }
    text.push_str(&common_causes(report));
    if !report.not_offered.is_empty() {
        text.push_str(
            "\ntopics that this adapter does not run, so nothing is proven about them:\n",
        );
        for topic in &report.not_offered {
            text.push_str(&format!("  {topic}\n"));
        }
    }
    if let Some(dir) = dir {
        text.push_str(&format!("\nreport: {}\n", dir.join(PAGE).display()));
    }
    text.push('\n');
    text
}

/// From how many cases on an equal failure is worth a line of its own.
const COMMON_MIN: usize = 3;

/// Failures that many cases share: one server that is down fails them all, and none of them is the place
/// to look.
fn common_causes(report: &Report) -> String {
    let mut seen: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in &report.cases {
        if let Some(failure) = &case.failure {
            let ids = seen.entry(failure.seen.as_str()).or_default();
            if !ids.contains(&case.id.as_str()) {
                ids.push(&case.id);
            }
        }
    }
    let mut text = String::new();
    for (seen, ids) in seen.iter().filter(|(_, ids)| ids.len() >= COMMON_MIN) {
        let seen = seen.replace('\n', "\n  ");
        text.push_str(&format!(
            "\n{} cases failed alike, so look for one cause first:\n  {seen}\n  in {}\n",
            ids.len(),
            ids.join(", "),
        ));
    }
    text
}

#[derive(Clone, Copy, Default)]
struct Row {
    passed: usize,
    failed: usize,
    ignored: usize,
    duration_ms: f64,
}

impl Row {
    fn add(&mut self, case: &CaseReport) {
        match case.status {
            Status::Passed => self.passed += 1,
            Status::Failed => self.failed += 1,
            Status::Ignored => self.ignored += 1,
        }
        self.duration_ms += case.duration_ms;
    }
}

fn table(report: &Report, screen: &Screen) -> String {
    let mut rows: Vec<(&str, Row)> = Vec::new();
    let mut total = Row::default();
    for case in &report.cases {
        let at = match rows.iter().position(|(topic, _)| *topic == case.topic()) {
            Some(at) => at,
            None => {
                rows.push((case.topic(), Row::default()));
                rows.len() - 1
            }
        };
        rows[at].1.add(case);
        total.add(case);
    }
    rows.push(("all", total));
    let width = rows
        .iter()
        .map(|(topic, _)| topic.len())
        .chain([report.adapter.len()])
        .max();
    let width = width.unwrap_or_default();
    let mut text = format!(
        "{:width$}  {:>7} {:>7} {:>7} {:>9}\n",
        report.adapter, "passed", "failed", "ignored", "seconds",
    );
    for (topic, row) in rows {
        let cell = |status, count: usize| {
            let padded = format!("{count:>7}");
            if count == 0 {
                format!("{:>7}", "·")
            } else {
                screen.paint(status, &padded)
            }
        };
        text.push_str(&format!(
            "{topic:width$}  {} {} {} {:>9.2}\n",
            cell(Status::Passed, row.passed),
            cell(Status::Failed, row.failed),
            cell(Status::Ignored, row.ignored),
            row.duration_ms / 1_000.0,
        ));
    }
    text
}

fn ignore_reasons(report: &Report) -> BTreeMap<String, Vec<String>> {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in report
        .cases
        .iter()
        .filter(|case| case.status == Status::Ignored)
    {
        let reason = case.ignore_reason.clone().unwrap_or_default();
        let ids = reasons.entry(reason).or_default();
        // Both variants of a case are ignored for the same reason: its id once is enough.
        if !ids.contains(&case.id) {
            ids.push(case.id.clone());
        }
    }
    reasons
}

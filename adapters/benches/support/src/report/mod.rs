//! What people read: tables in the terminal, and one page with all adapters.

mod page;
mod plot;
mod scale;
mod table;

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

pub use plot::plot;
pub use table::{Verdict, verdict};

use crate::results::Report;

/// Prints a report, saves it, and makes the page of all reports in the folder.
///
/// # Errors
/// When something can't be written.
#[allow(clippy::print_stdout)]
pub fn publish(report: &Report, folder: &Path) -> Result<()> {
    print!("{}", text(report));
    let file = report.save(folder)?;
    let all = Report::load_all(folder)?;
    let page = folder.join("bench.html");
    fs::write(&page, page::page(&all))
        .with_context(|| format!("can't write {}", page.display()))?;
    let image = folder.join("bench.svg");
    fs::write(&image, plot(&all)).with_context(|| format!("can't write {}", image.display()))?;
    println!(
        "{}\n{}\n{}",
        file.display(),
        page.display(),
        image.display()
    );
    Ok(())
}

/// The tables of a report.
#[must_use]
pub fn text(report: &Report) -> String {
    [
        table::cases(report),
        table::targets(report),
        scale::table(report),
        notes(report),
    ]
    .into_iter()
    .filter(|part| !part.is_empty())
    .map(|part| part + "\n")
    .collect()
}

fn notes(report: &Report) -> String {
    report
        .notes
        .iter()
        .map(|note| format!("{note}\n"))
        .collect()
}

//! Merges the reports of a folder into one page: `conformance-report DIR`.
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::process::ExitCode;

use exactly_once_conformance::report::{Status, merge, write_page};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(dir), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        eprintln!("usage: conformance-report DIR\n\nDIR holds the JSON files of one or more runs.");
        return ExitCode::from(2);
    };
    match merge(&dir).and_then(|reports| Ok((reports, write_page(&dir)?))) {
        Ok((reports, page)) => {
            for report in reports {
                println!(
                    "{}: {} passed, {} failed, {} ignored",
                    report.adapter,
                    report.count(Status::Passed),
                    report.count(Status::Failed),
                    report.count(Status::Ignored),
                );
            }
            println!("{}", page.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("conformance-report: {error}");
            ExitCode::from(2)
        }
    }
}

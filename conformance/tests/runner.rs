//! The runner, seen from outside: a small suite with every ending a case can have is run as a
//! child process, and its exit codes, its output and its files are checked.
//!
//! This target is its own child: with `MINI_SUITE` set it *is* the small suite.

#![allow(clippy::unwrap_used)]

#[path = "runner/files.rs"]
mod files;
#[path = "runner/mini_suite.rs"]
mod mini_suite;
#[path = "runner/process.rs"]
mod process;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

type Check = fn() -> Result<(), String>;

const CHECKS: &[(&str, Check)] = &[
    (
        "a_passing_run_exits_with_0",
        process::a_passing_run_exits_with_0,
    ),
    (
        "a_failing_run_exits_with_101",
        process::a_failing_run_exits_with_101,
    ),
    (
        "a_failure_tells_all_it_knows",
        process::a_failure_tells_all_it_knows,
    ),
    (
        "an_error_keeps_its_sources",
        process::an_error_keeps_its_sources,
    ),
    (
        "a_panic_is_a_failure_with_its_message",
        process::a_panic_is_a_failure_with_its_message,
    ),
    (
        "a_case_that_hangs_is_stopped",
        process::a_case_that_hangs_is_stopped,
    ),
    (
        "an_ignored_case_prints_its_reason",
        process::an_ignored_case_prints_its_reason,
    ),
    (
        "list_names_each_case_and_runs_none",
        process::list_names_each_case_and_runs_none,
    ),
    (
        "list_ignored_names_only_the_ignored",
        process::list_ignored_names_only_the_ignored,
    ),
    (
        "filters_exact_and_skip_work",
        process::filters_exact_and_skip_work,
    ),
    (
        "equal_failures_are_grouped",
        process::equal_failures_are_grouped,
    ),
    (
        "cases_run_in_parallel_unless_told",
        process::cases_run_in_parallel_unless_told,
    ),
    (
        "the_seed_decides_what_a_case_draws",
        process::the_seed_decides_what_a_case_draws,
    ),
    (
        "a_wrong_option_is_refused",
        process::a_wrong_option_is_refused,
    ),
    (
        "two_cases_of_one_name_are_refused",
        process::two_cases_of_one_name_are_refused,
    ),
    ("json_holds_every_result", files::json_holds_every_result),
    ("junit_holds_every_result", files::junit_holds_every_result),
    (
        "the_page_is_self_contained",
        files::the_page_is_self_contained,
    ),
    (
        "the_page_holds_all_adapters",
        files::the_page_holds_all_adapters,
    ),
    (
        "what_nextest_runs_apart_is_merged",
        files::what_nextest_runs_apart_is_merged,
    ),
    (
        "a_folder_with_something_else_is_refused",
        files::a_folder_with_something_else_is_refused,
    ),
    (
        "a_report_that_cannot_be_written_fails",
        files::a_report_that_cannot_be_written_fails,
    ),
    (
        "the_merging_command_says_where_the_page_is",
        files::the_merging_command_says_where_the_page_is,
    ),
];

fn main() -> ExitCode {
    if let Ok(adapter) = std::env::var(process::MINI_SUITE) {
        return mini_suite::run(&adapter);
    }
    let trials = CHECKS
        .iter()
        .map(|(name, check)| Trial::test(*name, move || check().map_err(Into::into)))
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

//! Exit codes and output.

use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) const MINI_SUITE: &str = "MINI_SUITE";

/// What a child printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
}

/// Runs the small suite with these arguments, in an environment of its own.
pub(crate) fn mini(arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    mini_as("mini", arguments, environment)
}

pub(crate) fn mini_as(adapter: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // The run of *this* test may have set any of these.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("EXACTLY_ONCE_") || name.starts_with("NEXTEST") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(arguments)
        .env(MINI_SUITE, adapter)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let out = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    Ran {
        code: output.status.code().unwrap_or(-1),
        out,
    }
}

pub(crate) fn in_dir(dir: &Path) -> [(&'static str, &str); 1] {
    [("EXACTLY_ONCE_REPORT_DIR", dir.to_str().unwrap())]
}

impl Ran {
    pub(crate) fn exits(&self, code: i32) -> Result<(), String> {
        if self.code == code {
            return Ok(());
        }
        Err(format!(
            "exit code {}, wanted {code}, output:\n{}",
            self.code, self.out
        ))
    }

    pub(crate) fn says(&self, text: &str) -> Result<(), String> {
        if self.out.contains(text) {
            return Ok(());
        }
        Err(format!("{text:?} is not in the output:\n{}", self.out))
    }

    pub(crate) fn says_not(&self, text: &str) -> Result<(), String> {
        if !self.out.contains(text) {
            return Ok(());
        }
        Err(format!("{text:?} is in the output:\n{}", self.out))
    }
}

pub(crate) fn a_passing_run_exits_with_0() -> Result<(), String> {
    let ran = mini(&["mini::good"], &[]);
    ran.exits(0)?;
    ran.says("test typed::mini::good::m01_draws")?;
    ran.says("2 passed; 0 failed; 0 ignored; 0 measured; 14 filtered out")
}

pub(crate) fn a_failing_run_exits_with_101() -> Result<(), String> {
    let ran = mini(&[], &[]);
    ran.exits(101)?;
    ran.says("4 passed; 8 failed; 4 ignored")?;
    // One line per topic, from the summary.
    ran.says("mini::bad")?;
    ran.says("      ·       8       ·")
}

pub(crate) fn a_failure_tells_all_it_knows() -> Result<(), String> {
    let ran = mini(
        &["m02"],
        &[
            ("EXACTLY_ONCE_SEED", "99"),
            ("CARGO_PKG_NAME", "some-package"),
        ],
    );
    ran.exits(101)?;
    for text in [
        "M02 on mini, typed",
        "goal         sums",
        "expected     the sum of 1 and 2 <&> to be 4",
        "seen         3",
        "last step    adding",
        "likely cause off by one",
        "contract     design §0, Mini",
        "mini_suite.rs:",
        "EXACTLY_ONCE_SEED=99 cargo test -p some-package --test runner -- \
         --exact typed::mini::bad::m02_wrong_sum",
    ] {
        ran.says(text)?;
    }
    Ok(())
}

pub(crate) fn an_error_keeps_its_sources() -> Result<(), String> {
    let ran = mini(&["m03"], &[]);
    ran.exits(101)?;
    ran.says("expected     the store to answer")?;
    ran.says("error: the store is away")?;
    ran.says("caused by: nobody listens")
}

pub(crate) fn a_panic_is_a_failure_with_its_message() -> Result<(), String> {
    let ran = mini(&["m04"], &[]);
    ran.exits(101)?;
    ran.says("a panic: the answer was None")?;
    ran.says("last step    about to panic")?;
    ran.says("checked at   ")?;
    ran.says_not("thread '")
}

pub(crate) fn a_case_that_hangs_is_stopped() -> Result<(), String> {
    let ran = mini(&["m05"], &[]);
    ran.exits(101)?;
    ran.says("no end within 200ms")?;
    ran.says("EXACTLY_ONCE_CASE_TIMEOUT")?;
    ran.says_not("likely cause")?;
    ran.says("last step    waiting for a lock")
}

pub(crate) fn an_ignored_case_prints_its_reason() -> Result<(), String> {
    let ran = mini(&["m06"], &[]);
    ran.exits(0)?;
    ran.says("ignored (this adapter declares no moon)")?;
    ran.says("0 passed; 0 failed; 2 ignored")?;
    ran.says("  this adapter declares no moon: M06")?;
    let at_run_time = mini(&["m08"], &[]);
    at_run_time.exits(0)?;
    at_run_time.says("ignored (this server turned out to have no tides)")?;
    at_run_time.says("  this server turned out to have no tides: M08")?;
    // Asked to run what is ignored, it still can't, and still says why.
    for argument in ["--ignored", "--include-ignored"] {
        let ran = mini(&["m06", argument], &[]);
        ran.exits(0)?;
        ran.says("ignored (this adapter declares no moon)")?;
    }
    Ok(())
}

pub(crate) fn list_names_each_case_and_runs_none() -> Result<(), String> {
    let ran = mini(&["--list", "--format", "terse"], &[]);
    ran.exits(0)?;
    let listed: Vec<_> = ran
        .out
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect();
    if listed.len() != 16 || listed.iter().any(|name| name.contains(' ')) {
        return Err(format!("listed {listed:?}"));
    }
    ran.says("typed::mini::bad::m05_hangs: test")?;
    ran.says("erased::mini::left::m06_needs_a_moon: test")?;
    ran.says_not("draw ")
}

pub(crate) fn list_ignored_names_only_the_ignored() -> Result<(), String> {
    let ran = mini(&["--list", "--format", "terse", "--ignored"], &[]);
    ran.exits(0)?;
    ran.says("typed::mini::left::m06_needs_a_moon: test")?;
    ran.says_not("m01_draws")
}

pub(crate) fn filters_exact_and_skip_work() -> Result<(), String> {
    let exact = mini(&["--exact", "typed::mini::good::m01_draws"], &[]);
    exact.exits(0)?;
    exact.says("1 passed; 0 failed; 0 ignored; 0 measured; 15 filtered out")?;
    let skipped = mini(&["--skip", "bad", "--skip", "typed", "--skip", "meet"], &[]);
    skipped.exits(0)?;
    skipped.says("1 passed; 0 failed; 2 ignored")?;
    let nothing = mini(&["--exact", "m01_draws"], &[]);
    nothing.exits(0)?;
    nothing.says("0 passed")?;
    let two = mini(&["typed::mini::good", "--skip", "none", "m08"], &[]);
    two.exits(0)?;
    two.says("1 passed; 0 failed; 2 ignored")
}

pub(crate) fn equal_failures_are_grouped() -> Result<(), String> {
    let ran = mini(&[], &[("MINI_SUITE_DOWN", "1")]);
    ran.exits(101)?;
    ran.says("4 cases failed alike, so look for one cause first:")?;
    ran.says("in M03, D01, D02, D03")?;
    ran.says_not("likely cause the server is down")
}

pub(crate) fn cases_run_in_parallel_unless_told() -> Result<(), String> {
    mini(&["m07"], &[]).exits(0)?;
    let alone = mini(&["m07", "--test-threads", "1"], &[]);
    alone.exits(101)?;
    alone.says("another case at the same time")
}

pub(crate) fn the_seed_decides_what_a_case_draws() -> Result<(), String> {
    let drawn = |seed: &str, filter: &str| -> Vec<String> {
        let ran = mini(&[filter], &[("EXACTLY_ONCE_SEED", seed)]);
        let mut lines: Vec<_> = ran
            .out
            .lines()
            .filter(|line| line.contains("draw "))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let both = drawn("5", "m01");
    let alone = drawn("5", "typed::mini::good::m01");
    if both.len() != 2 || !both.iter().any(|line| line.ends_with(alone[0].trim())) {
        return Err(format!("{both:?} among others, {alone:?} alone"));
    }
    if both == drawn("6", "m01") {
        return Err("another seed draws the same".to_owned());
    }
    Ok(())
}

pub(crate) fn a_wrong_option_is_refused() -> Result<(), String> {
    let ran = mini(&[], &[("EXACTLY_ONCE_SEED", "lucky")]);
    ran.exits(2)?;
    ran.says("EXACTLY_ONCE_SEED=\"lucky\"")
}

pub(crate) fn two_cases_of_one_name_are_refused() -> Result<(), String> {
    let ran = mini(&[], &[("MINI_SUITE_TWICE", "1")]);
    ran.exits(2)?;
    ran.says("two trials are named typed::mini::good::m01_draws")
}

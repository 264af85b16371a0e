//! Goal: each pattern ends with one effect and the right answer, whatever crash point its process
//! dies at; the usual recipe does what the page says; and restarted as new from any of its steps,
//! a pattern does what the page says.
//!
//! Method: a process for each pattern on one real Restate server, aborted at each point. The rows
//! of `PATTERNS.md` are compared with what was seen.

use std::{
    fmt::{Debug, Display},
    sync::{Arc, OnceLock},
};

use anyhow::{Result, ensure};
use exactly_once_patterns::{
    driver::{Seen, Servers, Service, crash, restarts},
    patterns::{Pattern, Way},
};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

const PAGE: &str = include_str!("../PATTERNS.md");

/// Started by the first test that runs: to list tests takes no server.
#[derive(Default)]
struct World(OnceLock<Result<(Runtime, Servers), String>>);

impl World {
    fn run<F: AsyncFnOnce(&Servers) -> Result<()>>(&self, test: F) -> Result<(), Failed> {
        let start = || {
            let runtime = Runtime::new().map_err(|error| error.to_string())?;
            let program = env!("CARGO_BIN_EXE_patterns-service").into();
            let servers = runtime.block_on(Servers::start(program));
            Ok((runtime, servers.map_err(|error| format!("{error:#}"))?))
        };
        let (runtime, servers) = self.0.get_or_init(start).as_ref()?;
        runtime
            .block_on(test(servers))
            .map_err(|error| format!("{error:#}").into())
    }
}

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for processes most of the time.
    arguments.test_threads.get_or_insert(Pattern::ALL.len() * 2);
    let world = Arc::new(World::default());
    let mut trials = Vec::new();
    for pattern in Pattern::ALL {
        for way in [Way::Recipe, Way::Ours] {
            let (world, name) = (world.clone(), format!("{}::{}", pattern.word(), way.word()));
            trials.push(Trial::test(name, move || {
                world.run(async |servers| holds(servers, pattern, way).await)
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end before the process does.
    drop(world);
    conclusion.exit_code()
}

async fn holds(servers: &Servers, pattern: Pattern, way: Way) -> Result<()> {
    let service = Service::start(servers, pattern, way).await?;
    let rows = crash(&service).await?;
    for row in &rows {
        let right = row.cells().iter().all(Seen::is_right);
        ensure!(way == Way::Recipe || right, "{row:?}");
        on_the_page(row)?;
    }
    if way == Way::Ours {
        let restarts = restarts(&service).await?;
        ensure!(restarts.len() > 1, "{restarts:?}");
        restarts.iter().try_for_each(on_the_page)?;
    }
    Ok(())
}

fn on_the_page(row: &(impl Debug + Display)) -> Result<()> {
    let line = row.to_string();
    let there = PAGE.lines().any(|there| there == line);
    ensure!(
        there,
        "not in PATTERNS.md (`./dev demo patterns` prints its tables):\n{line}\n{row:?}"
    );
    Ok(())
}

//! Goal: each pattern ends with one effect and the right answer, whatever crash point its process
//! dies at; the usual recipe does what the page says; and restarted as new from any of its steps,
//! a pattern does what the page says.
//!
//! Method: a process for each pattern on one real Restate server, aborted at each point. The rows
//! of `PATTERNS.md` are compared with what was seen.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use anyhow::{Result, ensure};
use exactly_once_patterns::{
    driver::{Servers, Service, crash},
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
        ensure!(way == Way::Recipe || right(row), "{row:?}");
        let line = row.to_string();
        ensure!(
            PAGE.lines().any(|there| there == line),
            "PATTERNS.md has no such row; `./dev demo patterns` prints all of them:\n{line}\n{row:?}"
        );
    }
    if way == Way::Ours {
        is_restarted(&service).await?;
    }
    Ok(())
}

fn right(row: &exactly_once_patterns::table::Row) -> bool {
    row.cells().iter().all(|seen| seen.is_right())
}

/// What each restart does: from which entry on the effect is the same one.
async fn is_restarted(service: &Service<'_>) -> Result<()> {
    let (invocation, seen) = service.plain("whole").await?;
    ensure!(seen.is_right(), "{seen:?}");
    let journal = service.journal(&invocation).await?;
    let mut effects = BTreeMap::new();
    let mut before = seen.effects;
    for (entry, name) in &journal {
        let seen = service.restart(&invocation, "whole", *entry).await?;
        effects.insert(*entry, (name, seen.effects - before, seen.answer));
        before = seen.effects;
    }
    anyhow::bail!("{effects:#?}")
}

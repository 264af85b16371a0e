//! Activities under each thing that Temporal does to them, on a real server.
//!
//! Each case asserts the rows in SQLite and what the workflow saw; where another recipe fails, the
//! case shows that beside ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod database;
mod effects;
mod forms;
mod ground;
mod identity;
mod pitfalls;
mod python;
mod scenario;
mod worker;

use std::{process::ExitCode, sync::Arc};

use anyhow::{Result, ensure};
use exactly_once_servers::Temporal;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Handle;

use crate::{ground::POST, worker::Post};

/// A case: its name, and what it does.
type Case = (&'static str, Run);
type Run = Box<dyn FnOnce(Arc<Temporal>, &'static str) -> BoxedRun + Send>;
type BoxedRun = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Names the cases after their functions.
macro_rules! cases {
    ($($case:ident),* $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::Case> {
            vec![$((
                stringify!($case),
                Box::new(|server, queue| Box::pin($case(server, queue))),
            )),*]
        }
    };
}
use cases;

fn main() -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    if let Ok(post) = std::env::var(POST) {
        let post: Post = serde_json::from_str(&post)?;
        runtime.block_on(post.work(std::future::pending()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut arguments = Arguments::from_args();
    // They wait for the server most of the time; it answers few at once.
    arguments.test_threads.get_or_insert(6);
    let cases = [
        identity::cases(),
        pitfalls::cases(),
        effects::cases(),
        python::cases(),
    ];
    let cases: Vec<Case> = cases.into_iter().flatten().collect();
    ensure!(!cases.is_empty());
    let server = match arguments.list {
        true => None,
        false => Some(Arc::new(runtime.block_on(Temporal::start())?)),
    };
    let trials = cases
        .into_iter()
        .map(|(name, run)| trial(name, run, server.clone(), runtime.handle().clone()))
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(server) = server {
        runtime.block_on(server.stop())?;
    }
    Ok(conclusion.exit_code())
}

fn trial(name: &'static str, run: Run, server: Option<Arc<Temporal>>, runtime: Handle) -> Trial {
    Trial::test(name, move || {
        let server = server.ok_or("a list needs no server")?;
        let case = runtime.spawn(run(server, name));
        match runtime.block_on(case) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failed::from(format!("{error:#}"))),
            Err(panic) => Err(Failed::from(panic.to_string())),
        }
    })
}

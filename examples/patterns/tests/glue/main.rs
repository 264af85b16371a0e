//! The glue on one real Restate server: every method on each of the five contexts with a lost reply
//! each, the services to bind, and how invocations and listeners end.

// The SDK generates clients without documentation.
#![allow(missing_docs)]

mod accounts;
mod bench;
mod deployed;
mod ends;
mod matrix;
mod schedules;
mod shutdown;

use std::sync::{Arc, OnceLock};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

use bench::Bench;

/// Started by the first test that runs: to list tests takes no server.
#[derive(Default)]
struct World(OnceLock<Result<(Runtime, Bench), String>>);

impl World {
    fn run<F: AsyncFnOnce(&Bench) -> Result<()>>(&self, test: F) -> Result<(), Failed> {
        let start = || {
            let runtime = Runtime::new().map_err(|error| error.to_string())?;
            let bench = runtime.block_on(Bench::start());
            Ok((runtime, bench.map_err(|error| format!("{error:#}"))?))
        };
        let (runtime, bench) = self.0.get_or_init(start).as_ref()?;
        runtime
            .block_on(test(bench))
            .map_err(|error| format!("{error:#}").into())
    }
}

macro_rules! trials {
    ($world:ident: $($module:ident::$test:ident),* $(,)?) => {
        vec![$({
            let world = $world.clone();
            let name = concat!(stringify!($module), "::", stringify!($test));
            Trial::test(name, move || world.run($module::$test))
        }),*]
    };
}

fn main() -> std::process::ExitCode {
    let mut arguments = Arguments::from_args();
    // They wait for Restate most of the time.
    arguments.test_threads.get_or_insert(8);
    let world = Arc::new(World::default());
    let trials = trials![world:
        matrix::every_method_on_every_context_survives_a_lost_reply,
        schedules::keys_expire_and_the_schedule_does_not_multiply,
        schedules::what_is_in_doubt_is_swept_and_forgotten,
        schedules::a_schedule_that_makes_no_sense_is_refused,
        accounts::an_account_is_changed_once_and_refuses_what_it_must,
        deployed::one_more_optional_field_is_no_mismatch,
        ends::work_longer_than_the_abort_timeout_never_commits_halfway,
        ends::a_cancel_in_the_middle_of_the_work_leaves_the_key_usable,
        shutdown::what_is_in_flight_ends_and_the_port_is_closed_at_once,
        shutdown::what_does_not_end_is_given_back,
    ];
    let conclusion = libtest_mimic::run(&arguments, trials);
    // The servers end before the process does.
    drop(world);
    conclusion.exit_code()
}

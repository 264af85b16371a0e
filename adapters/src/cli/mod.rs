//! The command `exactly-once`, for people on call (feature `cli`).
//!
//! ```text
//! export EXACTLY_ONCE_URL=postgres://…        credentials stay out of the process list
//! export EXACTLY_ONCE_STORES=stores.txt        one NAME=URL a line: all stores of two-phase commits
//! exactly-once doctor                          what is wrong, each with its remedy
//! exactly-once in-doubt list                   what waits for a decision
//! exactly-once in-doubt show DIGEST            its state at each store, and what to do
//! exactly-once in-doubt resolve DIGEST         ends it, as its register says
//! exactly-once in-doubt sweep                  ends all that is past its deadline
//! exactly-once in-doubt settle DIGEST …        the way out of a heuristic outcome
//! exactly-once in-doubt forget                 removes records past `forget_after`
//! exactly-once adopt                           gives a restored copy an identity of its own
//! exactly-once key show KEY                    the state of an idempotency key
//! exactly-once account history ACCOUNT         every change, oldest first
//! exactly-once serve --config effects.toml     named effects for other languages (feature `serve`)
//! ```
//!
//! Exit codes: 0 done, or all is well; 1 something needs you, or what was asked for is not there; 2
//! refused or failed. With `--json` one JSON value is printed, also for an error. What can't be undone
//! asks, unless `--yes` is given.
//!
//! Commands that read open what is there and make nothing; only `migrate` creates. `in-doubt` acts on
//! a transaction only if the register that it names, by identity, is among the stores given.
//!
//! # Layout
//! - `arguments`: the arguments; `stores`: the stores that they name.
//! - `doctor`: findings and remedies, per backend.
//! - `keys`, `accounts`, `in_doubt`, `adopt`: the commands.
//! - `output`: lines, tables and JSON; `escape`: what a terminal must not obey.

mod accounts;
mod adopt;
mod arguments;
mod doctor;
mod escape;
mod in_doubt;
mod keys;
mod output;
mod stores;

use std::process::ExitCode;

use clap::Parser;

use crate::{Error, ErrorKind, Store, connect::Access};
use arguments::{Arguments, Command};
#[cfg(feature = "serve")]
pub(crate) use escape::plain;
use output::{Answer, Output, confirm};
use stores::{Given, Where};

/// Runs the command with the arguments of this process.
pub async fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misspelt(&error),
    };
    let output = Output::new(arguments.json);
    match run(arguments).await {
        Ok(answer) => {
            output.print(&answer);
            ExitCode::from(answer.exit_code())
        }
        Err(error) => {
            output.fail(&error);
            ExitCode::from(2)
        }
    }
}

/// `--help` and `--version` arrive here too.
fn misspelt(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let text = text.trim_start_matches("error: ").trim();
        Output::new(true).print_error("invalid", text);
    } else {
        // A reader that has gone is no reason to fail.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

async fn run(arguments: Arguments) -> Result<Answer, Error> {
    let stores = arguments.stores;
    match arguments.command {
        Command::Doctor { max_age } => doctor::examine(&stores.url()?.1, max_age).await,
        Command::Migrate { sure } => migrate(&stores, sure.yes).await,
        Command::InDoubt(command) => {
            let mut stores = stores.all(command.access()).await?;
            let answer = Box::pin(in_doubt::run(&mut stores, command)).await;
            stores.close().await;
            answer
        }
        Command::Adopt {
            leave_in_doubt,
            sure,
        } => {
            let (given, url) = (stores.one(Access::Existing).await?, stores.url()?.1);
            let answer = adopt::adopt(&given, &url, leave_in_doubt, sure.yes).await;
            closed(given, answer).await
        }
        Command::Key(command) => {
            let given = stores.one(command.access()).await?;
            let answer = keys::run(&given, command).await;
            closed(given, answer).await
        }
        Command::Expire { limit, sure } => {
            let given = stores.one(Access::Existing).await?;
            let answer = keys::expire(&given, limit, sure.yes).await;
            closed(given, answer).await
        }
        #[cfg(feature = "serve")]
        Command::Serve(serve) => Ok(match crate::serve::run(*serve).await? {
            crate::serve::Done::Said(text) => Answer::said(text),
            crate::serve::Done::Text(text) => Answer::text(text),
        }),
        Command::Account(command) => {
            let given = stores.one(Access::Read).await?;
            let answer = accounts::run(&given, command).await;
            closed(given, answer).await
        }
    }
}

async fn closed(given: Given, answer: Result<Answer, Error>) -> Result<Answer, Error> {
    // What the command has done stands, also where the connections can't be closed in order.
    let _ = given.store.close().await;
    answer
}

/// Where the tables are there already, nothing is asked and nothing is done.
async fn migrate(stores: &Where, yes: bool) -> Result<Answer, Error> {
    let there = |given: Given, what: &'static str| async move {
        let answer = Answer::said(what).fact("store", given.shown.as_str());
        closed(given, Ok(answer)).await
    };
    match stores.one(Access::Existing).await {
        Ok(given) => there(given, "the tables are there already").await,
        Err(error) if error.kind() == ErrorKind::Configuration => {
            let url = stores.url()?.1;
            let question = format!(
                "The tables of exactly-once will be made at {}.",
                stores::shown(&url)
            );
            confirm(&question, yes)?;
            let given = stores.one(Access::Create).await?;
            there(given, "the tables were made").await
        }
        Err(error) => Err(error),
    }
}

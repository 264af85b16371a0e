//! The command `exactly-once`, for people on call (feature `cli`).
//!
//! ```text
//! export EXACTLY_ONCE_URL=postgres://…        credentials stay out of the process list
//! exactly-once doctor                          what is wrong, each with its remedy
//! exactly-once in-doubt list                   what waits for a decision
//! exactly-once in-doubt resolve DIGEST --yes   ends it, as the register says
//! exactly-once in-doubt sweep                  ends all that is past its deadline, everywhere
//! exactly-once in-doubt forget                 removes records whose time is over
//! exactly-once key show KEY                    where an idempotency key stands
//! exactly-once account history ACCOUNT         every change, oldest first
//! ```
//!
//! Exit codes: 0 fine; 1 something was found, or is not there; 2 the command could not be run.
//! With `--json` one JSON value is printed, otherwise a table. What can't be undone asks, unless
//! `--yes` says so.
//!
//! # Layout
//! - `arguments`: what can be asked.
//! - `doctor`: findings and remedies, per backend.
//! - `keys`, `accounts`, `in_doubt`, `sweep`: the commands.
//! - `output`: tables and JSON.

mod accounts;
mod arguments;
mod doctor;
mod in_doubt;
mod keys;
mod output;
mod sweep;

use std::process::ExitCode;

use clap::Parser;

use crate::{AnyStore, ConnectByUrl, Error, Namespace, Store};
use arguments::{Arguments, Command};
use output::{Answer, Output};

/// Runs the command with the arguments of this process.
pub async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    match run(arguments).await {
        Ok(answer) => {
            output.print(&answer);
            ExitCode::from(u8::from(!answer.fine))
        }
        Err(error) => {
            output.fail(&error);
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<Answer, Error> {
    let Arguments {
        url,
        namespace,
        command,
        ..
    } = arguments;
    if let Command::Doctor { max_age } = command {
        return doctor::examine(&url, max_age).await;
    }
    let store = open(&url, &namespace).await?;
    let answer = match command {
        Command::Doctor { max_age } => doctor::examine(&url, max_age).await,
        Command::Migrate => Ok(Answer::said("the tables are there, in the newest version")),
        Command::Key(command) => keys::run(&store, command).await,
        Command::Expire { limit, yes } => keys::expire(&store, limit, yes).await,
        Command::Account(command) => accounts::run(&store, command).await,
        Command::InDoubt(command) => in_doubt::run(&store, &namespace, command).await,
    };
    // What the command has done stands, also where the connections can't be closed in order.
    let _ = store.close().await;
    answer
}

async fn open(url: &str, namespace: &str) -> Result<AnyStore, Error> {
    let namespace = Namespace::new(namespace)?;
    Ok(AnyStore::connect(url).await?.with_namespace(namespace))
}

//! What can be asked.

use clap::{Args, Parser, Subcommand};

/// Exactly-once effects: what a store holds, what is in doubt, and how to end it.
#[derive(Debug, Parser)]
#[command(name = "exactly-once", version)]
pub(super) struct Arguments {
    /// The store: postgres://…, sqlite:file, redis://…; better given by the environment, since
    /// arguments can be seen by others
    #[arg(
        long,
        global = true,
        env = "EXACTLY_ONCE_URL",
        hide_env_values = true,
        default_value = ""
    )]
    pub(super) url: String,

    /// The namespace to look into
    #[arg(
        long,
        global = true,
        env = "EXACTLY_ONCE_NAMESPACE",
        default_value = "default"
    )]
    pub(super) namespace: String,

    /// Print one JSON value
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Looks for settings under which effects would be lost or stuck; exit code 1 if there are any
    Doctor {
        /// After how many seconds something in doubt, or an open transaction, is too old
        #[arg(long, default_value_t = 600)]
        max_age: u32,
    },
    /// Creates the tables, or brings them to the newest version
    Migrate,
    /// An idempotency key
    #[command(subcommand)]
    Key(KeyCommand),
    /// Removes keys whose retention has passed: a request with such a key is a new one
    Expire {
        /// How many at most
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// A balance account
    #[command(subcommand)]
    Account(AccountCommand),
    /// Prepared transactions that wait for their decision
    #[command(subcommand)]
    InDoubt(InDoubtCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Where the key stands
    Show {
        /// The key
        key: String,
    },
    /// Removes a completed key: its effect may then happen AGAIN
    Forget {
        /// The key
        key: String,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// The balance
    Show {
        /// The account
        account: String,
    },
    /// The changes, oldest first
    History {
        /// The account
        account: String,
        /// Only changes after this version
        #[arg(long)]
        after: Option<i64>,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

/// Which stores a sweep is over
#[derive(Debug, Args)]
pub(super) struct SweepOver {
    /// The register's store; this store if left out
    #[arg(long, env = "EXACTLY_ONCE_REGISTER_URL", hide_env_values = true)]
    pub(super) register: Option<String>,
    /// Another participant; in the environment, several are separated by spaces
    #[arg(
        long,
        env = "EXACTLY_ONCE_PARTICIPANT_URLS",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    pub(super) also: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum InDoubtCommand {
    /// Ends everything that is past its deadline, at all participants, as the register says; exit
    /// code 1 if anything needs a person
    Sweep {
        #[command(flatten)]
        over: SweepOver,
    },
    /// Removes the records of transactions whose time is over, at all participants and in the
    /// register
    Forget {
        #[command(flatten)]
        over: SweepOver,
        /// How many at most, at each of them
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
    },
    /// What is in doubt; exit code 1 if anything is past its deadline
    List {
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// One of them, and what the register says
    Show {
        /// The transaction's digest, or its first characters
        digest: String,
        /// The register's store; this store if left out
        #[arg(long, env = "EXACTLY_ONCE_REGISTER_URL", hide_env_values = true)]
        register: Option<String>,
    },
    /// Ends one that is past its deadline: as the register says, or rolled back if it says nothing
    Resolve {
        /// The transaction's digest, or its first characters
        digest: String,
        /// The register's store; this store if left out
        #[arg(long, env = "EXACTLY_ONCE_REGISTER_URL", hide_env_values = true)]
        register: Option<String>,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
}

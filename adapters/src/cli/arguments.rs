//! The arguments of the command.

use clap::{Args, Parser, Subcommand};

use super::stores::Where;

/// What a script may rely on; in `--help` as well.
const EXIT_CODES: &str = "Exit codes:
  0  done, or all is well
  1  something needs you: a finding, an alarm, something late or a store that is away; or what was
     asked for is not there
  2  refused or failed: the message says why, and what to do

With --json one JSON value is printed in every case. An error is {\"error\": {\"kind\": …, \"message\": …}}.
Times are RFC 3339, in UTC.";

/// Shows what a store holds and what is in doubt, and resolves it.
#[derive(Debug, Parser)]
#[command(name = "exactly-once", version, after_help = EXIT_CODES)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) stores: Where,

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
    /// Creates the tables
    Migrate {
        #[command(flatten)]
        sure: Sure,
    },
    /// Gives a restored copy an identity of its own, so that it is not taken for its original
    Adopt {
        /// Adopt also where transactions are in doubt, in any namespace, or where that can't be looked
        /// up (a cluster of Redis): nothing resolves them afterwards
        #[arg(long)]
        leave_in_doubt: bool,
        #[command(flatten)]
        sure: Sure,
    },
    /// Idempotency keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Removes keys whose retention has passed: a request with such a key is a new one
    Expire {
        /// How many at most
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        sure: Sure,
    },
    /// Serves named effects to handlers in any language, over Restate
    #[cfg(feature = "serve")]
    Serve(Box<crate::serve::Arguments>),
    /// Balance accounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Prepared transactions that wait for their decision, at all stores that are given
    #[command(subcommand, after_help = EXIT_CODES)]
    InDoubt(InDoubtCommand),
}

/// Of each command that can't be undone.
#[derive(Debug, Args)]
pub(super) struct Sure {
    /// Don't ask
    #[arg(long)]
    pub(super) yes: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Shows the state of an idempotency key
    Show {
        /// The key
        key: String,
    },
    /// Removes a completed key: its effect may then happen AGAIN
    Forget {
        /// The key
        key: String,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Shows the balance
    Show {
        /// The account
        account: String,
    },
    /// Lists the changes, oldest first
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

#[derive(Debug, Subcommand)]
pub(super) enum InDoubtCommand {
    /// Lists what is in doubt, and decisions that are not carried out yet; exit code 1 if anything is
    /// past its deadline, shown or not
    List {
        /// Only transactions after this digest, as the end of a page names it
        #[arg(long)]
        after: Option<String>,
        /// How many lines at most
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Shows one transaction: its register, its state at each store, and what to do
    Show {
        /// The transaction's digest, or its first characters
        digest: String,
    },
    /// Resolves one that is past its deadline, as its register says: rolled back if nothing was decided
    Resolve {
        /// The transaction's digest, or its first characters
        digest: String,
        #[command(flatten)]
        sure: Sure,
    },
    /// Resolves everything that is past its deadline, at all stores, each as its register says
    Sweep {
        #[command(flatten)]
        sure: Sure,
    },
    /// Settles a transaction whose participants did not all end as was decided, or can't any more: ends
    /// its alarm, and records the operator and the reason
    Settle(Settle),
    /// Removes records that are past `forget_after`, at all stores
    Forget {
        /// How many at most, at each store
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        #[command(flatten)]
        sure: Sure,
    },
}

#[derive(Debug, Args)]
pub(super) struct Settle {
    /// The transaction's digest, or its first characters
    pub(super) digest: String,
    /// How it counts as ended; what is still in doubt ends so
    #[arg(long = "as", value_enum)]
    pub(super) outcome: Ended,
    /// Why, for those that read it later
    #[arg(long)]
    pub(super) reason: String,
    /// A participant that is gone for good, by its identity; may be repeated. Without it, each one that
    /// took part must be given
    #[arg(long, value_name = "IDENTITY")]
    pub(super) gone: Vec<String>,
    /// The operator; the operating system's user if left out
    #[arg(long)]
    pub(super) by: Option<String>,
    #[command(flatten)]
    pub(super) sure: Sure,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Ended {
    Committed,
    RolledBack,
}

//! Several callers in one commit.
//!
//! What limits a busy server is the work for each statement, not the disk: a transaction for each
//! caller parses, plans, commits and answers for each. So callers that are there at the same time
//! share one message and one commit. A single caller never waits: one that finds nothing in flight
//! goes at once, and what comes meanwhile is the next group. Each group is a task of its own.
//!
//! A group takes the good path only, and takes it whole: every key is new, every statement works,
//! every guess is right. Whatever else happens rolls the group back. The
//! position of the statement that failed names its caller, which takes the slow path on a connection
//! of its own, while the others try again at once; where it names none, at the commit, the group is
//! bisected. So each caller's failure stays its own, and no caller waits long behind the lock or the
//! slow statement of another.
//!
//! # Layout
//! - `queue`: the callers that wait, and the tasks that execute their groups.
//! - `named`: prepared statements that are named by what they do, one message of them.
//! - `text`: parameters and arrays in such a message.
//! - `keys`: what is known of many keys, read at once; when to look before the leap.
//! - `shots`, `parts`, `effects`, `execute`: one-shot effects, their callers, the user's statements in them, and how a message
//!   executes those.
//! - `one_statement`: claims and rows of callers that all ask for the same plain insert.
//! - `closures`: claim and completion of a closure, each on its own.
//! - `marks`: a participant's marker, its whole work where that is known, and the register's decision;
//!   each on its own.
//! - `register`: decisions of several callers, and the marks that they are carried out.
//! - `balances`, `guesses`, `ledger`: changes of balances, what accounts are thought to hold, and the
//!   statements.

mod balances;
mod closures;
mod effects;
mod execute;
mod guesses;
mod keys;
mod ledger;
mod marks;
mod named;
mod one_statement;
mod parts;
mod queue;
mod register;
mod shots;
mod text;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    driver::{Driver, DriverError},
    options::Timeouts,
    schema::Tables,
    statements::Preamble,
};
use closures::Closures;
use effects::Effects;
use keys::{Looks, Replays};
use ledger::Ledger;
use marks::Marks;
use named::Named;
use one_statement::Forms;
use register::Register;
use shots::Shots;

pub(super) use balances::{Booked, Operation, applied};
pub(super) use effects::{inserts, values};
pub(super) use marks::Ending;
pub(super) use named::UNKNOWN_STATEMENT;
pub(super) use shots::Verdict;

/// The most callers of one group.
const GROUP_MAX: usize = 64;

/// How long a batch waits for a lock: behind a key or row that is held for longer, its
/// callers had better wait each for itself.
const LOCK_WAIT: Duration = Duration::from_millis(50);

/// How long a statement of a group may take: what takes longer goes alone, and the callers behind it
/// have waited no longer than this.
const STATEMENT_WAIT: Duration = Duration::from_millis(500);

/// What the callers of a store share.
pub(super) struct Groups {
    /// Settings and guard of every group's transaction.
    begin: Arc<Named>,
    /// The same, with plans that don't depend on the length of the arrays.
    begin_generic: Arc<Named>,
    /// Statements that limit the one after them.
    limits: String,
    closures: Closures,
    effects: Effects,
    forms: Forms,
    shots: Shots,
    looks: Looks,
    ledger: Ledger,
    marks: Marks,
    register: Register,
    replays: Replays,
    /// Whether work here removes prepared statements.
    text_only: AtomicBool,
}

impl Groups {
    /// From now on completions don't rely on a prepared statement.
    pub(super) fn settle_by_text(&self) {
        self.text_only.store(true, Ordering::Relaxed);
    }

    pub(super) fn settles_by_text(&self) -> bool {
        self.text_only.load(Ordering::Relaxed)
    }

    pub(super) fn new(tables: &Tables, timeouts: &Timeouts, watch_client: bool) -> Self {
        let impatient = Timeouts {
            lock: LOCK_WAIT.min(timeouts.lock),
            statement: STATEMENT_WAIT.min(timeouts.statement),
            ..*timeouts
        };
        let preamble = Preamble::new(&impatient, watch_client);
        let patient = Preamble::new(timeouts, watch_client);
        Self {
            begin: Named::new("", &named::begin(&preamble, "")),
            begin_generic: Named::new(
                "",
                &named::begin(
                    &preamble,
                    ", pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)",
                ),
            ),
            limits: preamble.limits().to_owned(),
            closures: Closures::new(tables, &patient),
            effects: Effects::new(),
            forms: Forms::default(),
            shots: Shots::new(tables, &preamble),
            looks: Looks::new(tables),
            ledger: Ledger::new(tables),
            marks: Marks::new(tables, &patient, &preamble),
            register: Register::default(),
            replays: Replays::default(),
            text_only: AtomicBool::new(false),
        }
    }
}

/// The same error for each caller of a group.
fn copy(failed: &DriverError) -> DriverError {
    DriverError {
        cause: failed.cause.clone(),
        said: failed.said.clone(),
        source: failed
            .source
            .as_ref()
            .map(|source| super::said::chain(&**source).into()),
        after: failed.after,
    }
}

/// A store, as a batch's task owns it.
type Of<D> = super::store::PostgresStore<D>;

impl<D: Driver> Of<D> {
    /// The namespace as it stands in a group's arrays.
    fn namespace_hex(&self) -> String {
        super::literal::hex(
            exactly_once_core::Store::namespace(self)
                .as_str()
                .as_bytes(),
        )
    }
}

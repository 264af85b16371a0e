//! SQLite, embedded, by `rusqlite` with the bundled library.
//!
//! ```
//! # use exactly_once::sqlite::{SqliteStore, SqliteTx};
//! # use exactly_once::{Claim, ExecuteOnce, Fingerprint, IdempotencyKey, Transactional, WorkError};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("shop.db");
//! let store = SqliteStore::open(path).await?;
//! # let mut tx = store.begin().await?;
//! # tx.run(|c| c.execute_batch("CREATE TABLE payment (who TEXT, cents INTEGER) STRICT")).await?;
//! # store.commit(tx).await?;
//! let claim = Claim::new(
//!     IdempotencyKey::new("charge/order-17")?,
//!     Fingerprint::of("charge", &("alice", 500))?,
//! );
//! let charge = async |tx: &mut SqliteTx| -> Result<i64, WorkError> {
//!     let insert = "INSERT INTO payment (who, cents) VALUES (?1, ?2) RETURNING rowid";
//!     let id = tx.run(move |db| db.query_row(insert, ("alice", 500), |row| row.get(0)));
//!     Ok(id.await?)
//! };
//! let first = store.execute_once(&claim, charge).await?;
//! let again = store.execute_once(&claim, charge).await?;
//! assert_eq!(first.value, again.value);
//! assert!(again.replayed);
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed, and what is not
//!
//! | | |
//! |---|---|
//! | Acknowledged writes | survive a killed process and a power cut (`WAL`, `synchronous=FULL`, both read back at open), as far as the disk honours a sync |
//! | Key, receipt and the user's writes | one transaction, visible together or not at all |
//! | Two handles, many processes on one file | act as one store; a call waits for another process up to the busy timeout, from its own start, and is then *busy* |
//! | A call of the store from inside of its own work | an error at once where it needs the writer, which the work's transaction holds; reads go beside it. A call from another task waits up to the lock timeout |
//! | A file, its log (`-wal`) or the log's index (`-shm`) that is moved, deleted or replaced while it is open, or a file with a hard link | refused before the commit: nothing is acknowledged into it |
//! | The log (`-wal`) | is emptied past a limit ([`SqliteBuilder::log_limit`]); **not** while another program keeps a read transaction open: `exactly-once doctor` shows its size |
//! | Network file systems | **not**: WAL needs shared memory; refused at open where SQLite notices |
//! | Time | this machine's clock: all processes on the file share it; a clock that is set back prolongs leases and retention, one that is set forward ends them early |
//! | Two-phase commit | staged: row-level redo with reservations; **commit can't fail after a yes** for reasons of the work |
//! | Writers without this library | meet the reservations too, by triggers in the file, and get `exactly-once: reserved by a prepared transaction` |
//! | Row ids of staged inserts | an `INTEGER PRIMARY KEY` is kept as the work saw it. With `AUTOINCREMENT` others get later ids meanwhile; without it SQLite would give the reserved id to the next insert of any caller, which gets *reserved* until the decision: **use `AUTOINCREMENT`** there. A table without an `INTEGER PRIMARY KEY` gets its hidden row ids at commit, and its rows are found by a unique key without NULL |
//! | Changes of the schema while transactions are in doubt | **not** stopped: dropping or altering a table with reserved rows makes the commit *heuristic*; see [`SqliteStore::remove_guards`] for migrations |
//! | Connections with triggers switched off, or a file edited by hand | **not** stopped; the commit compares every row with what it was and says *heuristic* |
//! | Tables with foreign keys, generated columns, expression unique or custom-collation indexes, virtual tables, chains of triggers, changes of the schema | can't be staged: *refused* with the reason, before anything is prepared |
//! | A REAL in a unique key, a hidden row id that the work chose, an older row without a unique key, the row id −1, more than 100,000 row changes | the same |
//! | Everything else | the redo is applied once before the yes, and undone: what would fail at the commit is no yes |
//! | The first staged work of a process | statements known up front cost the tables that they write; a closure can write any table, so it costs a look at each table of the file, once, and then only at those that were changed |
//! | Restoring an older copy of the file | **not** covered: outcomes and fencing tokens go back with it |
//!
//! # Layout
//! - [`SqliteStore`], its [builder](SqliteBuilder) and [transaction](SqliteTx).
//! - `connection`, `schema`, `error`: how the file is opened, what is in it, what its errors mean.
//! - `queue`, `turn`, `writer`, `group`, `members`, `lane`, `bench`, `session`, `guard`: the one thread
//!   that writes. Effects are committed in groups; an interactive transaction has the thread for itself.
//! - `file`: which file it is, and its names.
//! - `reader`, `gate`, `log`: connections that read beside it, and how the log is kept short; `closing`:
//!   how all of them end.
//! - `key_row`, `idempotency`, `closure`, `one_shot`, `lease`, `balance`: the traits; `statements`: the
//!   user's statements that are known up front; `ledger`, `history`, `refused`: a balance operation at
//!   work, and its rows.
//! - `outcome`, `prepared`, `one_shot_participant`, `staging`, `register`: two-phase commit.

mod balance;
mod bench;
mod builder;
mod closing;
mod closure;
mod connection;
mod error;
pub(crate) mod file;
mod gate;
mod group;
mod guard;
mod history;
mod idempotency;
mod key_row;
mod lane;
mod lease;
mod ledger;
mod log;
mod members;
mod one_shot;
mod one_shot_participant;
mod outcome;
mod prepared;
mod queue;
pub(crate) mod read_only;
mod reader;
mod refused;
mod register;
pub(crate) mod schema;
mod session;
mod settings;
mod staging;
mod statements;
mod transaction;
mod turn;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use exactly_once_core::{
    Capabilities, Durability, ErrorKind, Namespace, Place, Result, Store, StoreIdentity, Timestamp,
    TwoPhase,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

pub use builder::SqliteBuilder;
pub use transaction::SqliteTx;

use closing::Closing;
use connection::Purpose;
use error::{STORE, error};
use queue::{Bench, KeyInUse, Message, Repeatable, Task, Ticket, Undo};
use reader::Readers;
use settings::Settings;
use turn::{Patience, check_nested};
use writer::Writer;

/// A store in one SQLite file. Cheap to clone; clones share the writer's thread and the readers.
///
/// The file is closed when the last clone and the last open transaction are gone, or by
/// [`Store::close`].
#[derive(Clone)]
pub struct SqliteStore {
    namespace: Namespace,
    writer: Writer,
    readers: Readers,
    settings: Arc<Settings>,
    place: Place,
    /// Whether the last key of a one-shot was a replay, as the next one is likely to be then.
    replays: Arc<AtomicBool>,
    /// The same of the key of a change of one account.
    replayed_changes: Arc<AtomicBool>,
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Opens the file, creating it if need be, with the namespace `default`.
    ///
    /// # Errors
    /// As [`SqliteBuilder::open`].
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder(path).open().await
    }

    /// Names the file, and lets everything else be chosen before it is opened.
    pub fn builder(path: impl AsRef<Path>) -> SqliteBuilder {
        SqliteBuilder::new(path.as_ref())
    }

    /// Reads the user's own tables on one consistent snapshot, beside the writer.
    ///
    /// The closure runs on a reading thread; it sees what was committed before it began, and can't
    /// write.
    ///
    /// # Errors
    /// What the closure's statement met, by its kind.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.readers.read_user("read", work).await
    }

    /// Whether the transaction was begun on this file, in this namespace. Which handle on the file
    /// it was makes no difference: they act as one store.
    fn check_home(&self, tx: &SqliteTx, operation: &'static str) -> Result<()> {
        let found = match (tx.is_at(&self.place), tx.is_of(&self.namespace)) {
            (true, true) => return Ok(()),
            (false, _) => "the transaction was begun in another database",
            (true, false) => "the transaction was begun in another namespace",
        };
        Err(error(ErrorKind::Invalid, operation, found))
    }

    fn ticket(&self, operation: &'static str, purpose: Purpose, undo: Undo) -> Ticket {
        let since = Instant::now();
        Ticket {
            operation,
            purpose,
            undo,
            key: None,
            since,
            deadline: since + self.settings.lock_timeout,
            turn: Arc::default(),
            statements: None,
        }
    }

    /// Waits for the answer to a call, up to its limits.
    async fn answer<T>(
        &self,
        patience: Patience,
        answer: &mut oneshot::Receiver<Result<T>>,
    ) -> Result<T> {
        patience
            .wait(self.writer.hold(), answer, writer::lost)
            .await
    }

    /// What bounds the wait for a call.
    fn patience(&self, ticket: &Ticket) -> Patience {
        Patience {
            operation: ticket.operation,
            since: ticket.since,
            lock_timeout: self.settings.lock_timeout,
            busy_timeout: self.settings.busy_timeout,
            key: ticket.key.clone(),
            turn: ticket.turn.clone(),
        }
    }

    /// Runs a whole effect on the writer's thread, once, in one commit with others.
    async fn write_once<T, F>(
        &self,
        operation: &'static str,
        undo: Undo,
        key: Option<KeyInUse>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        let ticket = Ticket {
            key,
            ..self.ticket(operation, Purpose::Write, undo)
        };
        self.submit(ticket, work).await
    }

    /// The same for an effect that may be run again after a rollback.
    async fn write<T, F>(
        &self,
        operation: &'static str,
        undo: Undo,
        key: Option<KeyInUse>,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        let ticket = Ticket {
            key,
            ..self.ticket(operation, Purpose::Write, undo)
        };
        let patience = self.patience(&ticket);
        let (task, mut answer) = Repeatable::new(ticket, work);
        self.writer
            .enqueue(operation, Message::Job(Box::new(task)))?;
        self.answer(patience, &mut answer).await
    }

    async fn submit<T, F>(&self, ticket: Ticket, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        let (operation, patience) = (ticket.operation, self.patience(&ticket));
        let (task, mut answer) = Task::new(ticket, work);
        self.writer
            .enqueue(operation, Message::Job(Box::new(task)))?;
        self.answer(patience, &mut answer).await
    }
}

#[cfg(feature = "cli")]
impl SqliteStore {
    /// How much waits for a decision or was decided and is not carried out, in every namespace.
    pub(crate) async fn left_anywhere(&self) -> Result<u64> {
        self.readers
            .read("adopt", |connection| {
                register::left_anywhere(connection, "adopt")
            })
            .await
    }
}

impl Store for SqliteStore {
    fn backend(&self) -> &'static str {
        STORE
    }

    fn place(&self) -> Place {
        self.place.clone()
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self {
            namespace,
            ..self.clone()
        }
    }

    fn capabilities(&self) -> Capabilities {
        let two_phase = TwoPhase::Staged {
            stops_foreign_writers: true,
        };
        Capabilities::new(Durability::Power, two_phase)
            .with_max_receipt_bytes(self.settings.max_receipt_bytes)
            .with_server_time(false)
    }

    async fn now(&self) -> Result<Timestamp> {
        let settings = self.settings.clone();
        // Through a reader, so that a closed store says so.
        self.readers.read("now", move |_| Ok(settings.now())).await
    }

    async fn identity(&self) -> Result<StoreIdentity> {
        self.readers
            .read("identity", |connection| {
                register::identity(connection, "identity")
            })
            .await
    }

    async fn adopt(&self) -> Result<StoreIdentity> {
        self.write("adopt", queue::Undo::Nothing, None, |bench| {
            register::adopt(bench.connection, "adopt")
        })
        .await
    }

    async fn close(&self) -> Result<()> {
        check_nested(&self.place, "close")?;
        let (reply, closed) = oneshot::channel();
        let readers = self.readers.close();
        let closing = Message::Close(Closing { readers, reply });
        if self.writer.send("close", closing).is_ok() {
            // The thread answers, or is gone: closed either way.
            let _ = closed.await;
        }
        Ok(())
    }
}

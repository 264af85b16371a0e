//! The interactive transaction, and the user's way to the driver inside of it.

use std::{fmt, sync::Arc};

use exactly_once_core::{
    BoxError, Claim, Error, ErrorKind, Namespace, Participation, Place, Result, Transactional,
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    SqliteStore,
    connection::Purpose,
    error::{Phase, Said, classify, error, map, statement},
    guard::Scope,
    outcome,
    queue::{Bench, Call, Message, OpenTask, Opening, Task, Ticket, Undo},
    turn::check_nested,
    writer::{self, Writer},
};

/// Marks the beginning of the user's own work in the transaction.
const WORK: &str = "exactly_once_work";

/// What a transaction was begun for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Plain,
    Key(Claim),
    Prepare(Participation),
}

/// An open transaction on the store's one writer.
///
/// It holds the file's write lock: other writers wait for it, up to their timeouts. So do slow
/// things before you begin. Dropping it rolls back.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct SqliteTx {
    session: u64,
    writer: Writer,
    namespace: Namespace,
    pub(super) intent: Intent,
    purpose: Purpose,
    over: bool,
}

impl fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTx")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

impl Drop for SqliteTx {
    fn drop(&mut self) {
        if !self.over {
            let call = Message::Session(self.session, Call::Rollback(None));
            // A writer that is gone has rolled back.
            let _ = self.writer.send("rollback", call);
        }
    }
}

impl SqliteTx {
    /// Runs statements on the transaction's own connection, on the writer's thread.
    ///
    /// A closure that fails or panics leaves nothing: all its statements are undone, and the
    /// transaction stays usable. Savepoints are fine within one closure; its end releases them.
    /// What would leave the transaction is refused: BEGIN, COMMIT,
    /// ROLLBACK, ATTACH, VACUUM, temporary objects, most PRAGMAs, and writes to the store's own
    /// tables. If the future is dropped, the closure may still run, inside of the transaction.
    ///
    /// # Errors
    /// - What the closure's error means: [refused](ErrorKind::Refused) for a constraint,
    ///   [reserved](ErrorKind::Reserved), [overflow](ErrorKind::Overflow),
    ///   [configuration](ErrorKind::Configuration) for a table that isn't there, and so on. The
    ///   source is the `rusqlite::Error`.
    /// - [Work failed](ErrorKind::WorkFailed): it panicked, or a value did not convert.
    /// - [Busy](ErrorKind::Busy): the transaction had rested for too long and was rolled back.
    /// - [Unavailable](ErrorKind::Unavailable): the disk is full, and SQLite rolled it back.
    pub async fn run<T, F>(&mut self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let staged = self.is_staged();
        self.step("work", move |bench| {
            bench.savepoint("work", || {
                bench
                    .closure("work", Scope::Alone { staged }, work)?
                    .map_err(|source| explain(bench, "work", source))
            })
        })
        .await
    }

    pub(super) fn is_at(&self, place: &Place) -> bool {
        self.writer.place() == place
    }

    pub(super) fn is_of(&self, namespace: &Namespace) -> bool {
        self.namespace == *namespace
    }

    pub(super) fn is_staged(&self) -> bool {
        self.purpose == Purpose::Stage
    }

    /// Runs statements of the store's own.
    pub(super) async fn step<T, F>(&mut self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        check_nested(self.writer.place(), operation)?;
        let (task, answer) = Task::new(self.ticket(operation), work);
        let call = Call::Step(Box::new(task));
        self.writer
            .send(operation, Message::Session(self.session, call))?;
        answer.await.map_err(|_| writer::lost(operation))?
    }

    /// Runs the last statements and commits; rolls back if they fail.
    pub(super) async fn finish<T, F>(self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        let (task, answer) = Task::new(self.ticket(operation), work);
        self.end(operation, task, answer).await
    }

    /// The same for what needs none of the work. Where SQLite has ended the transaction by itself, it
    /// runs in a new one.
    pub(super) async fn finish_without_work<T, F>(
        self,
        operation: &'static str,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        let (task, answer) = Task::new(self.ticket(operation), work);
        self.end(operation, task.restarting(), answer).await
    }

    async fn end<T, F>(
        mut self,
        operation: &'static str,
        task: Task<F, T>,
        answer: oneshot::Receiver<Result<T>>,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<T> + Send + 'static,
    {
        check_nested(self.writer.place(), operation)?;
        let call = Call::Finish(Box::new(task));
        // The message is in the queue before this future can be dropped.
        self.over = true;
        self.writer
            .send(operation, Message::Session(self.session, call))?;
        answer.await.map_err(|_| writer::lost(operation))?
    }

    fn ticket(&self, operation: &'static str) -> Ticket {
        let now = std::time::Instant::now();
        Ticket {
            operation,
            purpose: self.purpose,
            undo: Undo::Own,
            key: None,
            since: now,
            deadline: now,
            turn: Arc::default(),
            statements: None,
        }
    }
}

impl SqliteStore {
    /// Begins an interactive transaction by `work`, on the writer's thread.
    pub(super) async fn open_session<A, F>(
        &self,
        ticket: Ticket,
        intent: Intent,
        work: F,
    ) -> Result<Result<SqliteTx, A>>
    where
        A: Send + 'static,
        F: FnOnce(&Bench<'_>) -> Result<Opening<A>> + Send + 'static,
    {
        let Ticket {
            operation, purpose, ..
        } = ticket;
        let patience = self.patience(&ticket);
        let (task, answer) = OpenTask::new(ticket, work);
        // If this future is dropped with the answer under way, the guard rolls back.
        let mut answer = Unclaimed {
            answer,
            writer: self.writer.clone(),
        };
        self.writer
            .enqueue(operation, Message::Open(Box::new(task)))?;
        let (session, opening) = self.answer(patience, &mut answer.answer).await?;
        Ok(match opening {
            Opening::Answer(answer) => Err(answer),
            Opening::Fresh => Ok(SqliteTx {
                session,
                writer: self.writer.clone(),
                namespace: self.namespace.clone(),
                intent,
                purpose,
                over: false,
            }),
        })
    }
}

type Answer<A> = oneshot::Receiver<Result<(u64, Opening<A>)>>;

/// The reply to a begin that may never be looked at: a transaction that was sent already, to a
/// future that is dropped before it is polled again, must not stay open.
struct Unclaimed<A> {
    answer: Answer<A>,
    writer: Writer,
}

impl<A> Drop for Unclaimed<A> {
    fn drop(&mut self) {
        self.answer.close();
        if let Ok(Ok((session, Opening::Fresh))) = self.answer.try_recv() {
            let call = Message::Session(session, Call::Rollback(None));
            let _ = self.writer.send("rollback", call);
        }
    }
}

/// Runs a statement of the user's behind the fences.
pub(super) fn user_work<T>(
    bench: &Bench<'_>,
    scope: Scope,
    work: impl FnOnce(&Connection) -> T,
) -> T {
    bench.guard.work(scope, || work(bench.connection))
}

/// The error of a user's statement.
pub(super) fn explain(
    bench: &Bench<'_>,
    operation: &'static str,
    source: rusqlite::Error,
) -> Error {
    let failure = enrich(bench, map(operation, Phase::Statement, source));
    if bench.connection.is_autocommit() && failure.kind() == ErrorKind::Refused {
        let source = std::error::Error::source(&failure).map(ToString::to_string);
        let reason = failure.message().map(str::to_owned).or(source);
        bench.guard.note_end(reason.unwrap_or_default());
    }
    failure
}

/// Adds what the fences or the reservations have to say of it.
pub(super) fn enrich(bench: &Bench<'_>, failure: Error) -> Error {
    if failure.kind() == ErrorKind::Unavailable {
        bench.guard.note_disk_end();
    }
    let Some(said) = failure.cause().and_then(Said::find) else {
        return failure;
    };
    let message = if said.is_denied() {
        bench.guard.refused()
    } else {
        said.reserved_table()
            .and_then(|table| outcome::holders(bench.connection, table))
    };
    match message {
        Some(message) => failure.with_message(message),
        None => failure,
    }
}

/// Marks where the user's work begins.
pub(super) fn mark_work(bench: &Bench<'_>, operation: &'static str) -> Result<()> {
    bench
        .control(&format!("SAVEPOINT {WORK}"))
        .map_err(statement(operation))
}

/// Ends the user's work, kept or undone. Fails if the transaction is no longer the one that was
/// begun.
pub(super) fn end_work(bench: &Bench<'_>, operation: &'static str, keep: bool) -> Result<()> {
    let undone = if keep {
        Ok(())
    } else {
        bench.control(&format!("ROLLBACK TO {WORK}"))
    };
    let ended = undone.and_then(|()| bench.control(&format!("RELEASE {WORK}")));
    ended.map_err(|source| {
        error(
            ErrorKind::Refused,
            operation,
            "the work ended the transaction that it was given: nothing is committed",
        )
        .with_hidden_source(source)
    })
}

impl Transactional for SqliteStore {
    type Tx = SqliteTx;

    async fn begin(&self) -> Result<SqliteTx> {
        let ticket = self.ticket("begin", Purpose::Write, Undo::Own);
        let opened = self
            .open_session(ticket, Intent::Plain, |bench| {
                mark_work(bench, "begin")?;
                Ok(Opening::<std::convert::Infallible>::Fresh)
            })
            .await?;
        match opened {
            Ok(tx) => Ok(tx),
            Err(never) => match never {},
        }
    }

    async fn commit(&self, tx: SqliteTx) -> Result<()> {
        self.check_home(&tx, "commit")?;
        if tx.purpose == Purpose::Stage {
            return Err(error(
                ErrorKind::Invalid,
                "commit",
                "this transaction was begun to be prepared: use `prepare`",
            ));
        }
        tx.finish("commit", |bench| end_work(bench, "commit", true))
            .await
    }

    async fn rollback(&self, mut tx: SqliteTx) -> Result<()> {
        check_nested(tx.writer.place(), "rollback")?;
        let (reply, done) = oneshot::channel();
        tx.over = true;
        let call = Message::Session(tx.session, Call::Rollback(Some(reply)));
        if tx.writer.send("rollback", call).is_ok() {
            // A writer that is gone has rolled back as well.
            let _ = done.await;
        }
        Ok(())
    }

    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        classify(operation, source)
    }
}

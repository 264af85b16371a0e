//! What callers send to the writer's thread: single effects, and sessions of interactive
//! transactions. Every message is answered, also when it came too late.

use std::{panic::AssertUnwindSafe, time::Instant};

use exactly_once_core::{Error, ErrorKind, Fingerprint, IdempotencyKey, Namespace, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection::Purpose,
    error::{Failure, error, statement},
    guard::Guard,
    settings::Settings,
};

/// What a job works with, on the writer's thread.
pub(super) struct Bench<'a> {
    pub(super) connection: &'a Connection,
    pub(super) guard: &'a Guard,
    pub(super) settings: &'a Settings,
}

impl Bench<'_> {
    /// Runs statements that stand or fall together.
    pub(super) fn savepoint<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let run = |sql| {
            self.connection
                .execute_batch(sql)
                .map_err(statement(operation))
        };
        run("SAVEPOINT exactly_once_part")?;
        let answer = work();
        // After a full disk there is no transaction left, and the answer says so.
        if answer.is_err() && !self.connection.is_autocommit() {
            run("ROLLBACK TO exactly_once_part")?;
        }
        if !self.connection.is_autocommit() {
            run("RELEASE exactly_once_part")?;
        }
        answer
    }
}

/// Which key a call is about, so that a rival can be told.
#[derive(Clone, Debug)]
pub(super) struct KeyInUse {
    pub(super) namespace: Namespace,
    pub(super) key: IdempotencyKey,
    pub(super) fingerprint: Fingerprint,
}

impl KeyInUse {
    pub(super) fn same_key(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.key == other.key
    }
}

/// How a job that fails inside a group is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Undo {
    /// It refuses before it writes; nothing is to be undone.
    Nothing,
    /// By a savepoint around it; if all of a group can be run again, by rolling the group back and
    /// running it again with savepoints, so that a group without failures needs none.
    Savepoint,
    /// It undoes its own writes.
    Own,
}

/// How a job went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ran {
    /// To be committed.
    Done,
    /// Failed, with nothing left behind.
    Clean,
    /// Failed, and may have left writes.
    Dirty,
}

/// What all calls have.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) operation: &'static str,
    pub(super) purpose: Purpose,
    pub(super) undo: Undo,
    pub(super) key: Option<KeyInUse>,
    /// Until when it may wait for its turn.
    pub(super) deadline: Instant,
}

/// A whole effect that is grouped with others into one commit.
pub(super) trait Job: Send {
    fn ticket(&self) -> &Ticket;
    /// Whether the caller is gone, so that nothing need be done.
    fn abandoned(&self) -> bool;
    fn run(&mut self, bench: &Bench<'_>) -> Ran;
    /// Whether it may be run again after its transaction was rolled back.
    fn repeatable(&self) -> bool;
    /// Tells the caller: its own answer after a commit, otherwise the failure.
    fn settle(self: Box<Self>, failure: Option<Error>);
}

/// The begin of an interactive transaction.
pub(super) trait Open: Send {
    fn ticket(&self) -> &Ticket;
    fn abandoned(&self) -> bool;
    /// Says whether the transaction stays open for the session.
    fn run(&mut self, bench: &Bench<'_>, session: u64) -> bool;
    /// Tells the caller; gives back whether anybody took the open transaction.
    fn settle(self: Box<Self>, failure: Option<Error>) -> bool;
}

/// The last call of a session: its statements, then the commit.
pub(super) trait Finish: Send {
    fn operation(&self) -> &'static str;
    /// Says whether to commit.
    fn run(&mut self, bench: &Bench<'_>) -> bool;
    fn settle(self: Box<Self>, failure: Option<Error>);
}

/// A statement or more within a session.
pub(super) trait Step: Send {
    fn operation(&self) -> &'static str;
    fn run(self: Box<Self>, bench: &Bench<'_>);
    fn refuse(self: Box<Self>, failure: Error);
}

pub(super) enum Call {
    Step(Box<dyn Step>),
    Finish(Box<dyn Finish>),
    Rollback(Option<oneshot::Sender<()>>),
}

pub(super) enum Message {
    Job(Box<dyn Job>),
    Open(Box<dyn Open>),
    Session(u64, Call),
    Close(oneshot::Sender<()>),
}

/// One closure with its reply; plays every role above.
pub(super) struct Task<F, T> {
    ticket: Ticket,
    work: Option<F>,
    answer: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Task<F, T> {
    pub(super) fn new(ticket: Ticket, work: F) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, receiver) = oneshot::channel();
        let task = Self {
            ticket,
            work: Some(work),
            answer: None,
            reply,
        };
        (task, receiver)
    }

    fn tell(self, failure: Option<Error>) -> bool {
        let lost = || error(ErrorKind::Busy, self.ticket.operation, "it was never begun");
        let answer = match (failure, self.answer) {
            (Some(failure), _) => Err(failure),
            (None, Some(answer)) => answer,
            (None, None) => Err(lost()),
        };
        self.reply.send(answer).is_ok()
    }
}

/// Runs work that may be the user's: a panic in it must not end the writer's thread.
fn caught<T>(operation: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(error(
            ErrorKind::WorkFailed,
            operation,
            format!("the work panicked: {text}"),
        ))
    })
}

impl<F, T> Task<F, T>
where
    F: FnOnce(&Bench<'_>) -> Result<T>,
{
    fn work(&mut self, bench: &Bench<'_>) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let answer = caught(self.ticket.operation, || work(bench));
        let done = answer.is_ok();
        self.answer = Some(answer);
        done
    }
}

/// Runs a job's work, and says how it went.
fn ran(undo: Undo, bench: &Bench<'_>, work: impl FnOnce() -> bool) -> Ran {
    let before = bench.connection.total_changes();
    if work() {
        Ran::Done
    } else if undo == Undo::Own || bench.connection.total_changes() == before {
        Ran::Clean
    } else {
        Ran::Dirty
    }
}

impl<F, T> Job for Task<F, T>
where
    F: FnOnce(&Bench<'_>) -> Result<T> + Send,
    T: Send,
{
    fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run(&mut self, bench: &Bench<'_>) -> Ran {
        ran(self.ticket.undo, bench, || self.work(bench))
    }

    fn repeatable(&self) -> bool {
        false
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.tell(failure);
    }
}

/// A task that may be run again.
pub(super) struct Repeatable<F, T>(Task<F, T>);

impl<F, T> Repeatable<F, T> {
    pub(super) fn new(ticket: Ticket, work: F) -> (Self, oneshot::Receiver<Result<T>>) {
        let (task, receiver) = Task::new(ticket, work);
        (Self(task), receiver)
    }
}

impl<F, T> Job for Repeatable<F, T>
where
    F: Fn(&Bench<'_>) -> Result<T> + Send,
    T: Send,
{
    fn ticket(&self) -> &Ticket {
        &self.0.ticket
    }

    fn abandoned(&self) -> bool {
        self.0.reply.is_closed()
    }

    fn run(&mut self, bench: &Bench<'_>) -> Ran {
        let Task {
            ticket,
            work,
            answer,
            ..
        } = &mut self.0;
        ran(ticket.undo, bench, || {
            let ran = work
                .as_ref()
                .map(|work| caught(ticket.operation, || work(bench)));
            *answer = ran;
            matches!(answer, Some(Ok(_)))
        })
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.0.tell(failure);
    }
}

impl<F, T> Step for Task<F, T>
where
    F: FnOnce(&Bench<'_>) -> Result<T> + Send,
    T: Send,
{
    fn operation(&self) -> &'static str {
        self.ticket.operation
    }

    fn run(mut self: Box<Self>, bench: &Bench<'_>) {
        self.work(bench);
        self.tell(None);
    }

    fn refuse(self: Box<Self>, failure: Error) {
        self.tell(Some(failure));
    }
}

impl<F, T> Finish for Task<F, T>
where
    F: FnOnce(&Bench<'_>) -> Result<T> + Send,
    T: Send,
{
    fn operation(&self) -> &'static str {
        self.ticket.operation
    }

    fn run(&mut self, bench: &Bench<'_>) -> bool {
        self.work(bench)
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.tell(failure);
    }
}

/// What the begin of a session found.
pub(super) enum Opening<A> {
    /// The transaction is open, and the caller's from now on.
    Fresh,
    /// This is the answer; nothing stays open.
    Answer(A),
}

/// The begin of a session with its reply.
pub(super) struct OpenTask<F, A> {
    task: Task<F, (u64, Opening<A>)>,
}

impl<F, A> OpenTask<F, A> {
    #[allow(clippy::type_complexity)]
    pub(super) fn new(
        ticket: Ticket,
        work: F,
    ) -> (Self, oneshot::Receiver<Result<(u64, Opening<A>)>>) {
        let (task, receiver) = Task::new(ticket, work);
        (Self { task }, receiver)
    }
}

impl<F, A> Open for OpenTask<F, A>
where
    F: FnOnce(&Bench<'_>) -> Result<Opening<A>> + Send,
    A: Send,
{
    fn ticket(&self) -> &Ticket {
        &self.task.ticket
    }

    fn abandoned(&self) -> bool {
        self.task.reply.is_closed()
    }

    fn run(&mut self, bench: &Bench<'_>, session: u64) -> bool {
        let Some(work) = self.task.work.take() else {
            return false;
        };
        let answer = caught(self.task.ticket.operation, || work(bench));
        let open = matches!(answer, Ok(Opening::Fresh));
        self.task.answer = Some(answer.map(|opening| (session, opening)));
        open
    }

    fn settle(self: Box<Self>, failure: Option<Error>) -> bool {
        self.task.tell(failure)
    }
}

/// The failure for a message that comes after the end.
pub(super) fn closed() -> Failure {
    Failure::new(ErrorKind::Unavailable, "the store is closed: open it again")
}

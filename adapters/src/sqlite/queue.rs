//! What callers send to the writer's thread: single effects, and sessions of interactive
//! transactions. Every message is answered, also when it came too late.

use std::{sync::Arc, time::Instant};

use exactly_once_core::{
    Error, ErrorKind, Fingerprint, IdempotencyKey, Namespace, Result, Statement,
};
use tokio::sync::oneshot;

pub(super) use super::{
    bench::{Bench, caught},
    turn::{Quiet, Turn},
};
use super::{
    closing::Closing,
    connection::Purpose,
    error::{Failure, error},
};

/// Which key a call is about, so that a rival can be recognised.
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
    /// It is no member of a group: its transaction is undone as a whole.
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
    /// When the call was made: its limits count from here.
    pub(super) since: Instant,
    /// Until when it may wait for another transaction of this store.
    pub(super) deadline: Instant,
    pub(super) turn: Arc<Turn>,
    /// The statements that it runs, where work to be staged is known up front.
    pub(super) statements: Option<Arc<[Statement]>>,
}

/// A whole effect that is grouped with others into one commit.
pub(super) trait Job: Send {
    fn ticket(&self) -> &Ticket;
    /// Whether the caller is gone, so that nothing need be done.
    fn abandoned(&self) -> bool;
    fn run(&mut self, bench: &Bench<'_>) -> Ran;
    /// Whether it may be run again after its transaction was rolled back.
    fn repeatable(&self) -> bool;
    /// Whether it was run and failed.
    fn failed(&self) -> bool;
    /// Answers the caller: its own answer after a commit, otherwise the failure.
    fn settle(self: Box<Self>, failure: Option<Error>);
}

/// The begin of an interactive transaction.
pub(super) trait Open: Send {
    fn ticket(&self) -> &Ticket;
    fn abandoned(&self) -> bool;
    /// Says whether the transaction stays open for the session.
    fn run(&mut self, bench: &Bench<'_>, session: u64) -> bool;
    /// Answers the caller; returns whether it took the open transaction.
    fn settle(self: Box<Self>, failure: Option<Error>) -> bool;
}

/// The last call of a session: its statements, then the commit.
pub(super) trait Finish: Send {
    fn operation(&self) -> &'static str;
    /// Says whether to commit.
    fn run(&mut self, bench: &Bench<'_>) -> bool;
    /// Whether it can do without the work, where SQLite has ended the transaction by itself.
    fn restarts(&self) -> bool;
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
    Close(Closing),
}

/// One closure with its reply; plays every role above.
pub(super) struct Task<F, T> {
    ticket: Ticket,
    work: Quiet<F>,
    answer: Quiet<Result<T>>,
    restarts: bool,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Task<F, T> {
    pub(super) fn new(ticket: Ticket, work: F) -> (Self, oneshot::Receiver<Result<T>>) {
        let (reply, receiver) = oneshot::channel();
        let task = Self {
            ticket,
            work: Quiet(Some(work)),
            answer: Quiet(None),
            restarts: false,
            reply,
        };
        (task, receiver)
    }

    /// For a last call that can do without the work.
    pub(super) fn restarting(mut self) -> Self {
        self.restarts = true;
        self
    }

    fn abandoned(&self) -> bool {
        self.reply.is_closed() || self.ticket.turn.is_given_up()
    }

    fn reply(mut self, failure: Option<Error>) -> bool {
        let answer = match (failure, self.answer.0.take()) {
            (Some(failure), answer) => {
                drop(Quiet(answer));
                Err(failure)
            }
            (None, Some(answer)) => answer,
            (None, None) => Err(error(
                ErrorKind::Busy,
                self.ticket.operation,
                "the call was never begun: retry",
            )),
        };
        let refused = self.reply.send(answer).err();
        let taken = refused.is_none();
        drop(Quiet(refused));
        taken
    }
}

impl<F, T> Task<F, T>
where
    F: FnOnce(&Bench<'_>) -> Result<T>,
{
    fn work(&mut self, bench: &Bench<'_>) -> bool {
        let Some(work) = self.work.0.take() else {
            return false;
        };
        let answer = caught(self.ticket.operation, || work(bench));
        let done = answer.is_ok();
        self.answer = Quiet(Some(answer));
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
        self.abandoned()
    }

    fn run(&mut self, bench: &Bench<'_>) -> Ran {
        if !self.ticket.turn.begin() {
            return Ran::Clean;
        }
        ran(self.ticket.undo, bench, || self.work(bench))
    }

    fn repeatable(&self) -> bool {
        false
    }

    fn failed(&self) -> bool {
        matches!(self.answer.0, Some(Err(_)))
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.reply(failure);
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
        self.0.abandoned()
    }

    fn run(&mut self, bench: &Bench<'_>) -> Ran {
        let Task {
            ticket,
            work,
            answer,
            ..
        } = &mut self.0;
        if !ticket.turn.begin() {
            return Ran::Clean;
        }
        ran(ticket.undo, bench, || {
            let ran = work
                .0
                .as_ref()
                .map(|work| caught(ticket.operation, || work(bench)));
            *answer = Quiet(ran);
            matches!(answer.0, Some(Ok(_)))
        })
    }

    fn repeatable(&self) -> bool {
        true
    }

    fn failed(&self) -> bool {
        matches!(self.0.answer.0, Some(Err(_)))
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.0.reply(failure);
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
        self.reply(None);
    }

    fn refuse(self: Box<Self>, failure: Error) {
        self.reply(Some(failure));
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

    fn restarts(&self) -> bool {
        self.restarts
    }

    fn settle(self: Box<Self>, failure: Option<Error>) {
        self.reply(failure);
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
        self.task.abandoned()
    }

    fn run(&mut self, bench: &Bench<'_>, session: u64) -> bool {
        if !self.task.ticket.turn.begin() {
            return false;
        }
        let Some(work) = self.task.work.0.take() else {
            return false;
        };
        let answer = caught(self.task.ticket.operation, || work(bench));
        let open = matches!(answer, Ok(Opening::Fresh));
        self.task.answer = Quiet(Some(answer.map(|opening| (session, opening))));
        open
    }

    fn settle(self: Box<Self>, failure: Option<Error>) -> bool {
        self.task.reply(failure)
    }
}

/// The failure for a message that comes after the end.
pub(super) fn closed() -> Failure {
    Failure::new(ErrorKind::Unavailable, "the store is closed: open it again")
}

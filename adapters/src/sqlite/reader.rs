//! Connections that only read, beside the writer: a read never waits for a commit.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    time::{Duration, Instant},
};

use exactly_once_core::{ErrorKind, Place, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    bench::{caught, panicked},
    closing::Threads,
    connection::{Connector, Purpose},
    error::{error, statement},
    gate::Gate,
    guard::{Guard, Scope},
    queue::closed,
    read_only::opened_since,
    settings::Settings,
    turn::{Hold, Patience, Quiet, Turn, check_nested, serve_here},
};

type Read = Box<dyn FnOnce(&Connection, &Guard) + Send>;

/// The way to the readers' threads; they end with the last of it, or when it is closed. The user's
/// reads have threads of their own, so that a slow one stops none of the store's.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    own: Pool,
    users: Pool,
    threads: Threads,
    place: Place,
    patience: Duration,
    busy_timeout: Duration,
    /// The file, where it is read as it is.
    unlocked: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Pool {
    sender: Arc<Mutex<Option<Sender<Read>>>>,
}

impl Pool {
    /// Opens the connections, each on a thread of its own. The file must exist by now.
    async fn start(
        connector: &Connector,
        place: &Place,
        gate: &Gate,
        count: usize,
        threads: &Threads,
    ) -> Result<Self> {
        let (sender, receiver) = channel::<Read>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut ready = Vec::new();
        for _ in 0..count {
            let (opened, open) = oneshot::channel();
            let (connector, receiver) = (connector.clone(), receiver.clone());
            let (place, gate) = (place.clone(), gate.clone());
            let thread = std::thread::Builder::new()
                .name("exactly-once-sqlite-reader".to_owned())
                .spawn(move || match connect(&connector) {
                    Ok((connection, guard)) => {
                        serve_here(place);
                        if opened.send(Ok(())).is_ok() {
                            serve(&connection, &guard, &gate, &receiver);
                        }
                    }
                    Err(failure) => drop(opened.send(Err(failure))),
                })
                .map_err(|source| {
                    error(ErrorKind::Unavailable, "open", "no thread could be started")
                        .with_source(source)
                })?;
            threads.add(thread);
            ready.push(open);
        }
        for open in ready {
            let gone = |_| error(ErrorKind::Unavailable, "open", "a reading thread ended");
            open.await.map_err(gone)??;
        }
        Ok(Self {
            sender: Arc::new(Mutex::new(Some(sender))),
        })
    }

    fn close(&self) {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

impl Readers {
    /// Opens the connections of both pools.
    pub(super) async fn start(
        connector: &Connector,
        place: &Place,
        gate: &Gate,
        settings: &Settings,
    ) -> Result<Self> {
        let (count, threads) = (settings.readers, Threads::default());
        let unlocked = connector.reads_alone()?.then(|| connector.path.clone());
        Ok(Self {
            unlocked,
            own: Pool::start(connector, place, gate, count, &threads).await?,
            users: Pool::start(connector, place, gate, count, &threads).await?,
            threads,
            place: place.clone(),
            patience: settings.lock_timeout,
            busy_timeout: settings.busy_timeout,
        })
    }

    /// Runs the user's reads on one snapshot, behind the fences.
    pub(super) async fn read_user<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let busy_timeout = self.busy_timeout;
        self.send(&self.users, operation, move |connection, guard| {
            let run = || guard.work(Scope::Read, || work(connection));
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
            guard
                .restore(connection, busy_timeout)
                .map_err(statement(operation))?;
            answer
                .map_err(|panic| panicked(operation, panic))?
                .map_err(statement(operation))
        })
        .await
    }

    /// Runs the reads on one snapshot.
    pub(super) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        self.send(&self.own, operation, move |connection, _| work(connection))
            .await
    }

    async fn send<T, F>(&self, pool: &Pool, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Guard) -> Result<T> + Send + 'static,
    {
        check_nested(&self.place, operation)?;
        let turn = Arc::<Turn>::default();
        let patience = Patience {
            operation,
            since: Instant::now(),
            lock_timeout: self.patience,
            busy_timeout: self.patience,
            key: None,
            turn: turn.clone(),
        };
        let (reply, mut answer) = oneshot::channel();
        let mut work = Quiet(Some(work));
        let read: Read = Box::new(move |connection, guard| {
            let work = work.0.take();
            if !reply.is_closed()
                && turn.begin()
                && let Some(work) = work
            {
                let answer = on_snapshot(operation, connection, || {
                    caught(operation, || work(connection, guard))
                });
                // The caller's future may be dropped by now.
                drop(Quiet(reply.send(answer).err()));
            }
        });
        let sender = pool
            .sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        sender
            .and_then(|sender| sender.send(read).ok())
            .ok_or_else(|| closed().error(operation))?;
        let lost = |operation| {
            error(
                ErrorKind::Unavailable,
                operation,
                "the reading thread ended",
            )
        };
        let answer = patience.wait(&Hold::default(), &mut answer, lost).await?;
        match self.unlocked.as_deref().is_some_and(opened_since) {
            false => Ok(answer),
            true => Err(error(
                ErrorKind::Busy,
                operation,
                "another program has opened the file while it was read: try again",
            )),
        }
    }

    /// Ends the threads when they have answered what was sent.
    pub(super) fn close(&self) -> Threads {
        self.own.close();
        self.users.close();
        self.threads.clone()
    }
}

fn connect(connector: &Connector) -> Result<(Connection, Guard)> {
    let connection = connector.connect(Purpose::Read)?;
    let guard = Guard::default();
    guard.install(&connection).map_err(statement("open"))?;
    // The first read opens the log, by its name: not at a time when another file may have the name.
    connection
        .query_row("PRAGMA main.schema_version", [], |_| Ok(()))
        .map_err(statement("open"))?;
    Ok((connection, guard))
}

fn serve(connection: &Connection, guard: &Guard, gate: &Gate, receiver: &Mutex<Receiver<Read>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(read) = next else { return };
        let _open = gate.enter();
        // What the caller's closure holds may panic while it is dropped.
        let run = std::panic::AssertUnwindSafe(|| read(connection, guard));
        if let Err(panic) = std::panic::catch_unwind(run) {
            std::mem::forget(panic);
        }
        if !connection.is_autocommit() {
            // If this failed, the next read's BEGIN would say so.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

fn on_snapshot<T>(
    operation: &'static str,
    connection: &Connection,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    connection
        .execute_batch("BEGIN")
        .map_err(statement(operation))?;
    let answer = work();
    connection
        .execute_batch("ROLLBACK")
        .map_err(statement(operation))?;
    answer
}

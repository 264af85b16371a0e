//! Connections that only read, beside the writer: a read never waits for a commit.

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, Sender, channel},
};

use exactly_once_core::{ErrorKind, Result};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection::{Connector, Purpose},
    error::{error, statement},
    guard::Guard,
    queue::closed,
};

type Read = Box<dyn FnOnce(&Connection, &Guard) + Send>;

/// The way to the readers' threads; they end with the last of it, or when it is closed.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    sender: Arc<Mutex<Option<Sender<Read>>>>,
}

impl Readers {
    /// Opens the connections, each on a thread of its own. The file must exist by now.
    pub(super) async fn start(connector: &Connector, count: usize) -> Result<Self> {
        let (sender, receiver) = channel::<Read>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut ready = Vec::new();
        for _ in 0..count {
            let (opened, open) = oneshot::channel();
            let (connector, receiver) = (connector.clone(), receiver.clone());
            std::thread::Builder::new()
                .name("exactly-once-sqlite-reader".to_owned())
                .spawn(move || match connect(&connector) {
                    Ok((connection, guard)) => {
                        if opened.send(Ok(())).is_ok() {
                            serve(&connection, &guard, &receiver);
                        }
                    }
                    Err(failure) => drop(opened.send(Err(failure))),
                })
                .map_err(|source| {
                    error(ErrorKind::Unavailable, "open", "no thread could be started")
                        .with_source(source)
                })?;
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

    /// Runs the user's reads on one snapshot, behind the fences.
    pub(super) async fn read_user<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.send(operation, move |connection, guard| {
            guard
                .work(false, || work(connection))
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
        self.send(operation, move |connection, _| work(connection))
            .await
    }

    async fn send<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &Guard) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection, guard| {
            if !reply.is_closed() {
                let answer = on_snapshot(operation, connection, || work(connection, guard));
                // Nobody listens if the caller's future was dropped.
                let _ = reply.send(answer);
            }
        });
        let sender = self
            .sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        sender
            .and_then(|sender| sender.send(read).ok())
            .ok_or_else(|| closed().error(operation))?;
        answer.await.map_err(|_| {
            error(
                ErrorKind::Unavailable,
                operation,
                "the reading thread ended",
            )
        })?
    }

    /// Ends the threads when they have answered what was sent.
    pub(super) fn close(&self) {
        self.sender
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

fn connect(connector: &Connector) -> Result<(Connection, Guard)> {
    let connection = connector.connect(Purpose::Read)?;
    let guard = Guard::default();
    guard.install(&connection).map_err(statement("open"))?;
    Ok((connection, guard))
}

fn serve(connection: &Connection, guard: &Guard, receiver: &Mutex<Receiver<Read>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(read) = next else { return };
        // A panic in the caller's closure drops its reply, and must not end the thread.
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(connection, guard)));
        if caught.is_err() && !connection.is_autocommit() {
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

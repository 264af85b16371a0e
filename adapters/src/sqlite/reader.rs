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
    queue::closed,
};

type Read = Box<dyn FnOnce(&Connection) + Send>;

/// The way to the readers' threads; they end with the last of it, or when it is closed.
#[derive(Clone, Debug)]
pub(super) struct Readers {
    sender: Arc<Mutex<Option<Sender<Read>>>>,
}

impl Readers {
    /// Opens the connections, each on a thread of its own. The file must exist by now.
    pub(super) fn start(connector: &Connector, count: usize) -> Result<Self> {
        let (sender, receiver) = channel::<Read>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..count.max(1) {
            let connection = connector.connect(Purpose::Read)?;
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name("exactly-once-sqlite-reader".to_owned())
                .spawn(move || serve(&connection, &receiver))
                .map_err(|source| {
                    error(ErrorKind::Unavailable, "open", "no thread could be started")
                        .with_source(source)
                })?;
        }
        Ok(Self {
            sender: Arc::new(Mutex::new(Some(sender))),
        })
    }

    /// Runs the reads on one snapshot.
    pub(super) async fn read<T, F>(&self, operation: &'static str, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let read: Read = Box::new(move |connection| {
            if !reply.is_closed() {
                // Nobody listens if the caller's future was dropped.
                let _ = reply.send(on_snapshot(operation, connection, work));
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

fn serve(connection: &Connection, receiver: &Mutex<Receiver<Read>>) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(read) = next else { return };
        // A panic in the caller's closure drops its reply, and must not end the thread.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(connection)));
        if caught.is_err() && !connection.is_autocommit() {
            // If this failed, the next read's BEGIN would say so.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

fn on_snapshot<T>(
    operation: &'static str,
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T>,
) -> Result<T> {
    connection
        .execute_batch("BEGIN")
        .map_err(statement(operation))?;
    let answer = work(connection);
    connection
        .execute_batch("ROLLBACK")
        .map_err(statement(operation))?;
    answer
}

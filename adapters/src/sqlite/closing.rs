//! The end of a store: its readers end, then its writer, and then the caller learns of it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    file::OpenFile,
    queue::{Message, closed},
    session::refuse_stale,
    writer::{WriterThread, refuse, ticket},
};

/// How often a close looks whether the readers have ended.
const READERS_END: Duration = Duration::from_millis(1);

/// The readers' threads. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Threads(Arc<Mutex<Vec<JoinHandle<()>>>>);

impl Threads {
    fn lock(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, thread: JoinHandle<()>) {
        self.lock().push(thread);
    }

    /// Whether all have ended, and closed their connections.
    fn have_ended(&self) -> bool {
        self.lock().iter().all(JoinHandle::is_finished)
    }
}

/// Asks the writer's thread to end, after the readers' threads.
pub(super) struct Closing {
    pub(super) readers: Threads,
    pub(super) reply: oneshot::Sender<()>,
}

impl WriterThread {
    /// Refuses what waits and what comes, and closes the connections: the writer's after the
    /// readers', as the last one moves the log into the file.
    pub(super) fn close(&mut self, closing: Closing) {
        let readers = closing.readers.clone();
        let mut closings = vec![closing];
        loop {
            let ended = readers.have_ended();
            self.refuse_all(&mut closings);
            if ended {
                break;
            }
            std::thread::sleep(READERS_END);
        }
        self.end_lanes();
        for closing in closings {
            // The caller may be gone; it is closed all the same.
            let _ = closing.reply.send(());
        }
    }

    /// Closes the connections. The last one moves the log into the file and deletes it, unless others may
    /// have written into it that this one knows nothing of.
    pub(super) fn end_lanes(&mut self) {
        let lost = self.file.as_ref().is_some_and(OpenFile::index_is_lost);
        for (_, lane) in self.lanes.drain() {
            if lost && let Err(source) = lane.leave_log() {
                tracing::error!(%source, "the log may be moved into the file");
            }
        }
    }

    fn refuse_all(&mut self, closings: &mut Vec<Closing>) {
        while let Some(message) = self.try_next() {
            match message {
                Message::Session(_, call) => refuse_stale(call),
                Message::Close(closing) => closings.push(closing),
                other => {
                    let operation = ticket(&other).map_or("close", |ticket| ticket.operation);
                    refuse(other, closed().error(operation));
                }
            }
        }
    }
}

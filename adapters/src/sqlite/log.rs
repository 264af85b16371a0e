//! Keeps the log short.
//!
//! A passive checkpoint moves the log into the file, but the log begins again only when no reader
//! is left in it, and readers that overlap leave never such a moment: it grows without bound. So past
//! a limit the writer closes the gate before its own readers for a moment. On a full disk the same
//! gives the space of the log back.

use std::time::{Duration, Instant};

use super::{connection::Purpose, writer::WriterThread};

/// How long the writer waits for the reads that are under way.
const READERS: Duration = Duration::from_millis(200);

/// How long it lets the log be after a reader stopped it.
const PAUSE: Duration = Duration::from_secs(1);

impl WriterThread {
    /// Empties the log where it is longer than the limit, or where the disk has had no room.
    pub(super) fn keep_log_short(&mut self, disk_is_full: bool) {
        let now = Instant::now();
        if self.log_rests_until.is_some_and(|until| now < until) && !disk_is_full {
            return;
        }
        let limit = if disk_is_full {
            0
        } else {
            self.settings.log_limit
        };
        let Some(file) = self.file.as_ref().filter(|file| file.log_bytes() > limit) else {
            return;
        };
        if file.index_is_lost() {
            return;
        }
        let file = file.clone();
        let (gate, busy_timeout) = (self.gate.clone(), self.settings.busy_timeout);
        let Ok(lane) = self.lane(Purpose::Write) else {
            return;
        };
        let connection = &lane.connection;
        if !connection.is_autocommit() {
            return;
        }
        let empty = || -> rusqlite::Result<()> {
            // A reader of another process is not waited for.
            connection.busy_timeout(Duration::ZERO)?;
            let checkpoint =
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.busy_timeout(busy_timeout)?;
            checkpoint
        };
        if let Some(Err(source)) = gate.without_readers(READERS, empty) {
            tracing::warn!(%source, "the log could not be emptied");
        }
        if file.log_bytes() > limit {
            tracing::warn!("a reader keeps the log long: it is tried again in a second");
            self.log_rests_until = Some(now + PAUSE);
        }
    }
}

//! What a store was built with.

use std::{fmt, sync::Arc, time::Duration};

use exactly_once_core::{MAX_RECEIPT_BYTES, Timestamp};

/// Gives the time in place of this machine's clock.
pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Limits and clock, shared by all handles of a store.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) max_receipt_bytes: usize,
    /// How many effects at most share a commit.
    pub(super) group_limit: usize,
    /// How many calls at most wait for the writer.
    pub(super) queue_limit: usize,
    /// How long a call waits while an interactive transaction holds the writer.
    pub(super) lock_timeout: Duration,
    /// How long a call waits while another connection or process holds the file's write lock.
    pub(super) busy_timeout: Duration,
    /// How long an interactive transaction may rest between two calls.
    pub(super) idle_timeout: Duration,
    /// How long the log may be before the readers are paused to empty it, in bytes.
    pub(super) log_limit: u64,
    /// How many connections read.
    pub(super) readers: usize,
    pub(super) clock: Option<Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_receipt_bytes: MAX_RECEIPT_BYTES,
            group_limit: 256,
            queue_limit: 16_384,
            lock_timeout: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            log_limit: 64 * 1024 * 1024,
            readers: 2,
            clock: None,
        }
    }
}

impl Settings {
    /// The time, by this machine's clock.
    pub(super) fn now(&self) -> Timestamp {
        if let Some(clock) = &self.clock {
            return clock();
        }
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("group_limit", &self.group_limit)
            .field("lock_timeout", &self.lock_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .finish_non_exhaustive()
    }
}

//! Everything that can be chosen before the file is opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use exactly_once_core::{ErrorKind, Namespace, Result, Timestamp, adapter::check_duration};

use super::{
    SqliteStore,
    connection::{Access, Connector, StatementHook},
    error::error,
    gate::Gate,
    reader::Readers,
    settings::Settings,
    writer::Writer,
};

/// Builds a [`SqliteStore`].
#[derive(Clone)]
#[must_use]
pub struct SqliteBuilder {
    path: PathBuf,
    namespace: Option<Namespace>,
    max_pages: Option<u32>,
    statement_hook: Option<StatementHook>,
    access: Access,
    settings: Settings,
}

impl std::fmt::Debug for SqliteBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteBuilder")
            .field("path", &self.path)
            .field("namespace", &self.namespace)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl SqliteBuilder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            namespace: None,
            max_pages: None,
            statement_hook: None,
            access: Access::default(),
            settings: Settings::default(),
        }
    }

    /// The namespace that the handle is bound to; `default` if none is named.
    pub fn namespace(mut self, namespace: Namespace) -> Self {
        self.namespace = Some(namespace);
        self
    }

    /// How long a call waits, from its start, while another connection or process holds the file's
    /// write lock (5 s). Then it is [busy](ErrorKind::Busy), surely not executed.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.settings.busy_timeout = timeout;
        self
    }

    /// How long a call waits, from its start, for other calls and transactions of this store (5 s).
    /// Then it is [in progress](ErrorKind::InProgress) for the same key, or
    /// [busy](ErrorKind::Busy), surely not executed. The limit needs a tokio runtime with its timer,
    /// which the call is made on.
    ///
    /// A call that is made *inside* of an interactive transaction, and not through it, waits for
    /// itself and ends like this; one from inside of a blocking closure is an error at once.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.settings.lock_timeout = timeout;
        self
    }

    /// How long an interactive transaction may rest between two of its calls (30 s). Then it is
    /// rolled back, and its later calls are [busy](ErrorKind::Busy): a handler that hangs must not
    /// stop all others.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }

    /// Opens only a file that has the store's tables, in this library's version: neither the file nor
    /// the tables are made or upgraded.
    pub fn existing(mut self) -> Self {
        self.access = Access::Existing;
        self
    }

    /// As [`Self::existing`], and writes nothing: the connections are read-only, and calls that write
    /// are a [configuration](ErrorKind::Configuration) error.
    pub fn read_only(mut self) -> Self {
        self.access = Access::ReadOnly;
        self
    }

    /// How many effects at most share one commit (256).
    pub fn group_limit(mut self, effects: usize) -> Self {
        self.settings.group_limit = effects.max(1);
        self
    }

    /// How many calls at most wait for the writer (16,384); one more is [busy](ErrorKind::Busy).
    pub fn queue_limit(mut self, calls: usize) -> Self {
        self.settings.queue_limit = calls.max(1);
        self
    }

    /// How many pages (of 4 KiB, unless the file was made otherwise) the file may have; no limit of
    /// its own by default. What would go past is refused as [unavailable](ErrorKind::Unavailable),
    /// just as on a full disk, and nothing of it is stored.
    pub fn max_pages(mut self, pages: u32) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// How long the log (`-wal`) may grow, in bytes, before the store pauses its own reads for a
    /// moment to empty it (64 MiB). Reads that overlap would let it grow without bound. A read
    /// transaction of another process is not paused: while it is open, the log grows.
    pub fn log_limit(mut self, bytes: u64) -> Self {
        self.settings.log_limit = bytes;
        self
    }

    /// How many connections read beside the writer (2), and as many again for
    /// [`SqliteStore::read`].
    pub fn readers(mut self, connections: usize) -> Self {
        self.settings.readers = connections.clamp(1, 64);
        self
    }

    /// The largest receipt, in bytes (1 MiB).
    pub fn max_receipt_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_receipt_bytes = bytes;
        self
    }

    /// Gives the time instead of this machine's clock. **For tests**: all handles and processes on
    /// one file must agree on the time, or leases and deadlines mean nothing.
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        self.settings.clock = Some(Arc::new(clock));
        self
    }

    /// Calls `hook` on the writer's thread before each SQL statement, with its text; also before
    /// `BEGIN` and `COMMIT`, and at the start of each trigger.
    ///
    /// For tracing, and for fault tests: a hook that ends the process shows what a crash at that
    /// very place leaves behind. It must not call the store.
    pub fn with_statement_hook(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.statement_hook = Some(Arc::new(hook));
        self
    }

    /// Opens the file, creates or upgrades the store's tables, and starts the threads. Safe while
    /// any number of processes do the same.
    ///
    /// # Errors
    /// - [Configuration](ErrorKind::Configuration): a hard link, an option in a `file:` URI, no folder, no permission, no database, a
    ///   damaged file, a newer schema, a file system without WAL, a SQLite library before 3.51.3.
    ///   The message says what to fix.
    /// - [Invalid](ErrorKind::Invalid): a timeout of zero or over 100 years.
    /// - [Busy](ErrorKind::Busy): another process kept the file locked.
    pub async fn open(self) -> Result<SqliteStore> {
        check_duration("lock timeout", self.settings.lock_timeout)?;
        check_duration("idle timeout", self.settings.idle_timeout)?;
        if self.settings.busy_timeout > Duration::from_secs(3600) {
            return Err(error(
                ErrorKind::Invalid,
                "open",
                "a busy timeout of more than an hour: take at most 3600 s",
            ));
        }
        let namespace = match self.namespace {
            Some(namespace) => namespace,
            None => Namespace::new("default")?,
        };
        let connector = Connector {
            path: super::file::path_of(&self.path)?,
            busy_timeout: self.settings.busy_timeout,
            max_pages: self.max_pages,
            statement_hook: self.statement_hook,
            access: self.access,
        };
        let settings = Arc::new(self.settings);
        let gate = Gate::default();
        let writer = Writer::start(connector.clone(), settings.clone(), gate.clone()).await?;
        let place = writer.place().clone();
        let readers = Readers::start(&connector, &place, &gate, &settings).await?;
        Ok(SqliteStore {
            namespace,
            writer,
            readers,
            settings,
            place,
            replays: Arc::default(),
            replayed_changes: Arc::default(),
        })
    }
}

//! The handle: how it opens, and how it waits for its turn to write.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use exactly_once_core::{
    Capabilities, Durability, Error, ErrorKind, Namespace, Place, Result, Store, StoreIdentity,
    Timestamp, TwoPhase,
};
use redb::{
    ConcurrencyMode, Database, ReadTransaction, ReadableDatabase, TransactionError,
    WriteTransaction,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{
    error::{BACKEND, During, error},
    schema,
    transaction::RedbTx,
};

/// How often a handle looks whether another handle or process has ended its transaction.
const POLL: Duration = Duration::from_millis(1);

/// A store in one redb file, which any number of handles and processes may have open.
#[derive(Clone, Debug)]
pub struct RedbStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Namespace,
}

/// What the clones of a handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The file, by which handles know that they are on the same data.
    pub(crate) file: PathBuf,
    /// `None` once the handle was closed.
    database: Mutex<Option<Arc<Database>>>,
    /// redb has one writer at a time. Clones of a handle queue here, first come first served.
    turn: Arc<Semaphore>,
    lock_timeout: Duration,
}

/// Opens a [`RedbStore`]; see [`RedbStore::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct RedbStoreBuilder {
    path: PathBuf,
    lock_timeout: Duration,
}

impl RedbStoreBuilder {
    /// How long a call waits for its turn to write before it is refused as busy.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Opens the file, which is made if there is none, and makes the tables that are missing.
    ///
    /// # Errors
    /// [Configuration](ErrorKind::Configuration) where the file can't be used.
    pub async fn open(self) -> Result<RedbStore> {
        let Self { path, lock_timeout } = self;
        // redb waits here for the present writer, however long that takes.
        let opening = blocking("open", move || {
            let mut options = Database::builder();
            options.set_concurrency_mode(ConcurrencyMode::MultiWriter);
            let database = options.create(&path).during("open")?;
            let file = path
                .canonicalize()
                .map_err(redb::Error::Io)
                .during("open")?;
            Ok::<_, Error>((file, database))
        });
        let Ok(opened) = timeout(lock_timeout, opening).await else {
            return Err(busy("open"));
        };
        let namespace = Namespace::new("default")?;
        let (file, database) = opened??;
        let shared = Shared {
            file,
            database: Mutex::new(Some(Arc::new(database))),
            turn: Arc::new(Semaphore::new(1)),
            lock_timeout,
        };
        let store = RedbStore {
            shared: Arc::new(shared),
            namespace,
        };
        if !store.read("open", schema::is_ready).await? {
            store
                .write("open", |tx| Ok(Then::Commit(schema::migrate(tx)?)))
                .await?;
        }
        Ok(store)
    }
}

/// What a write transaction of this store's own does in the end.
pub(crate) enum Then<T> {
    /// Commits, and gives the answer.
    Commit(T),
    /// Gives the answer; nothing was changed.
    Leave(T),
}

impl RedbStore {
    /// Opens a store in this file, bound to the namespace `default`.
    ///
    /// # Errors
    /// As [`RedbStoreBuilder::open`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self> {
        Self::builder(path).open().await
    }

    /// Opens a store with other settings.
    pub fn builder(path: impl Into<PathBuf>) -> RedbStoreBuilder {
        RedbStoreBuilder {
            path: path.into(),
            lock_timeout: Duration::from_secs(5),
        }
    }

    /// Waits for the turn to write; refused as busy when that takes too long.
    pub(crate) async fn begin_write(&self, operation: &'static str) -> Result<RedbTx> {
        let give_up = Instant::now() + self.shared.lock_timeout;
        self.database(operation)?;
        let turn = timeout_at(give_up, self.shared.turn.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(busy(operation));
        };
        self.begin_in_turn(operation, turn, give_up).await
    }

    /// Waits for the other handles and processes.
    async fn begin_in_turn(
        &self,
        operation: &'static str,
        turn: OwnedSemaphorePermit,
        give_up: Instant,
    ) -> Result<RedbTx> {
        loop {
            let database = self.database(operation)?;
            let begun = blocking(operation, move || database.try_begin_write()).await?;
            match begun {
                Ok(transaction) => return Ok(RedbTx::new(self, transaction, turn)),
                Err(TransactionError::WouldBlock) if Instant::now() < give_up => sleep(POLL).await,
                Err(TransactionError::WouldBlock) => return Err(busy(operation)),
                Err(error) => return Err(error).during(operation),
            }
        }
    }

    /// Undoes a transaction and begins another, while the clones of this handle still wait.
    pub(crate) async fn begin_again(&self, operation: &'static str, tx: RedbTx) -> Result<RedbTx> {
        let (transaction, turn) = tx.into_parts();
        blocking(operation, move || transaction.abort().during(operation)).await??;
        let give_up = Instant::now() + self.shared.lock_timeout;
        self.begin_in_turn(operation, turn, give_up).await
    }

    /// Runs `work` in a write transaction of its own. The call may be dropped at any poll: what was
    /// begun then ends by itself, and the next one waits for that.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<Then<T>> + Send + 'static,
    ) -> Result<T> {
        let tx = self.begin_write(operation).await?;
        blocking(operation, move || match work(tx.transaction())? {
            Then::Leave(answer) => Ok(answer),
            Then::Commit(answer) => tx.commit_now(operation).map(|()| answer),
        })
        .await?
    }

    /// Runs `work` on what is committed now.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let database = self.database(operation)?;
        blocking(operation, move || {
            work(&database.begin_read().during(operation)?)
        })
        .await?
    }

    /// The database, unless this handle was closed.
    fn database(&self, operation: &'static str) -> Result<Arc<Database>> {
        let database = self
            .shared
            .database
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        database
            .clone()
            .ok_or_else(|| error(ErrorKind::Unavailable, operation, "this handle was closed"))
    }
}

fn busy(operation: &'static str) -> Error {
    error(
        ErrorKind::Busy,
        operation,
        "another transaction is being written: try again",
    )
}

/// redb blocks, so it runs on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(error(
            ErrorKind::Unavailable,
            operation,
            "the runtime is shutting down",
        )),
    }
}

/// An embedded database has no clock but this machine's.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl Store for RedbStore {
    fn backend(&self) -> &'static str {
        BACKEND
    }

    fn place(&self) -> Place {
        Place::new([BACKEND, &self.shared.file.to_string_lossy()])
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self {
            namespace,
            shared: self.shared.clone(),
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(Durability::Power, TwoPhase::None).with_server_time(false)
    }

    async fn now(&self) -> Result<Timestamp> {
        self.database("now").map(|_| now())
    }

    async fn identity(&self) -> Result<StoreIdentity> {
        const OPERATION: &str = "identity";
        let stored = self.read(OPERATION, |tx| {
            let table = tx.open_table(schema::BYTES).during(OPERATION)?;
            let stored = table.get(schema::IDENTITY).during(OPERATION)?;
            Ok(stored.map(|stored| StoreIdentity::from_bytes(*stored.value())))
        });
        stored.await?.ok_or_else(|| {
            error(
                ErrorKind::Configuration,
                OPERATION,
                "the file has no identity: it was not made by this store",
            )
        })
    }

    async fn adopt(&self) -> Result<StoreIdentity> {
        const OPERATION: &str = "adopt";
        self.write(OPERATION, |tx| {
            let adopted = StoreIdentity::random();
            tx.open_table(schema::BYTES)
                .during(OPERATION)?
                .insert(schema::IDENTITY, adopted.as_bytes())
                .during(OPERATION)?;
            Ok(Then::Commit(adopted))
        })
        .await
    }

    /// An open transaction keeps the file open until it ends.
    async fn close(&self) -> Result<()> {
        let database = self
            .shared
            .database
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        blocking("close", move || drop(database)).await
    }
}

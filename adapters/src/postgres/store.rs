//! The store: a pool, a namespace, and the conversations that everything else is made of.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use exactly_once_core::{
    Capabilities, ClaimMode, Durability, ErrorKind, Namespace, Place, Result, Store, StoreIdentity,
    Timestamp, TwoPhase,
};
use tokio::time::timeout;

use super::{
    STORE,
    checks::{SLOTS, Server, TWO_PHASE_OFF},
    driver::{Cause, Driver, DriverError, Reply},
    error::{convert, error, garbled},
    group::Groups,
    identifier::GidPrefix,
    literal,
    options::{Options, Timeouts},
    pooler,
    rivals::Rivals,
    schema::Tables,
    session::{BeginError, Begun, Session},
    sqlstate::Stage,
    statements::{self, Preamble},
};

/// How often a connection that was left dirty, or that was dead already, is replaced.
pub(super) const REPLACEMENTS: usize = 32;

/// A store in Postgres; see [`TokioPostgresStore`](super::TokioPostgresStore) and
/// [`SqlxPostgresStore`](super::SqlxPostgresStore).
#[derive(Clone)]
pub struct PostgresStore<D: Driver> {
    shared: Arc<Shared<D>>,
    namespace: Namespace,
    /// The namespace as an SQL expression.
    namespace_sql: Arc<str>,
    prefix: GidPrefix,
}

struct Shared<D> {
    driver: D,
    options: Options,
    tables: Tables,
    preamble: Preamble,
    server: Server,
    groups: Groups,
    /// As it was read last; a handle reads it once.
    identity: Mutex<Option<StoreIdentity>>,
    rivals: Arc<Rivals>,
    /// How many transactions may be prepared at once, as it was last seen.
    slots: AtomicI64,
    closed: AtomicBool,
}

impl<D: Driver> fmt::Debug for PostgresStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("namespace", &self.namespace)
            .field("schema", &self.shared.options.schema)
            .finish_non_exhaustive()
    }
}

impl<D: Driver> PostgresStore<D> {
    /// Looks at the server, creates or checks the tables, and is ready.
    pub(super) async fn connect(driver: D, options: Options) -> Result<Self> {
        options.check()?;
        let namespace = options.namespace()?;
        let tables = Tables::new(&options.schema);
        let connection = driver
            .acquire()
            .await
            .map_err(|error| convert(error, "connect", Stage::Ours))?;
        let mut session = Session::new(connection, options.timeouts.reply);
        // Once for a handle, and large: kept out of the caller's future.
        let mut server = Box::pin(Server::look(&mut session, &options)).await?;
        let preamble = Preamble::new(&options.timeouts, server.watches_client);
        if Box::pin(pooler::look(&driver, &mut session, &options.timeouts)).await? {
            // It keeps each client's settings, and would take a reset for the client's own.
            server.set_at_connect = true;
            drop(session);
        } else {
            session.release();
        }
        let slots = server.slots;
        let groups = Groups::new(&tables, &options.timeouts, server.watches_client);
        let shared = Arc::new(Shared {
            driver,
            groups,
            rivals: Arc::default(),
            tables,
            preamble,
            server,
            options,
            identity: Mutex::default(),
            slots: AtomicI64::new(slots),
            closed: AtomicBool::new(false),
        });
        let store = Self::bound(shared, namespace);
        if store.shared.options.migrate {
            store.migrate().await?;
        } else {
            store.check_schema("connect").await?;
        }
        store.check_rights().await?;
        store.read_identity("connect").await?;
        Ok(store)
    }

    fn bound(shared: Arc<Shared<D>>, namespace: Namespace) -> Self {
        Self {
            namespace_sql: literal::bytes(namespace.as_str().as_bytes()).into(),
            prefix: GidPrefix::new(
                &shared.server.database,
                &shared.options.schema,
                namespace.as_str(),
            ),
            shared,
            namespace,
        }
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.shared.tables
    }

    pub(super) fn server(&self) -> &Server {
        &self.shared.server
    }

    pub(super) fn slots_cell(&self) -> &AtomicI64 {
        &self.shared.slots
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.shared.options.timeouts
    }

    pub(super) fn preamble(&self) -> &Preamble {
        &self.shared.preamble
    }

    pub(super) fn rivals(&self) -> &Arc<Rivals> {
        &self.shared.rivals
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    /// Whether callers may share a commit.
    pub(super) fn shares_commits(&self) -> bool {
        self.shared.options.share_commits
    }

    pub(super) fn prefix(&self) -> &GidPrefix {
        &self.prefix
    }

    pub(super) fn namespace_sql(&self) -> &str {
        &self.namespace_sql
    }

    pub(super) fn max_receipt_bytes(&self) -> usize {
        self.shared.options.max_receipt_bytes
    }

    /// The identity of the data, as this handle has read it.
    pub(super) fn known_identity(&self) -> Option<StoreIdentity> {
        *self.identity_cell()
    }

    fn identity_cell(&self) -> MutexGuard<'_, Option<StoreIdentity>> {
        let cell = &self.shared.identity;
        cell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The identity of the data now.
    pub(super) async fn read_identity(&self, operation: &'static str) -> Result<StoreIdentity> {
        let replies = self.read(operation, &self.tables().read_identity()).await?;
        let identity = parse_identity(replies.first(), operation)?;
        self.identity_cell().get_or_insert(identity);
        Ok(identity)
    }

    /// Ends a call at one deadline from its start, whatever it waits for: a lock, a connection, a batch,
    /// a reply. What was under way then is dropped, and its connection closed; `late` says what that
    /// means.
    pub(super) async fn within<T>(
        &self,
        operation: &'static str,
        late: ErrorKind,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let limit = self.timeouts().acquire + self.timeouts().reply;
        // On the heap, so that the call is not part of every caller's future: it is some 20 KB.
        match timeout(limit, Box::pin(call)).await {
            Ok(answer) => answer,
            Err(_) => Err(error(
                late,
                operation,
                format!("no answer within {limit:?}"),
            )),
        }
    }

    /// A connection of the pool.
    pub(super) async fn session(&self) -> Result<Session<D::Connection>, DriverError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(DriverError::bare(Cause::Closed));
        }
        // The user's own pool may wait for ever; ours has the same limit inside.
        match timeout(self.timeouts().acquire, self.shared.driver.acquire()).await {
            Ok(connection) => Ok(Session::new(connection?, self.timeouts().reply)),
            Err(_) => Err(DriverError::bare(Cause::Exhausted)),
        }
    }

    /// Begins a transaction, runs statements in it, and keeps it open.
    pub(super) async fn try_open(
        &self,
        preamble: &Preamble,
        sql: &str,
    ) -> Result<Begun<D::Connection>, DriverError> {
        let mut last = DriverError::bare(Cause::Exhausted);
        for _ in 0..REPLACEMENTS {
            match self.session().await?.begin(preamble, sql).await {
                Ok(begun) => return Ok(begun),
                Err(BeginError::Dirty) => {}
                // It was dead before; nothing was done, and a new one is made.
                Err(BeginError::Failed(error)) if error.cause == Cause::Lost => last = error,
                Err(BeginError::Failed(error)) => return Err(error),
            }
        }
        Err(last)
    }

    /// The same, with the error as the operation's.
    pub(super) async fn open(
        &self,
        operation: &'static str,
        sql: &str,
    ) -> Result<Begun<D::Connection>> {
        self.try_open(self.preamble(), sql)
            .await
            .map_err(|error| convert(error, operation, Stage::Ours))
    }

    /// Runs statements in a transaction of their own and commits, in one round trip.
    pub(super) async fn try_transact(&self, sql: &str) -> Result<Vec<Reply>, DriverError> {
        for _ in 0..REPLACEMENTS {
            match self.session().await?.transact(self.preamble(), sql).await {
                Ok(replies) => return Ok(replies),
                Err(BeginError::Dirty) => {}
                Err(BeginError::Failed(error)) => return Err(error),
            }
        }
        Err(DriverError::bare(Cause::Exhausted))
    }

    /// The same for statements that only read: a lost connection loses nothing, so try another.
    pub(super) async fn read(&self, operation: &'static str, sql: &str) -> Result<Vec<Reply>> {
        let mut tries = 0;
        loop {
            match self.try_transact(sql).await {
                Ok(replies) => return Ok(replies),
                Err(error) if error.cause == Cause::Lost && tries < REPLACEMENTS => tries += 1,
                Err(error) => return Err(convert(error, operation, Stage::Ours)),
            }
        }
    }
}

#[cfg(feature = "cli")]
impl<D: Driver> PostgresStore<D> {
    /// How much waits for a decision in this database or was decided and is not carried out, in every
    /// namespace. An identifier does not say the schema, so those of another one count as well.
    pub(crate) async fn left_anywhere(&self) -> Result<u64> {
        const OPERATION: &str = "adopt";
        let sql = format!(
            "SELECT (SELECT pg_catalog.count(*) {}) + (SELECT pg_catalog.count(*) FROM {} WHERE NOT \
             finished)",
            super::outcome::rows_of_prepared("'eo1:'"),
            self.tables().decisions,
        );
        let replies = self.read(OPERATION, &sql).await?;
        statements::number(replies.first(), 0)
            .and_then(|left| u64::try_from(left).ok())
            .ok_or_else(|| garbled(OPERATION))
    }
}

fn parse_identity(reply: Option<&Reply>, operation: &'static str) -> Result<StoreIdentity> {
    statements::cell(reply, 0)
        .and_then(literal::unhex)
        .and_then(|bytes| bytes.try_into().ok())
        .map(StoreIdentity::from_bytes)
        .ok_or_else(|| garbled(operation))
}

impl<D: Driver> Store for PostgresStore<D> {
    fn backend(&self) -> &'static str {
        STORE
    }

    fn place(&self) -> Place {
        Place::new([STORE, &self.server().identity, &self.shared.options.schema])
    }

    fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self::bound(Arc::clone(&self.shared), namespace)
    }

    fn capabilities(&self) -> Capabilities {
        let durability = if self.server().safe_on_disk {
            Durability::Power
        } else {
            Durability::Process
        };
        let capabilities = match self.slots() {
            0 => Capabilities::new(durability, TwoPhase::None).with_two_phase_off(TWO_PHASE_OFF),
            _ => Capabilities::new(durability, TwoPhase::Native),
        };
        capabilities
            .with_max_receipt_bytes(self.max_receipt_bytes())
            .with_last_participant(true)
            .with_claim(ClaimMode::First)
    }

    async fn now(&self) -> Result<Timestamp> {
        let replies = self
            .read("now", &format!("SELECT {}, {SLOTS}", statements::NOW))
            .await?;
        if let Some(slots) = statements::number(replies.first(), 1) {
            self.slots_cell().store(slots, Ordering::Relaxed);
        }
        statements::number(replies.first(), 0)
            .map(Timestamp::from_micros)
            .ok_or_else(|| garbled("now"))
    }

    async fn identity(&self) -> Result<StoreIdentity> {
        match self.known_identity() {
            Some(known) => Ok(known),
            None => self.read_identity("identity").await,
        }
    }

    async fn adopt(&self) -> Result<StoreIdentity> {
        const OPERATION: &str = "adopt";
        let sql = format!(
            "UPDATE {} SET identity = {} RETURNING pg_catalog.encode(identity, 'hex')",
            self.tables().version,
            literal::bytes(StoreIdentity::random().as_bytes()),
        );
        let replies = self
            .try_transact(&sql)
            .await
            .map_err(|failed| convert(failed, OPERATION, Stage::Durable))?;
        let adopted = parse_identity(replies.first(), OPERATION)?;
        *self.identity_cell() = Some(adopted);
        Ok(adopted)
    }

    async fn close(&self) -> Result<()> {
        self.shared.closed.store(true, Ordering::Release);
        let limit = self.timeouts().reply;
        match timeout(limit, self.shared.driver.close()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(error(
                ErrorKind::Busy,
                "close",
                format!("transactions were still held after {limit:?}"),
            )),
        }
    }
}

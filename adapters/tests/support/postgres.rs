//! What the harnesses of both Postgres drivers share: one real server for the process, an empty
//! database for each case, and looks past the store under test.
//!
//! The version is that of `EXACTLY_ONCE_POSTGRES` (default 15). With
//! `EXACTLY_ONCE_POSTGRES_POOLER=1` everything goes through pgbouncer in transaction mode. With
//! `EXACTLY_ONCE_POSTGRES_KILL=1` each case has a server of its own, which it may kill: slower, so
//! for the cases that want it only.

use std::{
    env,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use exactly_once::{
    BalanceTransaction, DecisionRegister, LeaseStore, OneShotStore, PreparedTransactions, Result,
    Statement, Transactional, WorkError, postgres::Timeouts,
};
use exactly_once_conformance::{CaseFailure, CaseResult, Harness, run};
use exactly_once_servers::{Pgbouncer, Postgres};
use tokio::sync::OnceCell;

/// A driver under test.
pub trait Adapter: Send + Sync + 'static {
    /// Its store.
    type Store: OneShotStore
        + LeaseStore
        + BalanceTransaction
        + PreparedTransactions
        + DecisionRegister;

    /// In reports.
    const NAME: &'static str;

    /// Connects by a URL, with a pool of this size.
    fn connect(
        url: String,
        pool_size: u32,
        timeouts: Timeouts,
    ) -> impl Future<Output = Result<Self::Store>> + Send;

    /// Runs a statement of the user's own.
    fn execute(
        tx: &mut <Self::Store as Transactional>::Tx,
        sql: &'static str,
        id: &str,
    ) -> impl Future<Output = Result<(), WorkError>> + Send;
}

/// Short, so that a case which must wait for a lock is soon over.
pub fn timeouts() -> Timeouts {
    Timeouts {
        // A busy machine may take long to let a connection in.
        connect: Duration::from_secs(30),
        acquire: Duration::from_secs(30),
        lock: Duration::from_millis(400),
        statement: Duration::from_secs(5),
        idle_in_transaction: Duration::from_secs(20),
        reply: Duration::from_secs(6),
    }
}

/// The version to test.
pub fn major() -> u32 {
    env::var("EXACTLY_ONCE_POSTGRES").map_or(15, |major| {
        major
            .parse()
            .expect("EXACTLY_ONCE_POSTGRES must be a major version, as 15 or 18")
    })
}

struct Server {
    postgres: Postgres,
    pooler: Option<Pgbouncer>,
}

/// The harness of a driver.
pub struct PostgresHarness<A> {
    server: OnceCell<Arc<Server>>,
    /// Whether each case has a server of its own.
    kill: bool,
    number: AtomicU64,
    name: String,
    adapter: std::marker::PhantomData<A>,
}

/// A case's database.
pub struct Place {
    server: Arc<Server>,
    database: String,
    may_kill: bool,
}

const TEMPLATE: &str = "exactly_once_template";
const INSERT: &str = "INSERT INTO effects (id) VALUES ($1)";

/// Runs a future on this thread: those that start a server are not known to be `Send`.
fn here<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

impl Place {
    fn url(&self) -> String {
        match &self.server.pooler {
            Some(pooler) => pooler.database_url(&self.database),
            None => self.server.postgres.database_url(&self.database),
        }
    }

    async fn sql(&self, database: &str, sql: &str) -> CaseResult<String> {
        self.server
            .postgres
            .sql(database, sql)
            .await
            .map_err(|error| CaseFailure::unexpected(format!("{error:#}")))
    }
}

impl<A: Adapter> PostgresHarness<A> {
    /// Runs the whole suite.
    pub fn run() -> ExitCode {
        run(Self {
            server: OnceCell::new(),
            kill: env::var("EXACTLY_ONCE_POSTGRES_KILL").is_ok_and(|kill| kill == "1"),
            number: AtomicU64::new(0),
            name: format!("{}-{}", A::NAME, major()),
            adapter: std::marker::PhantomData,
        })
    }

    async fn started(&self) -> anyhow::Result<Arc<Server>> {
        if self.kill {
            return here(Self::start());
        }
        self.server
            .get_or_try_init(|| async { here(Self::start()) })
            .await
            .cloned()
    }

    async fn start() -> anyhow::Result<Arc<Server>> {
        let postgres = Postgres::start(major()).await?;
        let url = postgres.create_database(TEMPLATE).await?;
        postgres
            .sql(TEMPLATE, "CREATE TABLE effects (id text NOT NULL)")
            .await?;
        let store = A::connect(url, 1, timeouts()).await?;
        exactly_once::Store::close(&store).await?;
        let pooler = match env::var("EXACTLY_ONCE_POSTGRES_POOLER").as_deref() {
            Ok("1") => Some(Pgbouncer::start(&postgres).await?),
            _ => None,
        };
        Ok(Arc::new(Server { postgres, pooler }))
    }

    async fn open_with(
        &self,
        url: String,
        pool_size: u32,
        timeouts: Timeouts,
    ) -> CaseResult<A::Store> {
        Ok(A::connect(url, pool_size, timeouts).await?)
    }
}

impl<A: Adapter> Harness for PostgresHarness<A> {
    type Store = A::Store;
    type Guard = Place;

    fn name(&self) -> &str {
        &self.name
    }

    async fn fresh(&self) -> CaseResult<Place> {
        let server = self
            .started()
            .await
            .map_err(|error| CaseFailure::unexpected(format!("{error:#}")))?;
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let place = Place {
            database: format!("case_{number}"),
            server,
            may_kill: self.kill,
        };
        let create = format!("CREATE DATABASE {} TEMPLATE {TEMPLATE}", place.database);
        place.sql("postgres", &create).await?;
        Ok(place)
    }

    async fn open(&self, place: &Place) -> CaseResult<A::Store> {
        self.open_with(place.url(), 8, timeouts()).await
    }

    async fn write_effect(
        &self,
        tx: &mut <A::Store as Transactional>::Tx,
        id: &str,
    ) -> Result<(), WorkError> {
        A::execute(tx, INSERT, id).await
    }

    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        let id = id.replace('\'', "''");
        let sql = format!("SELECT count(*) FROM effects WHERE id = '{id}'");
        Ok(place.sql(&place.database, &sql).await?.parse()?)
    }

    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new(INSERT).bind(id).expecting_rows(1))
    }

    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects (id) VALUES (NULL)"))
    }

    async fn spoil(&self, tx: &mut <A::Store as Transactional>::Tx) -> bool {
        A::execute(tx, "SELECT 1 / 0 WHERE $1 <> ''", "x")
            .await
            .is_err()
    }

    fn server(&self, place: &Place) -> Option<SocketAddr> {
        let url = place.url();
        let address = url.split('@').nth(1)?.split('/').next()?;
        address.parse().ok()
    }

    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<A::Store> {
        let url = place.url();
        let address = Harness::server(self, place).map(|address| address.to_string());
        let url = url.replace(&address.unwrap_or_default(), &proxy.to_string());
        let impatient = Timeouts {
            statement: Duration::from_millis(1_500),
            reply: Duration::from_secs(2),
            ..timeouts()
        };
        // One connection: sqlx pings what is given back, and a second one would be used while the
        // rule of the proxy still hits the ping.
        self.open_with(url, 1, impatient).await
    }

    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<A::Store> {
        let starved = Timeouts {
            acquire,
            ..timeouts()
        };
        self.open_with(place.url(), 1, starved).await
    }

    async fn crash(&self, place: &Place) -> CaseResult {
        if !place.may_kill {
            return Err(CaseFailure::ignored(
                "the server is everybody's; EXACTLY_ONCE_POSTGRES_KILL=1 gives each case its own",
            ));
        }
        let postgres = &place.server.postgres;
        postgres.kill();
        here(postgres.restart()).map_err(|error| CaseFailure::unexpected(format!("{error:#}")))
    }

    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND xact_start IS NOT NULL",
            place.database
        );
        Ok(Some(place.sql("postgres", &sql).await?.parse()?))
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(150)
    }
}

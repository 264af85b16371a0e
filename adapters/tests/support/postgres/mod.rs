//! What the harnesses of both Postgres drivers share.
//!
//! The version is that of `EXACTLY_ONCE_POSTGRES` (default 15). With
//! `EXACTLY_ONCE_POSTGRES_POOLER=1` everything goes through pgbouncer in transaction mode. The cases
//! that kill the server have one of their own each, all others share one.

mod ground;
mod hooks;
mod schemas;

use std::{marker::PhantomData, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use exactly_once::{
    AccountId, BalanceTransaction, DecisionRegister, LeaseStore, Namespace, OneShotParticipant,
    OneShotStore, Result, Statement, StatementTransaction, Transactional, Value, Version,
    WorkError, postgres::Timeouts,
};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness, Suite,
    harness::{Age, RowsOf, Way},
    process::is_child,
    runner::{Trial, run},
};
use tokio::sync::OnceCell;

use self::{
    ground::{Ground, Place, major, pooled},
    hooks::{HOSTILE, POISONS, SESSION, UNPREPARABLE, VIOLATION},
};

/// A driver under test.
pub trait Adapter: Send + Sync + 'static {
    /// Its store.
    type Store: OneShotStore
        + StatementTransaction
        + LeaseStore
        + BalanceTransaction
        + OneShotParticipant
        + DecisionRegister;

    /// In reports.
    const NAME: &'static str;

    /// Connects by a URL, to tables in this schema, with a pool of this size.
    fn connect(
        url: String,
        schema: String,
        pool_size: u32,
        timeouts: Timeouts,
    ) -> impl Future<Output = Result<Self::Store>> + Send;

    /// Runs a statement of the user's own.
    fn execute(
        tx: &mut <Self::Store as Transactional>::Tx,
        sql: &'static str,
        id: &str,
    ) -> impl Future<Output = Result<(), WorkError>> + Send;

    /// Runs statements of the user's own, without parameters.
    fn batch(
        tx: &mut <Self::Store as Transactional>::Tx,
        sql: &'static str,
    ) -> impl Future<Output = Result<(), WorkError>> + Send;
}

/// The cases that kill the server.
const KILLERS: [&str; 3] = [
    "b56_server_killed_under_load",
    "b61_killed_after_the_acknowledgement",
    "t44_server_killed_while_prepared",
];

/// The cases that need a place where no table was ever made.
const FOUNDERS: [&str; 2] = ["i84_ten_processes_migrate", "i85_opening_again"];

const INSERT: &str = "INSERT INTO effects (id) VALUES ($1)";

/// Short, so that a case which must wait for a lock is soon over.
fn timeouts() -> Timeouts {
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

/// The column for a value.
fn column_of(value: &Value) -> Option<&'static str> {
    Some(match value {
        Value::Bool(_) => "a_bool",
        Value::Integer(number) if i16::try_from(*number).is_ok() => "an_int2",
        Value::Integer(number) if i32::try_from(*number).is_ok() => "an_int4",
        Value::Integer(_) => "an_int8",
        Value::Float(number) if f64::from(*number as f32) == *number => "a_float4",
        Value::Float(_) => "a_float8",
        Value::Text(_) => "a_text",
        Value::Bytes(_) => "a_bytea",
        Value::Uuid(_) => "a_uuid",
        Value::Null | Value::Numeric(_) => "a_numeric",
        Value::Timestamp(_) => "a_timestamptz",
        Value::DateTime(_) => "a_timestamp",
        Value::Date(_) => "a_date",
        Value::Time(_) => "a_time",
        Value::Json(text) if text.len() % 2 == 0 => "a_json",
        Value::Json(_) => "a_jsonb",
        Value::Array(items) if matches!(items.first(), Some(Value::Text(_))) => "a_texts",
        Value::Array(_) => "an_int8s",
        _ => return None,
    })
}

/// What a case stands on.
#[derive(Clone, Copy)]
enum Footing {
    /// Everybody's server, and maybe a schema that another case has left empty.
    Used,
    /// Everybody's server, and a schema that was never there.
    New,
    /// A server of its own, to be killed.
    Own,
}

/// The harness of a driver.
pub struct PostgresHarness<A> {
    shared: Arc<OnceCell<Arc<Ground>>>,
    footing: Footing,
    name: String,
    adapter: PhantomData<A>,
}

impl<A: Adapter> PostgresHarness<A> {
    fn new(shared: &Arc<OnceCell<Arc<Ground>>>, footing: Footing) -> Self {
        let way = if pooled() { "-pgbouncer" } else { "" };
        Self {
            shared: Arc::clone(shared),
            footing,
            name: format!("{}-{}{way}", A::NAME, major()),
            adapter: PhantomData,
        }
    }

    /// Runs the whole suite.
    pub fn run() -> ExitCode {
        let shared = Arc::default();
        // A pooler lends its connections in turn, so it is not known whose they are, to end them.
        let usual = if pooled() {
            Footing::New
        } else {
            Footing::Used
        };
        let usual = Self::new(&shared, usual);
        let name = usual.name.clone();
        let suite = Suite::new(usual).all();
        if is_child() {
            return suite.run();
        }
        let trials = |footing| Suite::new(Self::new(&shared, footing)).all().into_trials();
        // All lists are the same, so each case stays in its place.
        let founders = trials(Footing::New).into_iter().zip(trials(Footing::Own));
        let choose = |(usual, (founder, killer)): (Trial, (Trial, Trial))| {
            let name = usual.name();
            let among = |cases: &[&str]| cases.iter().any(|case| name.ends_with(case));
            if among(&KILLERS) {
                killer
            } else if among(&FOUNDERS) {
                founder
            } else {
                usual
            }
        };
        let usual = suite.into_trials().into_iter();
        run(&name, usual.zip(founders).map(choose))
    }

    async fn connect(
        &self,
        place: &Place,
        url: String,
        pool_size: u32,
        timeouts: Timeouts,
    ) -> CaseResult<A::Store> {
        Ok(A::connect(url, place.schema.name().to_owned(), pool_size, timeouts).await?)
    }
}

impl<A: Adapter> Harness for PostgresHarness<A> {
    type Store = A::Store;
    type Guard = Place;

    fn name(&self) -> &str {
        &self.name
    }

    async fn fresh(&self) -> CaseResult<Place> {
        if matches!(self.footing, Footing::Own) {
            return Ok(Ground::start()?.place(false));
        }
        let started = self.shared.get_or_try_init(async || Ground::start());
        Ok(started.await?.place(matches!(self.footing, Footing::Used)))
    }

    async fn open(&self, place: &Place) -> CaseResult<A::Store> {
        self.connect(place, place.url.clone(), 8, timeouts()).await
    }

    async fn write_effect(
        &self,
        tx: &mut <A::Store as Transactional>::Tx,
        id: &str,
    ) -> Result<(), WorkError> {
        A::execute(tx, INSERT, id).await
    }

    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        place.effects(id).await
    }

    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new(INSERT).bind(id).expecting_rows(1))
    }

    fn returning_statement(&self, _: &Place, wanted: RowsOf<'_>) -> Option<Statement> {
        match wanted {
            RowsOf::Effects { id, count: 1 } => {
                Some(Statement::new("INSERT INTO effects (id) VALUES ($1) RETURNING n").bind(id))
            }
            RowsOf::Effects { id, count } => Some(
                Statement::named(
                    "INSERT INTO effects (id) SELECT :id FROM generate_series(1, :count) RETURNING n",
                )
                .bind_named("id", id)
                .bind_named("count", count),
            ),
            RowsOf::Value { value, .. } => {
                let column = column_of(value)?;
                let sql = format!("INSERT INTO kept ({column}) VALUES ($1) RETURNING {column}");
                Some(Statement::new(sql).bind(value.clone()))
            }
        }
    }

    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("INSERT INTO effects (id) VALUES (NULL)"))
    }

    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        let one = |(what, sql): (&'static str, &str)| (what, vec![Statement::new(sql)]);
        POISONS.into_iter().map(one).collect()
    }

    async fn fail_half_way(&self, tx: &mut <A::Store as Transactional>::Tx, id: &str) -> bool {
        let half = "WITH done AS (INSERT INTO effects (id) VALUES ($1) RETURNING 0 AS n) SELECT 1 / n \
                    FROM done";
        A::execute(tx, half, id).await.is_err()
    }

    async fn spoil(&self, tx: &mut <A::Store as Transactional>::Tx) -> bool {
        A::execute(tx, "SELECT 1 / 0 WHERE $1 <> ''", "x")
            .await
            .is_err()
    }

    fn server(&self, place: &Place) -> Option<SocketAddr> {
        place.server()
    }

    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<A::Store> {
        let address = place.server().map(|address| address.to_string());
        let url = place
            .url
            .replace(&address.unwrap_or_default(), &proxy.to_string());
        let impatient = Timeouts {
            statement: Duration::from_secs(3),
            reply: Duration::from_secs(4),
            ..timeouts()
        };
        // One connection: sqlx pings what is given back, and a second one would be used while the
        // rule of the proxy still hits the ping.
        self.connect(place, url, 1, impatient).await
    }

    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<A::Store> {
        let starved = Timeouts {
            acquire,
            ..timeouts()
        };
        self.connect(place, place.url.clone(), 1, starved).await
    }

    async fn open_skewed(&self, _: &Place, _: i64) -> CaseResult<A::Store> {
        Err(CaseFailure::ignored(
            "the store asks the server for every time, and the client's clock for none",
        ))
    }

    async fn crash(&self, place: &Place) -> CaseResult {
        if !matches!(self.footing, Footing::Own) {
            return Err(CaseFailure::ignored(
                "this case is not on the harness's list of those that have a server to kill",
            ));
        }
        place.crash()
    }

    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        Ok(Some(place.open().await?))
    }

    async fn end_behind(&self, tx: &mut <A::Store as Transactional>::Tx) -> bool {
        A::batch(tx, "COMMIT").await.is_ok()
    }

    async fn violate_at_the_end(&self, tx: &mut <A::Store as Transactional>::Tx) -> bool {
        A::batch(tx, VIOLATION).await.is_ok()
    }

    async fn change_session(
        &self,
        tx: &mut <A::Store as Transactional>::Tx,
        number: usize,
    ) -> Option<&'static str> {
        let (what, change, _) = *SESSION.get(number)?;
        A::batch(tx, change).await.is_ok().then_some(what)
    }

    async fn sees_session(&self, tx: &mut <A::Store as Transactional>::Tx, number: usize) -> bool {
        match SESSION.get(number) {
            Some((_, _, seen)) => A::batch(tx, seen).await.is_ok(),
            None => false,
        }
    }

    async fn unpreparable(
        &self,
        tx: &mut <A::Store as Transactional>::Tx,
        number: usize,
    ) -> Option<&'static str> {
        let (kind, sql) = *UNPREPARABLE.get(number)?;
        A::batch(tx, sql).await.is_ok().then_some(kind)
    }

    async fn fresh_scarce(&self) -> CaseResult<Place> {
        Ok(Ground::scarce()?.place(false))
    }

    async fn open_by(&self, place: &Place, way: Way) -> CaseResult<A::Store> {
        self.connect(place, place.by(way).await?, 4, timeouts())
            .await
    }

    async fn open_aged(&self, place: &Place, age: Age) -> CaseResult<Result<A::Store>> {
        if age != Age::Newer {
            return Err(CaseFailure::ignored("there is no older schema"));
        }
        place.make_newer().await?;
        let schema = place.schema.name().to_owned();
        Ok(A::connect(place.url.clone(), schema, 2, timeouts()).await)
    }

    fn hostile_settings(&self) -> Vec<&'static str> {
        HOSTILE.to_vec()
    }

    async fn open_hostile(
        &self,
        place: &Place,
        setting: &'static str,
    ) -> CaseResult<Result<A::Store>> {
        let number = HOSTILE.iter().position(|known| *known == setting);
        let url = place
            .with_setting(number.unwrap_or_default(), setting)
            .await?;
        Ok(A::connect(url, place.schema.name().to_owned(), 2, timeouts()).await)
    }

    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        place.set_version(namespace, account, version).await
    }

    fn locate(&self, place: &Place) -> Option<String> {
        Some(place.address())
    }

    async fn attach(&self, place: &str) -> CaseResult<Place> {
        Place::attach(place)
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(200)
    }
}

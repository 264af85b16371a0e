//! What the cases stand on: one real server for the process, in it the database that every server
//! has, and in that a schema for each case. A database for each case would be simpler, and costs some
//! 300 files each: making and removing them took far longer than the cases.

use std::{
    env,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use exactly_once_conformance::{CaseFailure, CaseResult};
use exactly_once_servers::{Pgbouncer, Postgres, PostgresOptions};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::schemas::{Lent, Schemas};

/// Everybody's database.
pub const DATABASE: &str = "postgres";

/// The users' own table, for the effects of all cases. A row shows by itself whose it is, from what
/// the connection says of itself: that goes through a transaction pooler too.
const EFFECTS: &str = "CREATE TABLE effects (\
     place text NOT NULL DEFAULT current_setting('application_name'), id text NOT NULL, \
     n int8 GENERATED ALWAYS AS IDENTITY); \
     CREATE INDEX ON effects (place); \
     CREATE TYPE mood AS ENUM ('sad', 'happy'); \
     CREATE TABLE kept (a_bool bool, an_int2 int2, an_int4 int4, an_int8 int8, a_float4 float4, \
     a_float8 float8, a_text text, a_bytea bytea, a_uuid uuid, a_numeric numeric, \
     a_timestamptz timestamptz, a_timestamp timestamp, a_date date, a_time time, a_json json, \
     a_jsonb jsonb, an_int8s int8[], a_texts text[], a_mood mood); \
     CREATE TABLE deferred (n int8 UNIQUE DEFERRABLE INITIALLY DEFERRED)";

/// The version to test.
pub fn major() -> u32 {
    env::var("EXACTLY_ONCE_POSTGRES").map_or(15, |major| {
        major
            .parse()
            .expect("EXACTLY_ONCE_POSTGRES must be a major version, as 15 or 18")
    })
}

/// Whether everything goes through pgbouncer.
pub fn pooled() -> bool {
    env::var("EXACTLY_ONCE_POSTGRES_POOLER").is_ok_and(|pooler| pooler == "1")
}

pub fn failed(error: impl std::fmt::Display) -> CaseFailure {
    CaseFailure::unexpected(format!("{error:#}"))
}

/// Runs a future on this thread: those that start a server are not known to be `Send`.
pub fn here<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A running server, and its pooler.
pub struct Ground {
    postgres: Postgres,
    /// Where everything goes through it, or it was asked for.
    pooler: OnceLock<Pgbouncer>,
    starting_pooler: std::sync::Mutex<()>,
    look: Arc<Look>,
    schemas: Arc<Schemas>,
    places: AtomicU64,
}

impl Ground {
    pub fn start() -> CaseResult<Arc<Self>> {
        here(Self::starting(Postgres::options(major()))).map_err(failed)
    }

    /// One that keeps a single prepared transaction.
    pub fn scarce() -> CaseResult<Arc<Self>> {
        let options = Postgres::options(major()).setting("max_prepared_transactions", "1");
        here(Self::starting(options)).map_err(failed)
    }

    async fn starting(options: PostgresOptions) -> anyhow::Result<Arc<Self>> {
        // Passwords have tests of their own: proving them takes longer than most cases.
        let postgres = options.trusting().start().await?;
        let look = Look::new(postgres.database_url(DATABASE));
        look.run(EFFECTS).await?;
        let pooler = OnceLock::new();
        if pooled() {
            let _ = pooler.set(Pgbouncer::start(&postgres).await?);
        }
        Ok(Arc::new(Self {
            pooler,
            starting_pooler: std::sync::Mutex::default(),
            schemas: Schemas::new(Look::new(postgres.database_url(DATABASE))),
            look: Arc::new(look),
            postgres,
            places: AtomicU64::new(0),
        }))
    }

    /// An empty place. `used`: its schema may be one that an earlier case has left.
    pub fn place(self: &Arc<Self>, used: bool) -> Place {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let name = format!("case_{number}");
        let schema = if used {
            self.schemas.lend(&name)
        } else {
            Lent::forever(name.clone())
        };
        Place {
            url: Place::own(&self.url(), &name),
            name,
            schema,
            look: Arc::clone(&self.look),
            ground: Some(Arc::clone(self)),
        }
    }

    fn url(&self) -> String {
        match self.pooler.get() {
            Some(pooler) if pooled() => pooler.database_url(DATABASE),
            _ => self.postgres.database_url(DATABASE),
        }
    }

    /// Through the pooler, which is started when it is first asked for.
    fn pooled_url(&self) -> anyhow::Result<String> {
        let _starting = self.starting_pooler.lock();
        let pooler = match self.pooler.get() {
            Some(pooler) => pooler,
            None => {
                let started = here(Pgbouncer::start(&self.postgres))?;
                self.pooler.get_or_init(|| started)
            }
        };
        Ok(pooler.database_url(DATABASE))
    }
}

/// Looks past the store, by a connection of its own that is opened again when it is lost.
pub struct Look {
    url: String,
    client: Mutex<Option<Arc<Client>>>,
}

impl Look {
    fn new(url: String) -> Self {
        Self {
            url,
            client: Mutex::default(),
        }
    }

    pub async fn client(&self) -> Result<Arc<Client>, tokio_postgres::Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(Arc::clone(client));
        }
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let client = Arc::new(client);
        *slot = Some(Arc::clone(&client));
        Ok(client)
    }

    pub async fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        self.client().await?.batch_execute(sql).await
    }

    /// The number in the one cell of the answer.
    async fn number(&self, sql: &str) -> CaseResult<u64> {
        let ask = async || self.client().await?.simple_query(sql).await;
        let answer = match ask().await {
            // The server was killed meanwhile.
            Err(error) if error.code().is_none() => ask().await,
            answer => answer,
        };
        let rows = answer.map_err(failed)?;
        let cell = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        Ok(cell.unwrap_or_default().parse()?)
    }
}

/// A case's place: a schema of its own, at least for as long as it runs.
pub struct Place {
    /// What its connections call themselves, and no others.
    pub name: String,
    /// Where its tables are.
    pub schema: Lent,
    /// Where the store connects to.
    pub url: String,
    pub look: Arc<Look>,
    /// Not in a process that is only attached.
    ground: Option<Arc<Ground>>,
}

impl Place {
    pub fn own(url: &str, name: &str) -> String {
        format!("{url}?application_name={name}")
    }

    /// By which another process finds it.
    pub fn address(&self) -> String {
        let Self {
            name, url, look, ..
        } = self;
        format!("{name} {} {url} {}", self.schema.name(), look.url)
    }

    pub fn attach(address: &str) -> CaseResult<Self> {
        let mut parts = address.split(' ').map(str::to_owned);
        let mut part = || {
            parts
                .next()
                .ok_or_else(|| failed("this is no place's address"))
        };
        let (name, schema, url, direct) = (part()?, part()?, part()?, part()?);
        Ok(Self {
            name,
            schema: Lent::forever(schema),
            url,
            look: Arc::new(Look::new(direct)),
            ground: None,
        })
    }

    /// Host and port that the store connects to.
    pub fn server(&self) -> Option<SocketAddr> {
        let address = self.url.split('@').nth(1)?.split('/').next()?;
        address.parse().ok()
    }

    /// How many committed rows this case has of an effect.
    pub async fn effects(&self, id: &str) -> CaseResult<u64> {
        let (name, id) = (&self.name, id.replace('\'', "''"));
        let sql = format!("SELECT count(*) FROM effects WHERE place = '{name}' AND id = '{id}'");
        self.look.number(&sql).await
    }

    /// How many transactions of this case are open.
    pub async fn open(&self) -> CaseResult<u64> {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND xact_start \
             IS NOT NULL",
            self.name
        );
        self.look.number(&sql).await
    }

    /// The server.
    pub fn postgres(&self) -> CaseResult<&Postgres> {
        match &self.ground {
            Some(ground) => Ok(&ground.postgres),
            None => Err(failed("the server is another process's")),
        }
    }

    /// Where to connect to in order to come through the pooler.
    pub fn pooled_url(&self) -> CaseResult<String> {
        match &self.ground {
            Some(ground) => Ok(Self::own(&ground.pooled_url().map_err(failed)?, &self.name)),
            None => Err(failed("the server is another process's")),
        }
    }

    /// Kills the server, and starts it again.
    pub fn crash(&self) -> CaseResult {
        let Some(ground) = &self.ground else {
            return Err(failed("the server is another process's"));
        };
        ground.postgres.kill();
        here(ground.postgres.restart()).map_err(failed)
    }
}

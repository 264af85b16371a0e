//! What the cases stand on: one real server for the process, in it one database, and in that a
//! schema for each case. A database for each case would be simpler, and costs some 300 files each:
//! making and removing them took far longer than the cases.

use std::{env, net::SocketAddr, sync::Arc};

use exactly_once_conformance::{CaseFailure, CaseResult};
use exactly_once_servers::{Pgbouncer, Postgres};
use tokio::sync::Mutex;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Everybody's database.
const DATABASE: &str = "conformance";

/// The users' own table, for the effects of all cases. A row tells by itself whose it is, from what
/// the connection says of itself: that goes through a transaction pooler too.
const EFFECTS: &str = "CREATE TABLE effects (\
     place text NOT NULL DEFAULT current_setting('application_name'), id text NOT NULL); \
     CREATE INDEX ON effects (place)";

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
fn here<F: Future>(future: F) -> F::Output {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// A running server, and its pooler.
pub struct Ground {
    postgres: Postgres,
    pooler: Option<Pgbouncer>,
    look: Arc<Look>,
}

impl Ground {
    pub fn start() -> CaseResult<Arc<Self>> {
        here(Self::starting()).map_err(failed)
    }

    async fn starting() -> anyhow::Result<Arc<Self>> {
        // Passwords have tests of their own: proving them takes longer than most cases.
        let options = Postgres::options(major()).trusting();
        let postgres = options.start().await?;
        let direct = postgres.create_database(DATABASE).await?;
        postgres.sql(DATABASE, EFFECTS).await?;
        let pooler = match pooled() {
            true => Some(Pgbouncer::start(&postgres).await?),
            false => None,
        };
        Ok(Arc::new(Self {
            postgres,
            pooler,
            look: Arc::new(Look::new(direct)),
        }))
    }

    fn url(&self) -> String {
        match &self.pooler {
            Some(pooler) => pooler.database_url(DATABASE),
            None => self.postgres.database_url(DATABASE),
        }
    }
}

/// Looks past the store, by a connection of its own that is opened again when it is lost.
struct Look {
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

    async fn client(&self) -> Result<Arc<Client>, tokio_postgres::Error> {
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

/// A case's place: a schema of its own.
pub struct Place {
    /// Of the schema, and what its connections call themselves.
    pub name: String,
    /// Where the store connects to.
    pub url: String,
    look: Arc<Look>,
    /// Not in a process that is only attached.
    ground: Option<Arc<Ground>>,
}

impl Place {
    pub fn new(ground: Arc<Ground>, name: String) -> Self {
        Self {
            url: Self::own(&ground.url(), &name),
            name,
            look: Arc::clone(&ground.look),
            ground: Some(ground),
        }
    }

    fn own(url: &str, name: &str) -> String {
        format!("{url}?application_name={name}")
    }

    /// By which another process finds it.
    pub fn address(&self) -> String {
        format!("{} {} {}", self.name, self.url, self.look.url)
    }

    pub fn attach(address: &str) -> CaseResult<Self> {
        let mut parts = address.split(' ').map(str::to_owned);
        let (Some(name), Some(url), Some(direct)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(failed("this is no place's address"));
        };
        Ok(Self {
            name,
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

    /// Kills the server, and starts it again.
    pub fn crash(&self) -> CaseResult {
        let Some(ground) = &self.ground else {
            return Err(failed("the server is another process's"));
        };
        ground.postgres.kill();
        here(ground.postgres.restart()).map_err(failed)
    }
}

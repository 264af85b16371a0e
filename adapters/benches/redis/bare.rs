//! What a user would write without this library: the floor, and the usual recipes.

use anyhow::{Context as _, Result};
use exactly_once_bench::{Operation, operation};
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, aio::MultiplexedConnection, cmd};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;

#[derive(Clone)]
pub(crate) struct Bare {
    connection: MultiplexedConnection,
}

async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
    let client = Client::open(url)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

impl Bare {
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        Ok(Self {
            connection: connect(url).await?,
        })
    }

    pub(crate) async fn version(&self) -> Result<String> {
        let text: String = cmd("INFO")
            .arg("server")
            .query_async(&mut self.connection.clone())
            .await?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("redis_version:"));
        Ok(line.context("the server names no version")?.to_owned())
    }

    pub(crate) async fn info(&self, section: &str, name: &str) -> Result<u64> {
        let text: String = cmd("INFO")
            .arg(section)
            .query_async(&mut self.connection.clone())
            .await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|value| value.strip_prefix(':'));
        Ok(value
            .with_context(|| format!("INFO has no {name}"))?
            .trim()
            .parse()?)
    }

    pub(crate) fn set(&self) -> Operation {
        let connection = self.connection.clone();
        operation(move |turn| {
            let mut connection = connection.clone();
            async move {
                let key = format!("bare:{}", turn.number);
                Ok(connection.set::<_, _, ()>(key, "500").await?)
            }
        })
    }

    /// SET NX, the effect, the receipt: three trips, and not atomic.
    pub(crate) fn usual_recipe(&self) -> Operation {
        let connection = self.connection.clone();
        operation(move |turn| {
            let mut connection = connection.clone();
            async move {
                let key = format!("done:{}", turn.number);
                let fresh: bool = connection.set_nx(&key, "").await?;
                if fresh {
                    let payment = format!("usual:{}", turn.number);
                    connection.set::<_, _, ()>(payment, "500").await?;
                    connection.set::<_, _, ()>(key, turn.number).await?;
                }
                Ok(())
            }
        })
    }

    /// WATCH needs a connection of one's own for as long as it lasts.
    pub(crate) async fn watch(&self, url: &str) -> Result<Operation> {
        const CONNECTIONS: usize = 16;
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(Arc::new(Mutex::new(connect(url).await?)));
        }
        let connections = Arc::new(connections);
        Ok(operation(move |turn| {
            let connections = connections.clone();
            async move {
                let mut connection = connections[turn.caller % CONNECTIONS].lock().await;
                loop {
                    cmd("WATCH").arg("hot").exec_async(&mut *connection).await?;
                    let cents: Option<i64> = connection.get("hot").await?;
                    let set: Option<()> = redis::pipe()
                        .atomic()
                        .set("hot", cents.unwrap_or_default() + 1)
                        .ignore()
                        .query_async(&mut *connection)
                        .await?;
                    if set.is_some() {
                        return Ok(());
                    }
                }
            }
        }))
    }
}

//! The connection: opened when needed, replaced when it broke or went silent.
//!
//! The driver's own retries are off. It would repeat a command whose first try may have been
//! executed, and then tell of the second one only; here an answer says whether *this* command may
//! have been executed.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use exactly_once_core::{Error, ErrorKind, Result};
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo},
};
use tokio::time::{Instant, timeout_at};

use super::{
    error::{Effect, error, from_driver, lost_reply},
    nat::NatMap,
    replicas::Replicas,
    tls::{Asked, refused_certificate},
};

/// What is connected to.
pub(super) enum Target {
    One(Box<Client>),
    Cluster(Box<ClusterClient>),
}

impl Target {
    pub(super) fn new(
        asked: Asked,
        cluster: bool,
        nat_map: NatMap,
        response_timeout: Duration,
    ) -> Result<Self> {
        let wrong = |source| from_driver("connect", source, Effect::Read);
        #[cfg(feature = "redis-tls")]
        let certificates = super::tls::certificates(&asked)?;
        if !cluster {
            let url = asked.urls.first().map(String::as_str).unwrap_or_default();
            #[cfg(feature = "redis-tls")]
            if let Some(certificates) = certificates {
                let client = Client::build_with_tls(url, certificates).map_err(wrong)?;
                return Ok(Self::One(Box::new(client)));
            }
            let client = Client::open(url).map_err(wrong)?;
            return Ok(Self::One(Box::new(client)));
        }
        let builder = ClusterClientBuilder::new(asked.urls)
            .retries(0)
            // Ours ends first; the driver's would fire after half a second.
            .response_timeout(response_timeout.saturating_mul(2))
            .connection_timeout(response_timeout);
        let builder = if nat_map.is_empty() {
            builder
        } else {
            builder.async_dns_resolver(nat_map)
        };
        #[cfg(feature = "redis-tls")]
        let builder = match certificates {
            Some(certificates) => builder.certs(certificates),
            None => builder,
        };
        let client = builder.build().map_err(wrong)?;
        Ok(Self::Cluster(Box::new(client)))
    }
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

#[derive(Default)]
struct Live {
    connection: Option<Connection>,
    generation: u64,
    closed: bool,
}

/// All handles on one store share one.
pub(super) struct Link {
    target: Target,
    pub(super) response_timeout: Duration,
    pub(super) replicas: Option<Replicas>,
    live: RwLock<Live>,
    connecting: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn new(
        target: Target,
        response_timeout: Duration,
        replicas: Option<Replicas>,
    ) -> Self {
        Self {
            target,
            response_timeout,
            replicas,
            live: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// The number of the database on its server; a cluster has but one.
    pub(super) fn database(&self) -> String {
        match &self.target {
            Target::One(client) => {
                let info = client.get_connection_info();
                info.redis_settings().db().to_string()
            }
            Target::Cluster(_) => "0".to_owned(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    /// Sends a command. The outer error is ours, the inner one the driver's.
    pub(super) async fn send(
        &self,
        operation: &'static str,
        command: &Cmd,
        effect: Effect,
        deadline: Instant,
    ) -> Result<RedisResult<Value>> {
        let (connection, generation) = self.connection(operation, deadline).await?;
        let sent = async {
            match connection {
                Connection::One(mut connection) => connection.send_packed_command(command).await,
                Connection::Cluster(mut connection) => {
                    redis::aio::ConnectionLike::req_packed_command(&mut connection, command).await
                }
            }
        };
        let Ok(result) = timeout_at(deadline, sent).await else {
            return Err(self.silent(operation, effect, generation));
        };
        Ok(match result {
            Ok(Value::ServerError(error)) => Err(error.into()),
            Err(error) => {
                self.replace_if_broken(&error, generation);
                Err(error)
            }
            value => value,
        })
    }

    pub(super) async fn pipeline(
        &self,
        operation: &'static str,
        pipeline: &Pipeline,
        count: usize,
        route: SingleNodeRoutingInfo,
        deadline: Instant,
    ) -> Result<Vec<Value>> {
        let (connection, generation) = self.connection(operation, deadline).await?;
        let sent = async {
            match connection {
                Connection::One(mut connection) => {
                    connection.send_packed_commands(pipeline, 0, count).await
                }
                Connection::Cluster(mut connection) => {
                    connection
                        .route_pipeline(pipeline.clone(), 0, count, route)
                        .await
                }
            }
        };
        let Ok(result) = timeout_at(deadline, sent).await else {
            return Err(self.silent(operation, Effect::Write, generation));
        };
        result.map_err(|error| {
            self.replace_if_broken(&error, generation);
            from_driver(operation, error, Effect::Write)
        })
    }

    /// Plain text from every node: `INFO`, `CONFIG GET`.
    pub(super) async fn ask_all(&self, operation: &'static str, command: &Cmd) -> Result<Value> {
        let deadline = Instant::now() + self.response_timeout;
        let (connection, _) = self.connection(operation, deadline).await?;
        let sent = async {
            match connection {
                Connection::One(mut connection) => connection.send_packed_command(command).await,
                Connection::Cluster(mut connection) => {
                    let routing = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllNodes, None));
                    connection.route_command(command.clone(), routing).await
                }
            }
        };
        match timeout_at(deadline, sent).await {
            Ok(Ok(value)) => value
                .extract_error()
                .map_err(|error| from_driver(operation, error, Effect::Read)),
            Ok(Err(error)) => Err(from_driver(operation, error, Effect::Read)),
            Err(_) => Err(error(ErrorKind::Unavailable, operation)),
        }
    }

    /// A reply that is not awaited any longer. Its connection may be dead without knowing it.
    fn silent(&self, operation: &'static str, effect: Effect, generation: u64) -> Error {
        self.drop_connection(generation);
        error(lost_reply(effect), operation)
            .with_message(format!("no reply within {:?}", self.response_timeout))
    }

    fn replace_if_broken(&self, error: &RedisError, generation: u64) {
        // A cluster's connection reconnects to the node by itself, and keeps those to the others.
        if !self.is_cluster() && error.is_unrecoverable_error() {
            self.drop_connection(generation);
        }
    }

    fn drop_connection(&self, generation: u64) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if live.generation == generation {
            live.connection = None;
        }
    }

    fn current(&self, operation: &'static str) -> Result<Option<(Connection, u64)>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        if live.closed {
            return Err(
                error(ErrorKind::Unavailable, operation).with_message("the store is closed")
            );
        }
        Ok(live
            .connection
            .clone()
            .map(|connection| (connection, live.generation)))
    }

    /// The connection, opened if there is none. Nothing was executed if that fails.
    async fn connection(
        &self,
        operation: &'static str,
        deadline: Instant,
    ) -> Result<(Connection, u64)> {
        if let Some(current) = self.current(operation)? {
            return Ok(current);
        }
        let opened = timeout_at(deadline, async {
            let _one_at_a_time = self.connecting.lock().await;
            if let Some(current) = self.current(operation)? {
                return Ok(current);
            }
            let connection = self.open().await.map_err(|source| {
                let error = if refused_certificate(&source) {
                    error(ErrorKind::Configuration, operation)
                        .with_message(
                            "the server's certificate was refused: name its authority by \
                             sslrootcert in the URL, and the host as the certificate does",
                        )
                        .with_source(source)
                } else {
                    from_driver(operation, source, Effect::Read)
                };
                tracing::debug!(%error, "redis: connecting");
                error
            })?;
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            live.generation += 1;
            live.connection = Some(connection.clone());
            Ok((connection, live.generation))
        });
        opened.await.unwrap_or_else(|_| {
            Err(error(ErrorKind::Unavailable, operation)
                .with_message(format!("no connection within {:?}", self.response_timeout)))
        })
    }

    async fn open(&self) -> RedisResult<Connection> {
        match &self.target {
            Target::One(client) => {
                let config = AsyncConnectionConfig::new()
                    .set_response_timeout(None)
                    .set_connection_timeout(Some(self.response_timeout));
                let connection = client
                    .get_multiplexed_async_connection_with_config(&config)
                    .await?;
                Ok(Connection::One(connection))
            }
            Target::Cluster(client) => {
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
        }
    }

    /// Refuses all later calls and lets the connection go; what is in flight has its own hold.
    pub(super) fn close(&self) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.closed = true;
        live.connection = None;
    }

    pub(super) fn ensure_open(&self, operation: &'static str) -> Result<()> {
        self.current(operation).map(drop)
    }
}

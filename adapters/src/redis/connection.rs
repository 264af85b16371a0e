//! What is connected to, and one connection to it.
//!
//! The driver's own retries are off. It would repeat a command whose first try may have been
//! executed, and then tell of the second one only; here an answer says whether *this* command may
//! have been executed.

use std::time::Duration;

use exactly_once_core::Result;
use redis::{
    AsyncConnectionConfig, Client, Cmd, Pipeline, RedisResult, Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo},
};

use super::{
    error::{Effect, from_driver},
    nat::NatMap,
    sentinel::Sentinels,
    tls::Asked,
};

/// What is connected to.
pub(super) enum Target {
    One(Box<Client>),
    /// The master that the sentinels name at the time.
    Sentinel(Box<Sentinels>),
    Cluster(Box<ClusterClient>),
}

impl Target {
    pub(super) fn new(
        mut asked: Asked,
        cluster: bool,
        nat_map: NatMap,
        response_timeout: Duration,
    ) -> Result<Self> {
        let wrong = |source| from_driver("connect", source, Effect::Read);
        if !cluster {
            let url = asked.urls.pop().unwrap_or_default();
            return Ok(match Sentinels::of(&url)? {
                Some(sentinels) => Self::Sentinel(Box::new(sentinels.trusting(asked))),
                None => Self::One(Box::new(client(&url, &asked)?)),
            });
        }
        #[cfg(feature = "redis-tls")]
        let certificates = super::tls::certificates(&asked)?;
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

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    pub(super) fn is_sentinel(&self) -> bool {
        matches!(self, Self::Sentinel(_))
    }

    /// The number of the database on its server; a cluster has but one.
    pub(super) fn database(&self) -> String {
        match self {
            Self::One(client) => {
                let info = client.get_connection_info();
                info.redis_settings().db().to_string()
            }
            Self::Sentinel(sentinels) => sentinels.database().to_owned(),
            Self::Cluster(_) => "0".to_owned(),
        }
    }

    /// A connection of its own.
    pub(super) async fn open(
        &self,
        operation: &'static str,
        timeout: Duration,
    ) -> Result<Connection> {
        let failed = |source| super::tls::connecting_failed(operation, source);
        let one = async |client: &Client| {
            let config = patient(timeout);
            let opened = client.get_multiplexed_async_connection_with_config(&config);
            opened.await.map(Connection::One).map_err(failed)
        };
        match self {
            Self::One(client) => one(client).await,
            Self::Sentinel(sentinels) => one(&sentinels.master(operation, timeout).await?).await,
            Self::Cluster(client) => {
                let opened = client.get_async_connection().await;
                opened.map(Connection::Cluster).map_err(failed)
            }
        }
    }
}

/// The driver's own limit to a reply is off: ours says what was executed.
pub(super) fn patient(timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_response_timeout(None)
        .set_connection_timeout(Some(timeout))
}

/// One server's client, trusting what was asked for.
pub(super) fn client(url: &str, asked: &Asked) -> Result<Client> {
    let wrong = |source| from_driver("connect", source, Effect::Read);
    #[cfg(feature = "redis-tls")]
    if let Some(certificates) = super::tls::certificates(asked)? {
        return Client::build_with_tls(url, certificates).map_err(wrong);
    }
    let _ = asked;
    Client::open(url).map_err(wrong)
}

#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(super) async fn command(self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(mut connection) => connection.send_packed_command(command).await,
            Self::Cluster(mut connection) => {
                redis::aio::ConnectionLike::req_packed_command(&mut connection, command).await
            }
        };
        match answer? {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        }
    }

    /// Several commands in one message; on a cluster, to one node.
    pub(super) async fn pipeline(
        self,
        pipeline: &Pipeline,
        count: usize,
        route: SingleNodeRoutingInfo,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(mut connection) => connection.send_packed_commands(pipeline, 0, count).await,
            Self::Cluster(mut connection) => {
                connection
                    .route_pipeline(pipeline.clone(), 0, count, route)
                    .await
            }
        }
    }

    /// Asks every node; a cluster answers with a map of them.
    pub(super) async fn everywhere(
        self,
        command: &Cmd,
        nodes: MultipleNodeRoutingInfo,
    ) -> RedisResult<Value> {
        match self {
            Self::One(mut connection) => connection.send_packed_command(command).await,
            Self::Cluster(mut connection) => {
                let routing = RoutingInfo::MultiNode((nodes, None));
                connection.route_command(command.clone(), routing).await
            }
        }
        .and_then(Value::extract_error)
    }
}

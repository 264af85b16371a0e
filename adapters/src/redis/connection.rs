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
    AsyncConnectionConfig, Client, Cmd, ErrorKind as DriverKind, Pipeline, RedisError, RedisResult,
    ServerErrorKind, Value,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    cluster_routing::{
        MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
    },
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    error::{Effect, error, from_driver, lost_reply},
    reply::Reply,
    schema::Shard,
    scripts::LuaScript,
};

/// The pause before a slot that moves is asked for again.
const REDIRECT_PAUSE: Duration = Duration::from_millis(25);

/// Replicas that must confirm a write before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub(super) count: u32,
    pub(super) within: Duration,
    pub(super) on_disk: bool,
}

impl Replicas {
    /// So many replicas must have received a write (`WAIT`) within this time. Fewer: *ambiguous*.
    #[must_use]
    pub const fn received(count: u32, within: Duration) -> Self {
        Self {
            count,
            within,
            on_disk: false,
        }
    }

    /// So many replicas, and the master, must have it on disk (`WAITAOF`, Redis 7.2 and later).
    #[must_use]
    pub const fn on_disk(count: u32, within: Duration) -> Self {
        Self {
            count,
            within,
            on_disk: true,
        }
    }
}

/// A script to run.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) script: &'static LuaScript,
    pub(super) shard: Shard,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) effect: Effect,
}

enum Target {
    One(Client),
    Cluster(ClusterClient),
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
    response_timeout: Duration,
    replicas: Option<Replicas>,
    live: RwLock<Live>,
    connecting: tokio::sync::Mutex<()>,
}

impl Link {
    pub(super) fn one(
        url: &str,
        response_timeout: Duration,
        replicas: Option<Replicas>,
    ) -> RedisResult<Self> {
        let target = Target::One(Client::open(url)?);
        Ok(Self::new(target, response_timeout, replicas))
    }

    pub(super) fn cluster(
        urls: Vec<String>,
        response_timeout: Duration,
        replicas: Option<Replicas>,
    ) -> RedisResult<Self> {
        let client = ClusterClientBuilder::new(urls)
            .retries(0)
            // Ours ends first; the driver's would fire after half a second.
            .response_timeout(response_timeout.saturating_mul(2))
            .connection_timeout(response_timeout)
            .build()?;
        Ok(Self::new(
            Target::Cluster(client),
            response_timeout,
            replicas,
        ))
    }

    fn new(target: Target, response_timeout: Duration, replicas: Option<Replicas>) -> Self {
        Self {
            target,
            response_timeout,
            replicas,
            live: RwLock::default(),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.target, Target::Cluster(_))
    }

    /// Runs a script, and waits for the replicas that were asked for.
    pub(super) async fn run(&self, call: Call) -> Result<Reply> {
        let deadline = Instant::now() + self.response_timeout;
        let (operation, effect) = (call.operation, call.effect);
        let value = self.evaluate(&call, deadline).await?;
        let reply = Reply::new(operation, value, effect)?;
        let slot = call.shard.number();
        tracing::trace!(
            script = call.script.name,
            slot,
            answer = reply.word(),
            "redis"
        );
        Ok(reply)
    }

    /// Waits until the replicas have all that was acknowledged so far; at once if none were asked
    /// for. `barrier` is a key to write to, so that there is something of this connection's to
    /// wait for.
    pub(super) async fn replicate(
        &self,
        operation: &'static str,
        barrier: Vec<u8>,
        shard: Shard,
    ) -> Result<()> {
        let Some(replicas) = self.replicas else {
            return Ok(());
        };
        let milliseconds = u64::try_from(replicas.within.as_millis()).unwrap_or(u64::MAX);
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INCR").arg(barrier);
        if replicas.on_disk {
            pipeline
                .cmd("WAITAOF")
                .arg(1)
                .arg(replicas.count)
                .arg(milliseconds);
        } else {
            pipeline.cmd("WAIT").arg(replicas.count).arg(milliseconds);
        }
        let deadline = Instant::now() + self.response_timeout + replicas.within;
        let route =
            SingleNodeRoutingInfo::SpecificNode(Route::new(shard.number(), SlotAddr::Master));
        let values = self
            .pipeline(operation, &pipeline, 2, route, deadline)
            .await?;
        let confirmed = match values.last() {
            Some(Value::Int(count)) => *count,
            Some(Value::Array(counts)) => match counts.as_slice() {
                [Value::Int(1), Value::Int(count)] => *count,
                _ => 0,
            },
            _ => 0,
        };
        if confirmed >= i64::from(replicas.count) {
            return Ok(());
        }
        Err(error(ErrorKind::Ambiguous, operation).with_message(format!(
            "{confirmed} of {} replicas confirmed the write within {:?}: it stands on the master, \
             and a failover may lose it",
            replicas.count, replicas.within
        )))
    }

    /// EVALSHA, and EVAL where the server does not know the script (yet, or any more).
    async fn evaluate(&self, call: &Call, deadline: Instant) -> Result<Value> {
        let mut whole = false;
        loop {
            let command = command_of(call, whole);
            let error = match self
                .send(call.operation, &command, call.effect, deadline)
                .await?
            {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match error.kind() {
                DriverKind::Server(ServerErrorKind::NoScript) if !whole => {
                    whole = true;
                    continue;
                }
                DriverKind::Server(ServerErrorKind::Ask) => {
                    if let Some((address, _)) = error.redirect_node()
                        && let Some((host, port)) = address.rsplit_once(':')
                        && let Ok(port) = port.parse()
                    {
                        let node = SingleNodeRoutingInfo::ByAddress {
                            host: host.to_owned(),
                            port,
                        };
                        return self.ask(call, node, deadline).await;
                    }
                }
                _ => {}
            }
            if !moves(&error) || Instant::now() + REDIRECT_PAUSE >= deadline {
                return Err(from_driver(call.operation, error, call.effect));
            }
            sleep(REDIRECT_PAUSE).await;
        }
    }

    /// A slot on its way: the script goes whole, because the new node may not know it.
    async fn ask(
        &self,
        call: &Call,
        node: SingleNodeRoutingInfo,
        deadline: Instant,
    ) -> Result<Value> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ASKING").add_command(command_of(call, true));
        let mut values = self
            .pipeline(call.operation, &pipeline, 2, node, deadline)
            .await?;
        values
            .pop()
            .ok_or_else(|| error(lost_reply(call.effect), call.operation))
    }

    /// Sends a command. The outer error is ours, the inner one the driver's.
    async fn send(
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

    async fn pipeline(
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
                let error = from_driver(operation, source, Effect::Read);
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

    /// Adds a number to a set. A plain command, because its key is no script's.
    pub(super) async fn add_member(
        &self,
        operation: &'static str,
        key: Vec<u8>,
        member: u16,
    ) -> Result<()> {
        let mut command = redis::cmd("SADD");
        command.arg(key).arg(member);
        let deadline = Instant::now() + self.response_timeout;
        self.simple(operation, &command, deadline).await.map(drop)
    }

    pub(super) async fn members(&self, operation: &'static str, key: Vec<u8>) -> Result<Vec<u16>> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(key);
        let deadline = Instant::now() + self.response_timeout;
        let value = self.simple(operation, &command, deadline).await?;
        redis::from_redis_value(value)
            .map_err(|error| from_driver(operation, error.into(), Effect::Read))
    }

    /// A command that may be repeated without harm.
    async fn simple(
        &self,
        operation: &'static str,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value> {
        loop {
            match self
                .send(operation, command, Effect::Read, deadline)
                .await?
            {
                Ok(value) => return Ok(value),
                Err(error) if moves(&error) && Instant::now() + REDIRECT_PAUSE < deadline => {
                    sleep(REDIRECT_PAUSE).await;
                }
                Err(error) => return Err(from_driver(operation, error, Effect::Read)),
            }
        }
    }
}

/// Whether the command was refused because a slot is elsewhere: surely not executed.
fn moves(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        DriverKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::Ask | ServerErrorKind::TryAgain
        )
    )
}

fn command_of(call: &Call, whole: bool) -> Cmd {
    let mut command = if whole {
        let mut command = redis::cmd("EVAL");
        command.arg(&call.script.source);
        command
    } else {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&call.script.hash);
        command
    };
    command.arg(call.keys.len());
    for part in call.keys.iter().chain(&call.arguments) {
        command.arg(part.as_slice());
    }
    command
}

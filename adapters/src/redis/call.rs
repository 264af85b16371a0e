//! Scripts and simple commands on the connection, with a slot's redirections followed.

use exactly_once_core::Result;
use redis::{
    Cmd, ErrorKind as DriverKind, Pipeline, RedisError, ServerErrorKind, Value,
    cluster_routing::SingleNodeRoutingInfo,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

use super::{
    connection::Link,
    error::{Effect, error, from_driver, lost_reply},
    reply::Reply,
    schema::Shard,
    scripts::LuaScript,
};

/// The pause before a slot that moves is asked for again.
const REDIRECT_PAUSE: Duration = Duration::from_millis(25);

/// A script to run.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) script: &'static LuaScript,
    pub(super) shard: Shard,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) effect: Effect,
}

impl Link {
    /// Runs a script.
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

    /// EVALSHA, and EVAL where the server does not know the script (yet, or any more).
    pub(super) async fn evaluate(&self, call: &Call, deadline: Instant) -> Result<Value> {
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

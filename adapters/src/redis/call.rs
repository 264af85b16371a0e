//! Scripts and simple commands on the connection, with a slot's redirections followed.

use std::{sync::Arc, time::Duration};

use exactly_once_core::{ErrorKind, Result};
use redis::{
    Cmd, ErrorKind as DriverKind, Pipeline, RedisError, ServerErrorKind, Value,
    cluster_routing::SingleNodeRoutingInfo,
};
use tokio::time::{Instant, sleep};

use super::{
    checks::Limits,
    error::{Effect, error, from_driver, lost_reply},
    link::Link,
    reply::{Origin, Reply},
    schema::Shard,
    scripts::LuaScript,
};

/// The pause before a slot that moves is asked for again.
const REDIRECT_PAUSE: Duration = Duration::from_millis(25);

/// The most arguments of one command that every version of the server takes.
const MAX_ARGUMENTS: usize = 1 << 20;

/// What a message has beside the bytes of each argument.
const OVERHEAD: u64 = 32;

/// A script to run.
pub(super) struct Call {
    pub(super) operation: &'static str,
    pub(super) script: &'static LuaScript,
    pub(super) shard: Shard,
    pub(super) keys: Vec<Vec<u8>>,
    pub(super) arguments: Vec<Vec<u8>>,
    pub(super) effect: Effect,
}

impl Call {
    /// How many bytes its keys and arguments are, as they are sent.
    pub(super) fn bytes(&self) -> u64 {
        let parts = self.keys.iter().chain(&self.arguments);
        parts.map(|part| part.len() as u64 + OVERHEAD).sum()
    }

    /// Refuses what the server would answer by closing the connection that all callers share.
    pub(super) fn check_size(&self, limits: Limits) -> Result<()> {
        let parts = || self.keys.iter().chain(&self.arguments);
        let largest = parts().map(Vec::len).max().unwrap_or_default() as u64;
        let whole = self.bytes() + self.script.source.len() as u64;
        let message = if largest > limits.argument {
            format!(
                "a value of {largest} bytes is more than the server takes (proto-max-bulk-len {})",
                limits.argument
            )
        } else if whole > limits.command {
            format!(
                "a command of {whole} bytes is more than the server takes \
                 (client-query-buffer-limit {})",
                limits.command
            )
        } else if parts().count() > MAX_ARGUMENTS {
            format!(
                "a command of more than {MAX_ARGUMENTS} arguments is more than the server takes"
            )
        } else {
            return Ok(());
        };
        Err(error(ErrorKind::TooLarge, self.operation).with_message(message))
    }
}

impl Link {
    /// Runs a script.
    pub(super) async fn run(self: &Arc<Self>, call: Call, deadline: Instant) -> Result<Reply> {
        let (operation, effect) = (call.operation, call.effect);
        let standing = self.standing(operation, deadline).await?;
        call.check_size(standing.limits)?;
        let (value, origin) = self.evaluate(&call, deadline).await?;
        let reply = Reply::new(operation, value, effect, origin)?;
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
    pub(super) async fn evaluate(
        self: &Arc<Self>,
        call: &Call,
        deadline: Instant,
    ) -> Result<(Value, Origin)> {
        let mut whole = false;
        let owner = self.owner(call.shard);
        loop {
            let command = command_of(call, whole);
            let (answer, origin) = self
                .send(call.operation, &command, call.effect, deadline)
                .await?;
            let origin = if self.is_cluster() {
                owner.clone()
            } else {
                origin
            };
            let error = match answer {
                Ok(value) => return Ok((value, origin)),
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
                        let value = self.ask(call, node, deadline).await?;
                        return Ok((value, origin));
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
        self: &Arc<Self>,
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
        self: &Arc<Self>,
        operation: &'static str,
        key: Vec<u8>,
        member: u16,
    ) -> Result<()> {
        let mut command = redis::cmd("SADD");
        command.arg(key).arg(member);
        let deadline = self.deadline();
        self.simple(operation, &command, deadline).await.map(drop)
    }

    pub(super) async fn members(
        self: &Arc<Self>,
        operation: &'static str,
        key: Vec<u8>,
    ) -> Result<Vec<u16>> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(key);
        let deadline = self.deadline();
        let value = self.simple(operation, &command, deadline).await?;
        redis::from_redis_value(value)
            .map_err(|error| from_driver(operation, error.into(), Effect::Read))
    }

    /// How many members the sorted sets have whose keys match, on a server that is no cluster.
    #[cfg(feature = "cli")]
    pub(super) async fn members_of_matching(
        self: &Arc<Self>,
        operation: &'static str,
        pattern: &[u8],
    ) -> Result<u64> {
        let unreadable =
            |error: redis::ParsingError| from_driver(operation, error.into(), Effect::Read);
        let (mut cursor, mut keys) = (0_u64, std::collections::BTreeSet::<Vec<u8>>::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(pattern);
            scan.arg("COUNT").arg(1_000).arg("TYPE").arg("zset");
            let page = self.simple(operation, &scan, self.deadline()).await?;
            let found: Vec<Vec<u8>>;
            (cursor, found) = redis::from_redis_value(page).map_err(unreadable)?;
            keys.extend(found);
            if cursor == 0 {
                break;
            }
        }
        let mut members = 0;
        for key in keys {
            let mut count = redis::cmd("ZCARD");
            count.arg(key);
            let count = self.simple(operation, &count, self.deadline()).await?;
            members += redis::from_redis_value::<u64>(count).map_err(unreadable)?;
        }
        Ok(members)
    }

    /// A command that may be repeated without harm.
    async fn simple(
        self: &Arc<Self>,
        operation: &'static str,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value> {
        loop {
            match self
                .send(operation, command, Effect::Read, deadline)
                .await?
                .0
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

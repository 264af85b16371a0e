//! Waiting for replicas.

use std::time::Duration;

use exactly_once_core::{ErrorKind, Result};
use redis::{
    Pipeline, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::time::Instant;

use super::{connection::Link, error::error, schema::Shard};

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

    /// So many replicas, and the master, must have it on disk (`WAITAOF`, Redis 7.2 and later, and
    /// Valkey; an older server is refused at connect).
    #[must_use]
    pub const fn on_disk(count: u32, within: Duration) -> Self {
        Self {
            count,
            within,
            on_disk: true,
        }
    }
}

impl Link {
    /// Refuses servers that lack the command that is to be waited by.
    pub(super) async fn check_replicas(&self, operation: &'static str) -> Result<()> {
        if !self.replicas.is_some_and(|replicas| replicas.on_disk) {
            return Ok(());
        }
        let mut ask = redis::cmd("COMMAND");
        ask.arg("INFO").arg("WAITAOF");
        if lacks(&self.ask_all(operation, &ask).await?) {
            return Err(error(ErrorKind::Configuration, operation).with_message(
                "the server has no WAITAOF: upgrade it to Redis 7.2 or Valkey, or ask for \
                 `Replicas::received`",
            ));
        }
        Ok(())
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
        let (master, confirmed) = match values.last() {
            Some(Value::Int(count)) => (true, *count),
            Some(Value::Array(counts)) => match counts.as_slice() {
                [Value::Int(master), Value::Int(count)] => (*master >= 1, *count),
                _ => (false, 0),
            },
            _ => (false, 0),
        };
        if master && confirmed >= i64::from(replicas.count) {
            return Ok(());
        }
        let what = if master {
            "it stands on the master, and a failover may lose it"
        } else {
            "nor has the master it on disk yet"
        };
        Err(error(ErrorKind::Ambiguous, operation).with_message(format!(
            "{confirmed} of {} replicas confirmed the write within {:?}: {what}",
            replicas.count, replicas.within
        )))
    }
}

/// Whether a server knows nothing of the command: it answers with nothing in its place. A cluster
/// answers for each node.
fn lacks(answer: &Value) -> bool {
    match answer {
        Value::Map(nodes) => nodes.iter().any(|(_, answer)| lacks(answer)),
        Value::Array(commands) => commands.is_empty() || commands.contains(&Value::Nil),
        _ => true,
    }
}

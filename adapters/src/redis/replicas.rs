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

impl Link {
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
}

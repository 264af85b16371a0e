//! Waiting for replicas: on connections of its own, one wait for all calls that came during the
//! last one.
//!
//! `WAIT` blocks its connection, so on the shared one a stalled replica would hold up every call. It
//! looks at what its own connection has sent, so a message goes before it that changes no data (on a
//! cluster, where messages take another way, a counter). It vouches for the server that it ran on
//! and no other: what was written to another one, before a failover, stays *ambiguous*.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exactly_once_core::{Error, ErrorKind, Result};
use redis::{
    Pipeline, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    checks::text_of,
    connection::Connection,
    error::{Effect, error, from_driver},
    link::Link,
    reply::Origin,
    schema::Shard,
};

/// Replicas that must confirm a write before it is acknowledged, and before anything vouches for it:
/// a replay, a lookup, a status, a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas {
    pub(super) count: u32,
    pub(super) within: Duration,
    pub(super) on_disk: bool,
}

impl Replicas {
    /// Exactly `count` replicas or more must have received a write (`WAIT`) within this time. Fewer:
    /// *ambiguous*.
    #[must_use]
    pub const fn received(count: u32, within: Duration) -> Self {
        Self {
            count,
            within,
            on_disk: false,
        }
    }

    /// `count` replicas, and the master, must have it on disk (`WAITAOF`, Redis 7.2 and later, and
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

struct Waiting {
    origin: Origin,
    answer: oneshot::Sender<std::result::Result<(), String>>,
}

/// The calls that wait for one shard; on a single node, for all of it.
#[derive(Default)]
struct Lane {
    waiting: Vec<Waiting>,
    /// Whether a task waits for them.
    running: bool,
    /// The server that confirmed last.
    server: Origin,
}

/// The calls that wait.
#[derive(Default)]
pub(super) struct Waiters {
    lanes: Mutex<HashMap<Shard, Lane>>,
    /// Apart from the shared one, which a wait would block.
    connection: Mutex<Option<Connection>>,
}

impl Waiters {
    fn lanes(&self) -> MutexGuard<'_, HashMap<Shard, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connection(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn close(&self) {
        *self.connection() = None;
    }
}

/// How a wait ended.
struct Confirmed {
    server: Origin,
    /// On the master's own disk, where that was asked for.
    master: bool,
    count: i64,
}

impl Link {
    /// The server that owns a shard, as far as it is known before a command goes there. A cluster's
    /// connection does not report which server it has asked.
    pub(super) fn owner(&self, shard: Shard) -> Origin {
        if !self.is_cluster() || self.rules().replicas.is_none() {
            return Origin::default();
        }
        let lanes = self.waiters.lanes();
        lanes
            .get(&shard)
            .map(|lane| lane.server.clone())
            .unwrap_or_default()
    }

    /// Waits until the replicas have all that was acknowledged by this server so far; at once if none
    /// were asked for.
    pub(super) async fn replicate(
        self: &Arc<Self>,
        operation: &'static str,
        shard: Shard,
        barrier: Vec<u8>,
        origin: Origin,
        deadline: Instant,
    ) -> Result<()> {
        let Some(replicas) = self.rules().replicas else {
            return Ok(());
        };
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            origin,
            answer: sender,
        };
        let start = {
            let mut lanes = self.waiters.lanes();
            let lane = lanes.entry(shard).or_default();
            lane.waiting.push(waiting);
            !std::mem::replace(&mut lane.running, true)
        };
        if start {
            let task = Task {
                link: self.clone(),
                shard,
                barrier,
                replicas,
            };
            tokio::spawn(task.run());
        }
        let ambiguous =
            |message: String| error(ErrorKind::Ambiguous, operation).with_message(message);
        match timeout_at(deadline + replicas.within, answer).await {
            Ok(Ok(confirmed)) => confirmed.map_err(ambiguous),
            Ok(Err(_)) => Err(ambiguous(
                "the wait for the replicas was cut off".to_owned(),
            )),
            Err(_) => Err(ambiguous(short(replicas, 0))),
        }
    }
}

fn short(replicas: Replicas, confirmed: i64) -> String {
    format!(
        "{confirmed} of {} replicas confirmed the write within {:?}: it stands on the master, and a \
         failover may lose it",
        replicas.count, replicas.within
    )
}

/// Waits for all that have come, until the lane is empty.
struct Task {
    link: Arc<Link>,
    shard: Shard,
    barrier: Vec<u8>,
    replicas: Replicas,
}

impl Drop for Task {
    fn drop(&mut self) {
        // It ended, or was cut off with its runtime: nothing else would answer the calls that wait.
        if let Some(lane) = self.link.waiters.lanes().get_mut(&self.shard) {
            lane.running = false;
            lane.waiting.clear();
        }
    }
}

impl Task {
    async fn run(self) {
        loop {
            // Callers that were answered together come back together.
            tokio::task::yield_now().await;
            let Some(group) = self.take() else {
                return;
            };
            let answer = self.confirm().await;
            for one in group {
                // The caller's future may have been dropped.
                let _ = one.answer.send(self.judge(&answer, &one.origin));
            }
        }
    }

    /// The calls that wait. If there are none, the task ends, and none can come in between.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut lanes = self.link.waiters.lanes();
        let lane = lanes.get_mut(&self.shard)?;
        lane.waiting.retain(|one| !one.answer.is_closed());
        if lane.waiting.is_empty() {
            lane.running = false;
            return None;
        }
        Some(std::mem::take(&mut lane.waiting))
    }

    fn judge(
        &self,
        answer: &Result<Confirmed>,
        origin: &Origin,
    ) -> std::result::Result<(), String> {
        let confirmed = match answer {
            Ok(confirmed) => confirmed,
            Err(failed) => return Err(format!("the replicas could not be asked: {failed}")),
        };
        if !origin.may_be(&confirmed.server) {
            self.link.renew();
            return Err(
                "another server has taken over since the write: it may not have it".to_owned(),
            );
        }
        if !confirmed.master {
            return Err("the master does not have the write on disk yet".to_owned());
        }
        if confirmed.count < i64::from(self.replicas.count) {
            return Err(short(self.replicas, confirmed.count));
        }
        Ok(())
    }

    async fn confirm(&self) -> Result<Confirmed> {
        let deadline = self.link.deadline() + self.replicas.within;
        let answer = match self.ask(deadline).await {
            // Closed while it was idle, perhaps: to wait once more does no harm.
            Err(failed) if failed.is_retryable() => self.ask(deadline).await,
            answer => answer,
        };
        let confirmed = answer?;
        if let Some(lane) = self.link.waiters.lanes().get_mut(&self.shard) {
            lane.server = confirmed.server.clone();
        }
        Ok(confirmed)
    }

    async fn ask(&self, deadline: Instant) -> Result<Confirmed> {
        const OPERATION: &str = "replicate";
        let silent = || {
            error(ErrorKind::Unavailable, OPERATION).with_message("no reply to the wait in time")
        };
        let opened = self.link.waiters.connection().clone();
        let connection = match opened {
            Some(connection) => connection,
            None => {
                let opening = self.link.another(OPERATION);
                let opened = timeout_at(deadline, opening)
                    .await
                    .map_err(|_| silent())??;
                *self.link.waiters.connection() = Some(opened.clone());
                opened
            }
        };
        let route =
            SingleNodeRoutingInfo::SpecificNode(Route::new(self.shard.number(), SlotAddr::Master));
        let pipeline = self.pipeline();
        let asked = connection.pipeline(&pipeline, 3, route);
        let values = match timeout_at(deadline, asked).await {
            Ok(Ok(values)) => values,
            Ok(Err(failed)) => {
                self.link.waiters.close();
                return Err(from_driver(OPERATION, failed, Effect::Read));
            }
            Err(_) => {
                self.link.waiters.close();
                return Err(silent());
            }
        };
        self.read(values).inspect_err(|_| self.link.waiters.close())
    }

    fn pipeline(&self) -> Pipeline {
        let milliseconds = u64::try_from(self.replicas.within.as_millis()).unwrap_or(u64::MAX);
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO").arg("server");
        if self.link.is_cluster() {
            pipeline.cmd("INCR").arg(&self.barrier);
        } else {
            pipeline.cmd("PUBLISH").arg(&self.barrier).arg("");
        }
        let count = self.replicas.count;
        if self.replicas.on_disk {
            pipeline.cmd("WAITAOF").arg(1).arg(count);
        } else {
            pipeline.cmd("WAIT").arg(count);
        }
        // A timeout of zero would be none.
        pipeline.arg(milliseconds.max(1));
        pipeline
    }

    fn read(&self, values: Vec<Value>) -> Result<Confirmed, Error> {
        const OPERATION: &str = "replicate";
        let failed = |source| from_driver(OPERATION, source, Effect::Read);
        let mut values = values.into_iter().map(Value::extract_error);
        let mut next = || values.next().unwrap_or(Ok(Value::Nil)).map_err(failed);
        let info = text_of(next()?);
        next()?;
        let (master, count) = match next()? {
            Value::Int(count) => (true, count),
            Value::Array(counts) => match counts.as_slice() {
                [Value::Int(master), Value::Int(count)] => (*master >= 1, *count),
                _ => (false, 0),
            },
            _ => (false, 0),
        };
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        Ok(Confirmed {
            server: Origin::new(server.map(|run| run.trim().to_owned()).as_ref()),
            master,
            count,
        })
    }
}

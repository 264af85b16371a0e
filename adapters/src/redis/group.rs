//! One script for many callers: the scripts' own time is the limit then, and most of it is the same
//! for each call.
//!
//! Few callers send a script each and wait for no other. From a number of them on, those that come
//! wait in a queue, and a task sends what has gathered while its last group was under way. Each
//! call answers or fails by itself. In a cluster a group stays within one slot.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use exactly_once_core::{Error, Result};
use redis::Value;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    call::Call,
    error::{Effect, ends_connection, error, from_driver, from_script, lost_reply},
    reply::{Origin, Reply},
    schema::Shard,
    scripts::LuaScript,
    store::Shared,
};

/// The most calls of one group.
const LIMIT: usize = 64;

/// The most bytes of one group: what a server parses in a moment.
const GROUP_BYTES: u64 = 1 << 20;

/// After a group smaller than this, callers go on their own again.
const SMALL: usize = 16;

/// The most groups under way at once: one gathers its answers while the server runs the other.
const TASKS: usize = 2;

/// The word of an answer that is an error of this one call.
const FAILED: &[u8] = b"!";

struct Waiting {
    call: Call,
    answer: oneshot::Sender<Result<(Value, Origin)>>,
}

#[derive(Default)]
struct Queue {
    /// Calls under way on their own.
    alone: usize,
    /// Tasks that send groups.
    tasks: usize,
    waiting: Vec<Waiting>,
    /// The most bytes of a group.
    bound: u64,
}

/// Calls of one script whose keys may stand in one script.
type Lane = (&'static str, Shard);

/// The queues of a store.
pub(super) struct Groups {
    from: usize,
    lanes: Mutex<HashMap<Lane, Queue>>,
}

impl Groups {
    pub(super) fn new(from: usize) -> Self {
        Self {
            from,
            lanes: Mutex::default(),
        }
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<Lane, Queue>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a queue, and forgets it when it is idle.
    fn with<T>(&self, lane: Lane, change: impl FnOnce(&mut Queue) -> T) -> T {
        let mut lanes = self.lanes();
        let queue = lanes.entry(lane).or_default();
        let answer = change(queue);
        if queue.alone == 0 && queue.tasks == 0 && queue.waiting.is_empty() {
            lanes.remove(&lane);
        }
        answer
    }
}

/// How a call goes on.
enum Way {
    Alone(Call),
    Queued {
        answer: oneshot::Receiver<Result<(Value, Origin)>>,
        start: bool,
    },
}

/// A call under way on its own; the queue learns of its end however it ends.
struct Alone<'a> {
    groups: &'a Groups,
    lane: Lane,
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.groups.with(self.lane, |queue| queue.alone -= 1);
    }
}

impl Shared {
    /// Runs a script, alone or in a group.
    pub(super) async fn run_in_group(
        self: &Arc<Self>,
        call: Call,
        deadline: Instant,
    ) -> Result<Reply> {
        let standing = self.link.standing(call.operation, deadline).await?;
        call.check_size(standing.limits)?;
        let bound = GROUP_BYTES.min(standing.limits.command / 2);
        let lane = (call.script.name, call.shard);
        let (operation, effect) = (call.operation, call.effect);
        match self.way(lane, call, bound) {
            Way::Alone(call) => {
                let _pass = Alone {
                    groups: &self.groups,
                    lane,
                };
                self.link.run(call, deadline).await
            }
            Way::Queued { answer, start } => {
                if start {
                    let task = Task::new(self.clone(), lane);
                    tokio::spawn(task.run());
                }
                let silent = || {
                    error(lost_reply(effect), operation)
                        .with_message(format!("no reply within {:?}", self.link.response_timeout))
                };
                let (value, origin) = match timeout_at(deadline, answer).await {
                    Ok(Ok(answer)) => answer?,
                    // The task has ended with its runtime, or the server is silent.
                    Ok(Err(_)) | Err(_) => return Err(silent()),
                };
                Reply::new(operation, value, effect, origin)
            }
        }
    }

    fn way(&self, lane: Lane, call: Call, bound: u64) -> Way {
        self.groups.with(lane, |queue| {
            // One that would fill a group goes alone: it would only hold up the others.
            if (queue.tasks == 0 && queue.alone < self.groups.from) || call.bytes() >= bound {
                queue.alone += 1;
                return Way::Alone(call);
            }
            queue.bound = bound;
            let (sender, answer) = oneshot::channel();
            queue.waiting.push(Waiting {
                call,
                answer: sender,
            });
            let more = queue.waiting.len() >= LIMIT && queue.tasks < TASKS;
            let start = queue.tasks == 0 || more;
            queue.tasks += usize::from(start);
            Way::Queued { answer, start }
        })
    }
}

/// Sends batches until no caller waits.
struct Task {
    shared: Arc<Shared>,
    lane: Lane,
    /// Whether the queue counts it.
    counted: bool,
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.counted {
            // Cut off with its runtime: no other task would send what waits.
            self.shared.groups.with(self.lane, |queue| {
                queue.tasks -= 1;
                if queue.tasks == 0 {
                    queue.waiting.clear();
                }
            });
        }
    }
}

impl Task {
    fn new(shared: Arc<Shared>, lane: Lane) -> Self {
        Self {
            shared,
            lane,
            counted: true,
        }
    }

    async fn run(mut self) {
        let mut last = LIMIT;
        loop {
            if last >= SMALL {
                self.gather().await;
            }
            let group = self.take();
            if group.is_empty() {
                return;
            }
            last = group.len();
            self.send(group).await;
        }
    }

    /// Callers that were just answered are about to call again.
    async fn gather(&self) {
        let waiting = || {
            self.shared
                .groups
                .with(self.lane, |queue| queue.waiting.len())
        };
        let mut before = waiting();
        loop {
            tokio::task::yield_now().await;
            let now = waiting();
            if now >= LIMIT || now == before {
                return;
            }
            before = now;
        }
    }

    /// What waits, up to the limit. If nothing does, the task ends: no caller can come in between.
    fn take(&mut self) -> Vec<Waiting> {
        let (group, over) = self.shared.groups.with(self.lane, |queue| {
            queue.waiting.retain(|one| !one.answer.is_closed());
            let mut bytes = 0;
            let fitting = queue.waiting.iter().take(LIMIT).take_while(|one| {
                bytes += one.call.bytes();
                bytes <= queue.bound
            });
            // Each fits alone.
            let count = fitting.count().max(1).min(queue.waiting.len());
            let group: Vec<Waiting> = queue.waiting.drain(..count).collect();
            queue.tasks -= usize::from(group.is_empty());
            let over = group.is_empty();
            (group, over)
        });
        self.counted = !over;
        group
    }

    async fn send(&self, group: Vec<Waiting>) {
        let deadline = self.shared.link.deadline();
        let Some(first) = group.first() else { return };
        let (operation, effect) = (first.call.operation, first.call.effect);
        let (calls, answers): (Vec<Call>, Vec<_>) =
            group.into_iter().map(|one| (one.call, one.answer)).unzip();
        let operations: Vec<&'static str> = calls.iter().map(|call| call.operation).collect();
        let whole = match together(calls) {
            Some(call) => self.shared.link.evaluate(&call, deadline).await,
            None => Err(error(lost_reply(effect), operation)),
        };
        let values = whole.map(|(value, origin)| match value {
            Value::Array(values) if values.len() == answers.len() => (values, origin),
            // What no script of ours answers, each caller finds out.
            other => (vec![other; answers.len()], origin),
        });
        match values {
            Ok((values, origin)) => {
                for ((answer, value), operation) in answers.into_iter().zip(values).zip(operations)
                {
                    // No one receives it if the caller's future was dropped.
                    let own = self.own_answer(operation, value, effect);
                    let _ = answer.send(own.map(|value| (value, origin.clone())));
                }
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                for (answer, operation) in answers.into_iter().zip(operations) {
                    let _ = answer.send(Err(copy(operation, &failure)));
                }
            }
        }
    }
}

impl Task {
    /// What a call of a group was answered: its value, or the error that it alone met.
    fn own_answer(&self, operation: &'static str, value: Value, effect: Effect) -> Result<Value> {
        let failure = match &value {
            Value::Array(parts) => match parts.as_slice() {
                [Value::BulkString(word), Value::BulkString(text)] if word == FAILED => {
                    String::from_utf8_lossy(text).into_owned()
                }
                _ => return Ok(value),
            },
            _ => return Ok(value),
        };
        let source = from_script(&failure);
        if ends_connection(&source) {
            self.shared.link.renew();
        }
        Err(from_driver(operation, source, effect))
    }
}

/// The error of a whole group, for one of its callers.
fn copy(operation: &'static str, failure: &Arc<Error>) -> Error {
    let copy = error(failure.kind(), operation);
    let copy = match failure.message() {
        Some(message) => copy.with_message(message),
        None => copy,
    };
    copy.with_hidden_source(failure.clone())
}

/// The calls as one; `None` for none, or for a script that can't be grouped.
fn together(calls: Vec<Call>) -> Option<Call> {
    let first = calls.first()?;
    let script: &'static LuaScript = first.script.grouped.as_deref()?;
    let (operation, shard, effect) = (first.operation, first.shard, first.effect);
    let mut counts = vec![calls.len().to_string().into_bytes()];
    let (mut keys, mut all) = (Vec::new(), Vec::new());
    for call in calls {
        counts.push(call.keys.len().to_string().into_bytes());
        counts.push(call.arguments.len().to_string().into_bytes());
        keys.extend(call.keys);
        all.extend(call.arguments);
    }
    counts.append(&mut all);
    Some(Call {
        operation,
        script,
        shard,
        keys,
        arguments: counts,
        effect,
    })
}

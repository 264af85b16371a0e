//! Turns that follow each other by delayed sends, and can't multiply.
//!
//! A virtual object holds the number of the turn that is due. A turn with another number is one
//! too many (sent twice, left over from an earlier start, restarted by hand) and ends at once. One
//! that is due moves the number on and sends its successor **before** it does its chore: all three
//! are in its journal, so a retry repeats none of them, and a turn that is killed at its chore does
//! not end the schedule.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use restate_sdk::{
    context::{
        ContextClient, ContextReadState, ContextWriteState, ObjectContext, RequestTarget,
        SharedObjectContext,
    },
    errors::TerminalError,
    serde::Json,
};
use serde::{Deserialize, Serialize};

use crate::{
    engine::Refusal,
    error::{Error, ErrorKind, Result},
    restate::context::Journal,
    time::check_duration,
};

/// How many records a round removes if not said.
pub const DEFAULT_BATCH: u32 = 1_000;

/// The most records that a round may remove.
pub const MAX_BATCH: u32 = 100_000;

/// The most rounds of one turn: what is left then waits for the next one. A turn must end well
/// within Restate's abort timeout, or it would be run again and again.
pub const MAX_ROUNDS: u32 = 64;

const SCHEDULE: &str = "schedule";
const TURN: &str = "turn";
const LAST: &str = "last";
const TOTAL: &str = "total";

/// How many alarms are kept to be looked at: the latest ones.
const KEPT_ALARMS: usize = 16;

/// When a chore is done, and how much of it at once.
///
/// # What holds
/// - **It can't multiply.** Starting it again, twice at once or a hundred times, leaves one
///   schedule: the last one. A turn that is sent twice is done once.
/// - **It goes on.** Every turn sends the next one before it begins; a turn that crashes is
///   retried, one that is killed is followed by the next.
/// - **It does not stand still on a database that is down**: the failure is in the
///   [report](Report), and the next turn tries again. So `stop` gets through at any time.
/// - Turns of one key never overlap. Those of two keys may, which is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// From the beginning of one turn to the beginning of the next, in milliseconds.
    pub every_ms: u64,
    /// At most so many records are removed in one round; a turn has several, as long as there is
    /// more to remove.
    #[serde(default = "default_batch")]
    pub batch: u32,
}

fn default_batch() -> u32 {
    DEFAULT_BATCH
}

/// One turn of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its number.
    pub number: u64,
}

/// What a turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How many of what, as `{"expired": 17}`.
    pub done: BTreeMap<String, u64>,
    /// What needs a person: heuristic outcomes and losses. It is logged as an error too.
    pub alarms: Vec<String>,
    /// What could not be done now; the next turn tries again.
    pub failed: Vec<String>,
}

impl Report {
    pub(super) fn count(&mut self, what: &str, many: u64) {
        *self.done.entry(what.to_owned()).or_default() += many;
    }

    /// Adds another turn's.
    fn add(&mut self, turn: &Self) {
        for (what, many) in &turn.done {
            self.count(what, *many);
        }
        self.alarms.extend_from_slice(&turn.alarms);
        let old = self.alarms.len().saturating_sub(KEPT_ALARMS);
        self.alarms.drain(..old);
    }

    pub(super) fn fail(&mut self, error: &Error) {
        tracing::warn!(%error, "the next turn of the schedule tries again");
        self.failed.push(error.to_string());
    }
}

/// Where a schedule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `None` where it was never started, or is stopped.
    pub schedule: Option<Schedule>,
    /// The turn that is due next.
    pub next_turn: u64,
    /// What the last turn did.
    pub last: Option<Report>,
    /// What all turns have done since it was started for the first time, with the latest alarms.
    pub total: Report,
}

/// What a schedule repeats. It must bear being done twice, and being dropped at any point.
pub(super) trait Chore: Send + Sync {
    fn turn(&self, batch: u32) -> BoxFuture<'_, Report>;
}

impl Schedule {
    fn check(self) -> Result<Self> {
        let every = Duration::from_millis(self.every_ms);
        check_duration("time between two turns", every)?;
        if !(1..=MAX_BATCH).contains(&self.batch) {
            return Err(
                Error::new(ErrorKind::Invalid, "start", "restate").with_message(format!(
                    "a batch of {}; it must be 1 to {MAX_BATCH}",
                    self.batch
                )),
            );
        }
        Ok(self)
    }
}

/// Makes this the schedule, in place of whatever there was, and begins with a turn at once.
pub(super) async fn start(
    ctx: &ObjectContext<'_>,
    service: &'static str,
    schedule: Schedule,
) -> Result<(), TerminalError> {
    let schedule = schedule
        .check()
        .map_err(|error| Refusal::from_error(&error))?;
    let turn = due(ctx).await? + 1;
    ctx.set(SCHEDULE, Json(schedule));
    follow(ctx, service, turn, Duration::ZERO).await
}

/// No turn is due any more; one that is under way has ended, because turns are exclusive.
pub(super) async fn stop(ctx: &ObjectContext<'_>) -> Result<(), TerminalError> {
    let turn = due(ctx).await? + 1;
    ctx.set(TURN, turn);
    ctx.clear(SCHEDULE);
    Ok(())
}

/// Does the chore if this turn is due.
pub(super) async fn turn(
    ctx: &ObjectContext<'_>,
    service: &'static str,
    turn: Turn,
    chore: Arc<dyn Chore>,
) -> Result<(), TerminalError> {
    let schedule = ctx.get::<Json<Schedule>>(SCHEDULE).await?;
    let Some(Json(schedule)) = schedule else {
        return Ok(());
    };
    if due(ctx).await? != turn.number {
        return Ok(());
    }
    let every = Duration::from_millis(schedule.every_ms);
    follow(ctx, service, turn.number + 1, every).await?;
    let report = ctx
        .step("turn".to_owned(), move || async move {
            Ok(chore.turn(schedule.batch).await)
        })
        .await?;
    let total = ctx.get::<Json<Report>>(TOTAL).await?;
    let mut total = total.map_or_else(Report::default, Json::into_inner);
    total.add(&report);
    ctx.set(TOTAL, Json(total));
    ctx.set(LAST, Json(report));
    Ok(())
}

/// Where it stands.
pub(super) async fn status(ctx: &SharedObjectContext<'_>) -> Result<Json<Status>, TerminalError> {
    Ok(Json(Status {
        schedule: ctx
            .get::<Json<Schedule>>(SCHEDULE)
            .await?
            .map(Json::into_inner),
        next_turn: ctx.get::<u64>(TURN).await?.unwrap_or_default(),
        last: ctx.get::<Json<Report>>(LAST).await?.map(Json::into_inner),
        total: ctx
            .get::<Json<Report>>(TOTAL)
            .await?
            .map_or_else(Report::default, Json::into_inner),
    }))
}

async fn due(ctx: &ObjectContext<'_>) -> Result<u64, TerminalError> {
    Ok(ctx.get::<u64>(TURN).await?.unwrap_or_default())
}

/// Sends that turn, and makes it the one that is due.
async fn follow(
    ctx: &ObjectContext<'_>,
    service: &'static str,
    number: u64,
    delay: Duration,
) -> Result<(), TerminalError> {
    ctx.set(TURN, number);
    let target = RequestTarget::object(service, ctx.key(), "turn");
    // Awaited, so that the next turn is on its way before this one begins its chore.
    ctx.request::<_, ()>(target, Json(Turn { number }))
        .send_after(delay)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_without_time_or_work_is_refused() {
        let schedule = |every_ms, batch| Schedule { every_ms, batch }.check();
        assert!(schedule(1, 1).is_ok());
        assert!(schedule(60_000, MAX_BATCH).is_ok());
        for (every_ms, batch) in [(0, 1), (u64::MAX, 1), (1, 0), (1, MAX_BATCH + 1)] {
            let refused = schedule(every_ms, batch).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{every_ms} {batch}");
        }
    }

    #[test]
    fn counts_add_up_and_the_latest_alarms_are_kept() {
        let mut total = Report::default();
        for turn in 0..20 {
            let mut report = Report::default();
            report.count("expired", 5);
            report.alarms.push(format!("alarm {turn}"));
            total.add(&report);
        }
        assert_eq!(total.done["expired"], 100);
        assert_eq!(total.alarms.len(), KEPT_ALARMS);
        assert_eq!(total.alarms.last().map(String::as_str), Some("alarm 19"));
    }

    #[test]
    fn a_batch_need_not_be_said() {
        let schedule: Schedule = serde_json::from_str(r#"{"every_ms": 5}"#).unwrap();
        assert_eq!(schedule.batch, DEFAULT_BATCH);
    }
}

//! Ends what dead coordinators left in doubt.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use restate_sdk::prelude::*;

use super::schedule::{self, Chore, MAX_ROUNDS, Report, Schedule, Status, Turn};
use crate::{register::DecisionRegister, two_phase::Sweeper};

const NAME: &str = "InDoubtSweep";

/// Sweeps on a [schedule](Schedule): ends transactions that are in doubt past their deadline, and
/// removes the records of those past `forget_after`.
///
/// Without it, or another [`Sweeper`] that runs now and then, what an invocation that was killed
/// had prepared stays prepared, with its locks. Any number may run, here and elsewhere.
///
/// The object's key names the schedule; use the register's namespace.
///
/// | handler | does |
/// |---|---|
/// | `start` | makes a [`Schedule`] the one in force, and begins |
/// | `stop` | ends it |
/// | `status` | returns its state, and what the last turn did (`waiting`, `committed`, `rolled_back`, `unfinished`, `foreign`, `forgotten`), with its alarms |
pub struct InDoubtSweep<R>(Arc<Doubts<R>>);

struct Doubts<R>(Sweeper<R>);

impl<R: DecisionRegister> InDoubtSweep<R> {
    /// With this sweeper, which knows the register and the participants.
    pub fn new(sweeper: Sweeper<R>) -> Self {
        Self(Arc::new(Doubts(sweeper)))
    }
}

impl<R: DecisionRegister> Doubts<R> {
    async fn sweep(&self, report: &mut Report) {
        match self.0.sweep().await {
            Ok(swept) => {
                report.count("waiting", swept.waiting);
                report.count("committed", swept.committed);
                report.count("rolled_back", swept.rolled_back);
                report.count("unfinished", swept.unfinished.len() as u64);
                report.count("foreign", swept.foreign.len() as u64);
                report
                    .alarms
                    .extend(swept.alarms.iter().map(ToString::to_string));
                for error in &swept.failed {
                    report.fail(error);
                }
            }
            Err(error) => report.fail(&error),
        }
    }

    async fn forget(&self, batch: u32, report: &mut Report) {
        for _ in 0..MAX_ROUNDS {
            let forgotten = self.0.forget(batch).await;
            report.count("forgotten", forgotten.removed);
            for error in &forgotten.failed {
                report.fail(error);
            }
            if forgotten.removed == 0 || !forgotten.failed.is_empty() {
                return;
            }
        }
    }
}

impl<R: DecisionRegister> Chore for Doubts<R> {
    fn turn(&self, batch: u32) -> BoxFuture<'_, Report> {
        async move {
            let mut report = Report::default();
            self.sweep(&mut report).await;
            self.forget(batch, &mut report).await;
            report
        }
        .boxed()
    }
}

#[restate_sdk::object(name = "InDoubtSweep")]
impl<R: DecisionRegister> InDoubtSweep<R> {
    #[handler]
    async fn start(
        &self,
        ctx: ObjectContext<'_>,
        Json(schedule): Json<Schedule>,
    ) -> Result<(), TerminalError> {
        schedule::start(&ctx, NAME, schedule).await
    }

    #[handler]
    async fn stop(&self, ctx: ObjectContext<'_>) -> Result<(), TerminalError> {
        schedule::stop(&ctx).await
    }

    #[handler]
    async fn status(&self, ctx: SharedObjectContext<'_>) -> Result<Json<Status>, TerminalError> {
        schedule::status(&ctx).await
    }

    // There is one for every turn: their journals would pile up.
    #[handler(journal_retention = "10 minutes")]
    async fn turn(
        &self,
        ctx: ObjectContext<'_>,
        Json(turn): Json<Turn>,
    ) -> Result<(), TerminalError> {
        schedule::turn(&ctx, NAME, turn, self.0.clone()).await
    }
}

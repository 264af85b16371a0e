//! Removes keys whose retention has passed.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};
use restate_sdk::prelude::*;

use super::schedule::{self, Chore, MAX_ROUNDS, Report, Schedule, Status, Turn};
use crate::idempotency::IdempotencyStore;

const NAME: &str = "KeyExpiry";

/// Removes keys whose retention has passed, in bounded batches, on a [schedule](Schedule).
///
/// Retention is counted from the **completion** of a key, by the store's own clock; a key that is
/// in progress stays. What a turn finds is decided by the store and not by when the turn was sent:
/// so a late turn, or one too many, never removes a key before its time. That is why there is one
/// schedule for a store and no delayed send per key, which could meet a key that was claimed again.
///
/// The object's key names the schedule; use the namespace.
///
/// | handler | does |
/// |---|---|
/// | `start` | makes a [`Schedule`] the one in force, and begins |
/// | `stop` | ends it |
/// | `status` | returns its state, and what the last turn did (`expired`) |
pub struct KeyExpiry<S>(Arc<Keys<S>>);

struct Keys<S>(Vec<S>);

impl<S: IdempotencyStore> KeyExpiry<S> {
    /// For the keys in this store's namespace.
    pub fn new(store: S) -> Self {
        Self::of_all([store])
    }

    /// For the keys of several stores, each in its own namespace: one turn goes through all of them, and
    /// a store that is away is in the report and holds up no other one.
    pub fn of_all(stores: impl IntoIterator<Item = S>) -> Self {
        Self(Arc::new(Keys(stores.into_iter().collect())))
    }
}

impl<S: IdempotencyStore> Chore for Keys<S> {
    fn turn(&self, batch: u32) -> BoxFuture<'_, Report> {
        async move {
            let mut report = Report::default();
            for store in &self.0 {
                expire(store, batch, &mut report).await;
            }
            report
        }
        .boxed()
    }
}

async fn expire<S: IdempotencyStore>(store: &S, batch: u32, report: &mut Report) {
    for _ in 0..MAX_ROUNDS {
        match store.expire(batch).await {
            Ok(expired) => {
                report.count("expired", expired);
                if expired < u64::from(batch) {
                    return;
                }
            }
            Err(error) => {
                report.fail(&error);
                return;
            }
        }
    }
}

#[restate_sdk::object(name = "KeyExpiry")]
impl<S: IdempotencyStore> KeyExpiry<S> {
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

//! Heartbeats while a step waits, with the details that the activity recorded last.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::{
    IdempotencyKey,
    engine::{Engine, Entered, KeyedBy, Refusal, Retry, Step, Timer},
};
use futures_util::future::{BoxFuture, Either, select};
use serde::{Serialize, de::DeserializeOwned};
use temporalio_common::data_converters::{
    ActivitySerializationContext, GenericPayloadConverter, PayloadConversionError, RawValue,
    SerializationContext, SerializationContextData, TemporalSerializable,
};
use temporalio_sdk::activities::{ActivityContext, ActivityError};

use crate::Temporal;

/// A heartbeat is due when this part of its timeout has passed.
const PER_TIMEOUT: u32 = 3;

/// No heartbeat is sooner after the one before.
const SHORTEST: Duration = Duration::from_millis(1);

/// An activity context that sends heartbeats while its steps wait for a database.
///
/// An activity with a heartbeat timeout that waits longer for a lock is taken for dead, and each new
/// attempt queues behind the first one. This context keeps it alive, and so it learns of a
/// cancellation too.
///
/// A heartbeat replaces the details of the one before. The SDK can't read what an attempt has recorded,
/// so record details **here**: each heartbeat carries the last ones, and until this attempt records any,
/// those of the attempt before.
///
/// ```no_run
/// # use exactly_once::{Result, sqlite::{SqliteStore, SqliteTx}};
/// # use temporalio_sdk::activities::{ActivityContext, ActivityError};
/// use exactly_once_temporal::{Effects, Heartbeats};
///
/// # async fn import(ctx: ActivityContext, store: SqliteStore) -> Result<(), ActivityError> {
/// let ctx = Heartbeats::of(ctx);
/// let page = ctx.heartbeat_details().deserialize::<u64>()?.unwrap_or(0);
/// ctx.record_heartbeat(page).await?;
/// ctx.execute_once(&store, "import", &page, async move |tx: &mut SqliteTx| {
///     let insert = "INSERT INTO page (number) VALUES (?1)";
///     tx.run(move |db| db.execute(insert, [page as i64])).await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub struct Heartbeats {
    ctx: ActivityContext,
    details: Mutex<RawValue>,
}

impl Heartbeats {
    /// Wraps the context; everything of it stays at hand.
    #[must_use]
    pub fn of(ctx: ActivityContext) -> Self {
        let details = RawValue::new(ctx.heartbeat_details().raw().to_vec());
        Self {
            ctx,
            details: Mutex::new(details),
        }
    }

    /// Records a heartbeat with these details, and keeps them for those to come.
    ///
    /// # Errors
    /// Details that can't be serialized; nothing is recorded then.
    pub async fn record_heartbeat<T>(&self, details: T) -> Result<(), PayloadConversionError>
    where
        T: TemporalSerializable + 'static,
    {
        let client = self.ctx.client();
        let converter = client.options().data_converter.payload_converter();
        let activity = SerializationContextData::Activity(ActivitySerializationContext::new());
        // Without the codec, which the SDK applies to each heartbeat.
        let details =
            converter.to_payloads(&SerializationContext::new(&activity, converter), &details)?;
        *self.last() = RawValue::new(details);
        self.beat().await
    }

    async fn beat(&self) -> Result<(), PayloadConversionError> {
        let details = self.last().clone();
        self.ctx.record_heartbeat(details).await
    }

    fn last(&self) -> std::sync::MutexGuard<'_, RawValue> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never ends.
    async fn beat_on(&self, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = self.beat().await {
                tracing::warn!(%error, "a heartbeat can't be recorded");
            }
        }
    }
}

impl Deref for Heartbeats {
    type Target = ActivityContext;

    fn deref(&self) -> &ActivityContext {
        &self.ctx
    }
}

impl fmt::Debug for Heartbeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeats").finish_non_exhaustive()
    }
}

impl<'run> Engine<'run, Temporal> for Heartbeats {
    type Failure = ActivityError;

    fn name(&self) -> &'static str {
        self.ctx.name()
    }

    fn identity<'a>(
        &'a self,
        step: &'a Step,
    ) -> BoxFuture<'a, Result<IdempotencyKey, ActivityError>>
    where
        'run: 'a,
    {
        self.ctx.identity(step)
    }

    fn journal<'a, T, F, Fut>(
        &'a self,
        name: String,
        run: F,
    ) -> BoxFuture<'a, Result<T, ActivityError>>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, Retry>> + Send + 'run,
    {
        let step = self.ctx.journal(name, run);
        let info = self.info();
        let Some(interval) = interval(info.heartbeat_timeout, info.is_local) else {
            return step;
        };
        Box::pin(async move {
            match select(step, std::pin::pin!(self.beat_on(interval))).await {
                Either::Left((answer, _)) => answer,
                Either::Right(((), step)) => step.await,
            }
        })
    }

    fn has_journal(&self) -> bool {
        self.ctx.has_journal()
    }

    fn cancelled<'a>(&'a self) -> BoxFuture<'a, Option<ActivityError>>
    where
        'run: 'a,
    {
        Engine::cancelled(&self.ctx)
    }

    fn refused(&self, refusal: Refusal) -> ActivityError {
        self.ctx.refused(refusal)
    }

    fn timer(&self) -> Timer {
        self.ctx.timer()
    }

    fn enter(&self, step: &Step, keyed_by: KeyedBy) -> Result<Entered, ActivityError> {
        self.ctx.enter(step, keyed_by)
    }
}

/// How often a heartbeat is due; `None` where none is. The server says *no timeout* as zero.
fn interval(timeout: Option<Duration>, is_local: bool) -> Option<Duration> {
    let timeout = timeout.filter(|timeout| !timeout.is_zero() && !is_local)?;
    Some((timeout / PER_TIMEOUT).max(SHORTEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_is_due_three_times_in_its_timeout_and_without_one_never() {
        let three = Some(Duration::from_secs(3));
        assert_eq!(interval(three, false), Some(Duration::from_secs(1)));
        assert_eq!(interval(three, true), None);
        assert_eq!(interval(None, false), None);
        assert_eq!(interval(Some(Duration::ZERO), false), None);
        assert_eq!(
            interval(Some(Duration::from_nanos(1)), false),
            Some(SHORTEST)
        );
    }
}

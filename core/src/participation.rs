//! A participation in one call: name, request and deadline, by the clock of the register.

use std::time::Duration;

use serde::Serialize;

use crate::{
    error::{Error, ErrorKind, Result},
    execute::ExecuteOnce,
    fingerprint::Fingerprint,
    idempotency::{Claim, IdempotencyStore},
    names::{IdempotencyKey, TransactionId},
    prepared::Participation,
    register::DecisionRegister,
    time::{MAX_DURATION, Retention, Timestamp, check_duration},
};

const OPERATION: &str = "participation";

impl Participation {
    /// The transaction `name` for `request`, which prepares and decides within `deadline` from now,
    /// by the register's clock. Its records are kept for 30 days more.
    ///
    /// Each call makes other deadlines, and a retry with other deadlines is a *mismatch*: record the
    /// value before the transaction begins, and run every attempt with the recorded one.
    /// [`Self::recorded`] does both.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a name that can't be used, and for a deadline of zero or of
    /// more than 100 years; a request that can't be serialized; as [`Store::now`](crate::Store::now).
    pub async fn within<R, Q>(
        register: &R,
        name: &str,
        request: &Q,
        deadline: Duration,
    ) -> Result<Self>
    where
        R: DecisionRegister,
        Q: Serialize + Sync + ?Sized,
    {
        let name = TransactionId::new(name)?;
        let fingerprint = Fingerprint::of("two_phase", request)?;
        let (not_after, forget_after) = deadlines(register, deadline, Retention::default()).await?;
        Self::new(&name, fingerprint, not_after, forget_after)
    }

    /// As [`Self::within`], and recorded in the store before it is used: every call with this name
    /// returns the participation of the first one, in any process and after any crash. This is all
    /// that an attempt needs to be run again without a durable engine.
    ///
    /// It takes an idempotency key of the store, derived from the name.
    ///
    /// # Errors
    /// As [`Self::within`]; [mismatch](ErrorKind::Mismatch) where the name was used for another
    /// request; as [`ExecuteOnce::execute_once`].
    pub async fn recorded<S, Q>(
        store: &S,
        name: &str,
        request: &Q,
        deadline: Duration,
    ) -> Result<Self>
    where
        S: IdempotencyStore + DecisionRegister,
        Q: Serialize + Sync + ?Sized,
    {
        let made = Self::within(store, name, request, deadline).await?;
        let key = IdempotencyKey::new(format!("two-phase/{}", made.transaction()))?;
        // No shorter than the records of the transaction itself.
        let kept = deadline.saturating_add(kept_after(Retention::default()));
        let claim = Claim::new(key, *made.fingerprint())
            .with_retention(Retention::new(kept.min(MAX_DURATION))?);
        let executed = store
            .execute_once(&claim, async move |_tx: &mut S::Tx| Ok(made))
            .await?;
        Ok(executed.value)
    }
}

fn kept_after(retention: Retention) -> Duration {
    retention.duration().unwrap_or(MAX_DURATION)
}

/// When a transaction that begins now must have prepared and decided, and when its records are
/// forgotten; both by the register's clock.
pub(crate) async fn deadlines<R: DecisionRegister>(
    register: &R,
    deadline: Duration,
    retention: Retention,
) -> Result<(Timestamp, Timestamp)> {
    check_duration("deadline", deadline)?;
    let too_late = || {
        Error::new(ErrorKind::Invalid, OPERATION, register.backend())
            .with_message("the deadline is out of range")
    };
    let not_after = register.now().await?.checked_add(deadline);
    let not_after = not_after.ok_or_else(too_late)?;
    let forget_after = not_after.checked_add(kept_after(retention));
    Ok((not_after, forget_after.ok_or_else(too_late)?))
}

//! A two-phase commit's name and deadlines, recorded in its register's store.

use exactly_once_core::{
    DecisionRegister, IdempotencyStore, MAX_DURATION, Retention,
    engine::{Effects, Engine, KeyedBy, Step, TransactionIdentity},
};
use temporalio_sdk::activities::ActivityError;

use crate::{Temporal, failure};

/// Name and deadlines of a two-phase commit, recorded in the register's store before they are used:
/// every attempt gets those of the first one, also after a reset of the workflow.
///
/// Its key is that of a step named `<step>/identity`: the second one of an activity is refused, as is an
/// effect of that name beside it.
///
/// It takes an idempotency key and one more commit. Where an attempt after a reset may be refused,
/// [`EffectKeys::transaction`](crate::EffectKeys::transaction) costs nothing.
///
/// ```no_run
/// # use exactly_once::{Statement, sqlite::SqliteStore};
/// # use temporalio_sdk::activities::{ActivityContext, ActivityError};
/// use exactly_once_temporal::{Effects, recorded_identity};
///
/// # async fn order(ctx: ActivityContext, orders: SqliteStore, stock: SqliteStore) -> Result<(), ActivityError> {
/// let identity = recorded_identity(&ctx, &orders, "order").await?;
/// let (ordered, taken) = (orders.clone(), stock.clone());
/// ctx.two_phase_as(&orders, "order", &identity, &17, move |commit| {
///     commit
///         .one_shot_participant("orders", &ordered, vec![Statement::new("INSERT INTO orders VALUES (17)")])
///         .one_shot_participant("stock", &taken, vec![Statement::new("UPDATE stock SET left = left - 1")])
/// })
/// .await
/// # }
/// ```
///
/// # Errors
/// As [`Effects::execute_once`].
pub async fn recorded_identity<'run, E, R>(
    ctx: &E,
    register: &R,
    step: impl Into<Step>,
) -> Result<TransactionIdentity, ActivityError>
where
    E: Engine<'run, Temporal, Failure = ActivityError>,
    R: DecisionRegister + IdempotencyStore,
{
    let refused = |error: exactly_once_core::Error| failure::failed(&error);
    let step = step.into();
    let (deadline, retention) = (step.deadline(), step.retention());
    let named = Step::named(format!("{}/identity", step.name()));
    let entered = ctx.enter(&named, KeyedBy::of(&step))?;
    let key = match step.key() {
        Some(key) => key.clone(),
        None => ctx.identity(&named).await?,
    };
    let now = register.now().await.map_err(refused)?;
    // A later attempt makes another one, and gets this one.
    let made = TransactionIdentity::new(key.clone(), now, deadline, retention).map_err(refused)?;
    let named = named
        .with_key(key)
        .with_retention(kept(deadline, retention).map_err(refused)?);
    let record = async move |_tx: &mut R::Tx| Ok(made);
    let identity = ctx.execute_once(register, named, &(), record).await?;
    entered.answered();
    Ok(identity)
}

/// No shorter than the records of the transaction itself.
fn kept(
    deadline: std::time::Duration,
    retention: Retention,
) -> Result<Retention, exactly_once_core::Error> {
    match retention.duration() {
        None => Ok(Retention::FOREVER),
        Some(retention) => Ok(Retention::new(
            deadline.saturating_add(retention).min(MAX_DURATION),
        )?),
    }
}

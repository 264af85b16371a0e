//! How invocations end: aborted by a timeout, cancelled in the middle.

use anyhow::{Result, ensure};
use exactly_once::{
    IdempotencyKey,
    engine::Step,
    restate::ExactlyOnce,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_servers::restate::Action;
use restate_sdk::prelude::*;
use serde_json::json;

use crate::bench::{Bench, Gate, effects, insert, refusal, until};

/// Bound with an abort timeout that is far shorter than its work.
pub(crate) struct Hasty(pub(crate) SqliteStore, pub(crate) Gate);

#[restate_sdk::service]
impl Hasty {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        held(&ctx, &self.0, &self.1, name).await
    }
}

/// Its work waits until it is let through.
pub(crate) struct Held(pub(crate) SqliteStore, pub(crate) Gate);

#[restate_sdk::service]
impl Held {
    #[handler]
    async fn run(&self, ctx: Context<'_>, Json(name): Json<String>) -> HandlerResult<i64> {
        held(&ctx, &self.0, &self.1, name).await
    }
}

/// Writes, and waits before it commits; under a key of the caller's own.
pub(crate) async fn held(
    ctx: &Context<'_>,
    store: &SqliteStore,
    gate: &Gate,
    name: String,
) -> HandlerResult<i64> {
    let key = IdempotencyKey::new(name.as_str()).map_err(TerminalError::from)?;
    let (row, gate) = (name.clone(), gate.clone());
    let work = async move |tx: &mut SqliteTx| {
        let rows = insert(tx, row).await?;
        gate.pass().await;
        Ok(rows)
    };
    let step = Step::named("held").with_key(key);
    Ok(ctx.execute_once(store, step, &name, work).await?)
}

/// Goal: work that takes longer than the abort timeout is done over and over, but never halfway:
/// each attempt rolls back; once it is quick enough, there is one effect.
pub(crate) async fn work_longer_than_the_abort_timeout_never_commits_halfway(
    bench: &Bench,
) -> Result<()> {
    let id = bench.send("Hasty/run", json!("hasty")).await?;
    bench.hasty.attempts(3).await?;
    ensure!(
        effects(&bench.hurried, "hasty").await? == 0,
        "an aborted attempt has committed"
    );
    bench.hasty.open();
    let answer = bench.attach(&id).await?;
    ensure!(answer == (200, json!(1)), "{answer:?}");
    ensure!(effects(&bench.hurried, "hasty").await? == 1);
    Ok(())
}

/// Goal: a cancel while the work is under way differs from a refusal; the work has happened or
/// it has not, and another invocation with the key gets the right answer and one effect.
pub(crate) async fn a_cancel_in_the_middle_of_the_work_leaves_the_key_usable(
    bench: &Bench,
) -> Result<()> {
    let id = bench.send("Held/run", json!("cancelled")).await?;
    bench.held.attempts(1).await?;
    bench.restate.act(Action::Cancel, &id).await?;
    let sql = format!(
        "SELECT entry_type FROM sys_journal WHERE id = '{id}' AND entry_type LIKE '%Signal%'"
    );
    until("the cancel is in the journal", async || {
        Ok(!bench.restate.query(&sql).await?.is_empty())
    })
    .await?;
    // The SDK informs the handler at its next await, so the work goes on to its end.
    bench.held.open();
    let answer = bench.attach(&id).await?;
    ensure!(answer.0 == 409 && refusal(&answer).is_none(), "{answer:?}");
    until("the work has ended", async || Ok(bench.held.inside() == 0)).await?;
    let answer = bench.call("Held/run", json!("cancelled")).await?;
    ensure!(answer == (200, json!(1)), "{answer:?}");
    ensure!(effects(&bench.ends, "cancelled").await? == 1);
    Ok(())
}

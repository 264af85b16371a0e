//! Key expiry and the sweeper, on their schedules.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exactly_once::{
    BegunPrepared, Claim, ErrorKind, ExecuteOnce as _, Fingerprint, IdempotencyKey,
    IdempotencyStore as _, KeyState, LeaseStore as _, Leased, Participants, Participation,
    PreparedTransactions as _, Retention, Store as _, TransactionId, identity_of,
    restate::services::Status, sqlite::SqliteStore,
};
use serde_json::{Value, json};

use crate::bench::{Bench, insert, refusal, until};

async fn status(bench: &Bench, path: &str) -> Result<Status> {
    let (code, body) = bench.call(&format!("{path}/status"), Value::Null).await?;
    ensure!(code == 200, "{code} {body}");
    Ok(serde_json::from_value(body)?)
}

/// How many turns are due later.
async fn pending(bench: &Bench, service: &str) -> Result<usize> {
    let sql = format!(
        "SELECT id FROM sys_invocation WHERE target_service_name = '{service}' \
         AND target_handler_name = 'turn' AND status = 'scheduled'"
    );
    Ok(bench.restate.query(&sql).await?.len())
}

fn claim(key: &str, retention: Retention) -> Result<Claim> {
    let claim = Claim::new(IdempotencyKey::new(key)?, Fingerprint::of("test", &key)?);
    Ok(claim.with_retention(retention))
}

/// Goal: keys past their retention are removed in batches, counted from completion; what is kept for
/// ever or in progress stays; and however often the schedule is started, or a turn is sent, there is
/// one schedule. Method: it is started five times at once, its turns are sent by hand and restarted
/// as new; then the turns that are pending are counted.
pub(crate) async fn keys_expire_and_the_schedule_does_not_multiply(bench: &Bench) -> Result<()> {
    let store = &bench.expiring;
    let moment = Retention::new(Duration::from_millis(1))?;
    for number in 0..25 {
        let claim = claim(&format!("old-{number}"), moment)?;
        store
            .execute_once(&claim, async |tx| insert(tx, "old".to_owned()).await)
            .await?;
    }
    let kept = claim("kept", Retention::FOREVER)?;
    store
        .execute_once(&kept, async |tx| insert(tx, "kept".to_owned()).await)
        .await?;
    let held = claim("held", moment)?;
    let leased = store.lease(&held, Duration::from_secs(600)).await?;
    ensure!(matches!(leased, Leased::Granted(_)), "{leased:?}");

    let path = "KeyExpiry/payments";
    let start = json!({"every_ms": 300, "batch": 10});
    let starts = (0..5).map(|_| bench.call("KeyExpiry/payments/start", start.clone()));
    for (code, body) in futures_util::future::try_join_all(starts).await? {
        ensure!(code == 200, "{code} {body}");
    }
    until("a turn", async || {
        Ok(status(bench, path).await?.last.is_some())
    })
    .await?;
    ensure!(store.expire(100).await? == 0, "the turn left keys behind");
    let record = store.lookup(kept.key()).await?.context("kept is gone")?;
    ensure!(
        matches!(record.state, KeyState::Completed { .. }),
        "{record:?}"
    );
    let record = store.lookup(held.key()).await?.context("held is gone")?;
    ensure!(
        matches!(record.state, KeyState::Leased { .. }),
        "{record:?}"
    );

    // Turns that were not asked for: sent twice, and restarted.
    let due = status(bench, path).await?.next_turn;
    for _ in 0..3 {
        let turn = json!({"number": due});
        ensure!(bench.call("KeyExpiry/payments/turn", turn).await?.0 == 200);
    }
    let sql = "SELECT id FROM sys_invocation WHERE target_service_name = 'KeyExpiry' \
               AND target_handler_name = 'turn' AND status = 'completed'";
    for row in bench.restate.query(sql).await?.iter().take(3) {
        let id = row["id"].as_str().context("no id")?;
        let new = bench.restate.restart_as_new(id, 0).await?;
        bench.attach(&new).await?;
    }
    // Those that are too many have come and gone when the schedule is some turns on.
    let later = status(bench, path).await?.next_turn + 3;
    until("later turns", async || {
        Ok(status(bench, path).await?.next_turn >= later)
    })
    .await?;
    for _ in 0..10 {
        let pending = pending(bench, "KeyExpiry").await?;
        ensure!(pending <= 1, "{pending} turns are pending");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }

    ensure!(bench.call("KeyExpiry/payments/stop", Value::Null).await?.0 == 200);
    let stopped = status(bench, path).await?;
    ensure!(stopped.schedule.is_none(), "{stopped:?}");
    until("no turn", async || {
        Ok(pending(bench, "KeyExpiry").await? == 0)
    })
    .await?;
    let after = status(bench, path).await?.next_turn;
    ensure!(after == stopped.next_turn, "a turn was done after the stop");
    Ok(())
}

async fn prepare(store: &SqliteStore, participation: &Participation) -> Result<()> {
    let BegunPrepared::Fresh(mut tx) = store.begin_prepared(participation).await? else {
        anyhow::bail!("not fresh");
    };
    insert(&mut tx, "in doubt".to_owned())
        .await
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(store.prepare(tx, participation).await?)
}

/// Goal: what a dead coordinator left is ended past its deadline by the service, its locks go, and
/// its records are removed at the end of their time, while two other stores are away.
pub(crate) async fn what_is_in_doubt_is_swept_and_forgotten(bench: &Bench) -> Result<()> {
    let (one, two) = &bench.doubtful;
    let now = one.now().await?;
    let after = |ms| now.checked_add(Duration::from_millis(ms)).context("time");
    let name = TransactionId::new("left behind")?;
    let fingerprint = Fingerprint::of("test", &1)?;
    let participation = Participation::new(&name, fingerprint, after(3_000)?, after(4_000)?)?;
    let (register, other) = (identity_of(one).await?, identity_of(two).await?);
    let participants = Participants::of([register, other]);
    let participation = participation.entitled(register, participants);
    prepare(one, &participation).await?;
    prepare(two, &participation).await?;

    let path = "InDoubtSweep/orders";
    let start = json!({"every_ms": 100});
    let (code, body) = bench.call(&format!("{path}/start"), start).await?;
    ensure!(code == 200, "{code} {body}");
    until("both rolled back, and their records gone", async || {
        let total = status(bench, path).await?.total;
        ensure!(total.alarms.is_empty(), "{total:?}");
        let done = |what| total.done.get(what).copied().unwrap_or_default();
        // Two participants, and the register's decision.
        Ok(done("rolled_back") >= 2 && done("forgotten") >= 3)
    })
    .await?;
    // The stores that are away were reported in each turn: at the sweep and at the forgetting.
    let last = status(bench, path).await?.last.context("a turn")?;
    ensure!(last.failed.len() >= 4, "{last:?}");
    let left =
        one.in_doubt(None, 10).await?.entries.len() + two.in_doubt(None, 10).await?.entries.len();
    ensure!(left == 0, "{left} in doubt");
    ensure!(bench.call(&format!("{path}/stop"), Value::Null).await?.0 == 200);
    Ok(())
}

/// Goal: a schedule that could not work is refused when it is started, with the limit.
pub(crate) async fn a_schedule_that_makes_no_sense_is_refused(bench: &Bench) -> Result<()> {
    for schedule in [
        json!({"every_ms": 0}),
        json!({"every_ms": 10, "batch": 0}),
        json!({"every_ms": 10, "batch": 4_000_000_000_u32}),
    ] {
        let answer = bench.call("KeyExpiry/never/start", schedule).await?;
        let refusal = refusal(&answer).context("it is a refusal")?;
        ensure!(refusal.kind() == ErrorKind::Invalid, "{refusal}");
    }
    ensure!(status(bench, "KeyExpiry/never").await?.schedule.is_none());
    Ok(())
}

//! Goal: a refusal is the answer, also after a crash; and an invocation that is cancelled or killed, at any step, leaves nothing in doubt and
//! nothing locked beyond its deadline and one sweep.
//!
//! Method: the service in this process, with a fault that holds one attempt at a named point. There
//! the invocation is ended by Restate's admin interface. A killed attempt is dropped where it
//! stands; a cancelled one goes on, or dies, and then the next one learns of the cancellation.

mod bench;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use exactly_once::{ErrorKind, PreparedTransactions};
use exactly_once_order::{
    audit::{self, Answer},
    control::CrashPoint,
    model::{Order, Placed},
};
use exactly_once_servers::restate::Action;

use crate::bench::{Bench, DEADLINE, UNITS};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_refused_is_nowhere_and_refused_on_every_retry() -> Result<()> {
    let bench = Bench::start().await?;
    let mut orders = Vec::new();
    // The last attempt dies with everything rolled back, and Restate has not heard of it.
    for (number, dies) in [(0, false), (1, true)] {
        let mut order = bench.order(number);
        order.units = UNITS + 1;
        let invocation = if dies {
            let stopped = bench.pause.arm(CrashPoint::AfterFinish);
            let invocation = bench.send(&order).await?;
            stopped.reached().await?;
            bench.pause.release(true);
            Some(invocation)
        } else {
            None
        };
        let (status, body) = bench.call(&order).await?;
        let refusal = Bench::refusal(status, &body).with_context(|| body.clone())?;
        // Which of the two refuses first is up to them.
        let refused = match refusal.kind() {
            ErrorKind::Rejected { status: 422 } => refusal.message() == "out of stock",
            ErrorKind::Rejected { status: 402 } => refusal.message() == "over the quota",
            _ => false,
        };
        ensure!(refused, "{status} {body}");
        ensure!(bench.call(&order).await? == (status, body));
        if let Some(invocation) = invocation {
            bench.ended(&invocation).await?;
        }
        orders.push((
            order,
            Answer::Refused {
                status,
                message: String::new(),
            },
        ));
    }
    let evidence = audit::evidence::read(&bench.addresses).await?;
    let anomalies = audit::anomalies(&orders, &evidence, &bench.seeds);
    ensure!(anomalies.is_empty(), "{anomalies:?}");
    Ok(())
}

/// How an invocation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Killed,
    CancelledAndGoesOn,
    CancelledAndDies,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_killed_leaves_nothing_beyond_one_sweep() -> Result<()> {
    ended_at_every_point(End::Killed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_that_is_cancelled_leaves_nothing_beyond_one_sweep() -> Result<()> {
    ended_at_every_point(End::CancelledAndGoesOn).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_invocation_whose_attempt_dies_leaves_nothing_beyond_one_sweep() -> Result<()> {
    ended_at_every_point(End::CancelledAndDies).await
}

async fn ended_at_every_point(end: End) -> Result<()> {
    let bench = Bench::start().await?;
    let mut orders = Vec::new();
    let refusal = CrashPoint::of_a_refusal();
    let points = [CrashPoint::all(), refusal.clone()].concat();
    for (number, point) in points.into_iter().enumerate() {
        // Each with rows of its own, so that none meets what another has left.
        let mut order = bench.order(number);
        if refusal.contains(&point) {
            order.units = UNITS + 1;
        }
        let stopped = bench.pause.arm(point);
        let invocation = bench.send(&order).await?;
        stopped.reached().await?;
        let action = match end {
            End::Killed => Action::Kill,
            End::CancelledAndGoesOn | End::CancelledAndDies => Action::Cancel,
        };
        bench.restate.act(action, &invocation).await?;
        match end {
            End::Killed => stopped.dropped().await?,
            End::CancelledAndGoesOn => bench.pause.release(false),
            End::CancelledAndDies => bench.pause.release(true),
        }
        bench.ended(&invocation).await?;
        orders.push(order);
    }
    let doubts = in_doubt(&bench).await?;
    if end != End::CancelledAndGoesOn {
        ensure!(
            doubts > 0,
            "no attempt has died in doubt: this shows nothing"
        );
    }

    tokio::time::sleep(DEADLINE).await;
    let report = bench.stores.sweeper()?.sweep().await?;
    ensure!(report.alarms.is_empty(), "{report:?}");
    ensure!(report.failed.is_empty(), "{report:?}");
    ensure!(report.unfinished.is_empty(), "{report:?}");
    ensure!(in_doubt(&bench).await? == 0, "{report:?}");
    let evidence = audit::evidence::read(&bench.addresses).await?;

    // No client learned whether it was placed; but it is everywhere or nowhere.
    let placed: BTreeSet<&str> = evidence
        .orders
        .iter()
        .map(|row| row.name.as_str())
        .collect();
    ensure!(!placed.is_empty(), "no order was placed");
    if end != End::CancelledAndGoesOn {
        ensure!(placed.len() < orders.len(), "no order was rolled back");
    }
    let answers: Vec<_> = orders
        .iter()
        .map(|order| {
            (
                order.clone(),
                answer(order, placed.contains(order.name.as_str())),
            )
        })
        .collect();
    let anomalies = audit::anomalies(&answers, &evidence, &bench.seeds);
    ensure!(anomalies.is_empty(), "{anomalies:?}");

    // Every row can be had again, by the service itself.
    tokio::time::timeout(Duration::from_secs(60), place_all(&bench, orders.len())).await?
}

fn answer(order: &Order, placed: bool) -> Answer {
    if placed {
        return Answer::Placed(Placed {
            name: order.name.clone(),
            units: order.units,
        });
    }
    Answer::Refused {
        status: 409,
        message: "ended".to_owned(),
    }
}

async fn in_doubt(bench: &Bench) -> Result<usize> {
    let stores = &bench.stores;
    Ok(stores.orders.in_doubt(None, 100).await?.entries.len()
        + stores.stock.in_doubt(None, 100).await?.entries.len()
        + stores.quota.in_doubt(None, 100).await?.entries.len())
}

/// Orders the same items for the same customers once more.
async fn place_all(bench: &Bench, orders: usize) -> Result<()> {
    for number in 0..orders {
        let mut order = bench.order(number);
        order.name = format!("again-{number}");
        let (status, body) = bench.call(&order).await?;
        ensure!(status == 200, "{status} {body}");
    }
    Ok(())
}

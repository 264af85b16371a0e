//! The demo's own claims, in short: with this library the orders come through kills of workers and
//! server without an anomaly; the usual activities, under the same kills, double payments.

use anyhow::Result;
use exactly_once_temporal_demo::{
    audit::Kind,
    control::CrashPoint,
    driver::{self, DemoOptions, Report},
    model::Recipe,
};

async fn run(recipe: Recipe, payments: usize, kills: usize) -> Result<Report> {
    let program = Some(env!("CARGO_BIN_EXE_temporal-demo").into());
    let options = DemoOptions {
        payments,
        kills,
        seed: 42,
        recipe,
        program,
    };
    driver::run(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_under_kills_and_the_usual_activities_double() -> Result<()> {
    let report = run(Recipe::Ours, 120, 6).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.orders, 120, "{report}");
    assert_eq!(report.kills.values().sum::<usize>(), 6, "{report}");
    // A kill between commit and report must have led to a replay, or the run has shown nothing.
    let committed = [CrashPoint::CreditCommitted, CrashPoint::ShipmentCommitted];
    let killed = committed
        .iter()
        .any(|point| report.kills.contains_key(point.name()));
    assert!(killed, "{report}");

    let report = run(Recipe::Naive, 120, 6).await?;
    let doubled = |anomaly: &driver::Anomaly| anomaly.kind == Kind::DoubledEffect;
    assert!(report.anomalies.iter().any(doubled), "{report}");
    Ok(())
}

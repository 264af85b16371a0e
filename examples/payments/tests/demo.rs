//! Goal: the demo's own claims, in short. The service with this library comes through kills at
//! named points without an anomaly; the usual recipes, under the same kills, show what the demo
//! says that they show.

use anyhow::Result;
use exactly_once_payments::{
    audit::Kind,
    control::CrashPoint,
    driver::{self, DemoOptions, report::Report},
    process::Recipe,
};

async fn run(recipe: Recipe, payments: usize, kills: usize) -> Result<Report> {
    let options = DemoOptions {
        recipe,
        program: Some(env!("CARGO_BIN_EXE_payments-demo").into()),
        ..DemoOptions::new(payments, kills, 42)
    };
    driver::run(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_under_kills() -> Result<()> {
    let report = run(Recipe::Ours, 200, 6).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.requests, 200);
    assert_eq!(report.kills.values().sum::<usize>(), 6);
    // A kill after a commit must have led to a replay, or the run has shown nothing.
    assert!(
        report.kills.contains_key(CrashPoint::AfterCommit.name()),
        "{report}"
    );
    assert!(report.replays > 0, "{report}");
    assert!(report.attempts > report.effects as u64, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_recipes_lose_answers_get_stuck_and_double_effects() -> Result<()> {
    let report = run(Recipe::Naive, 300, 6).await?;
    let kinds = report.by_kind();
    for kind in [Kind::LostAnswer, Kind::Stuck, Kind::DoubledEffect] {
        assert!(kinds.contains_key(&kind), "no {}:\n{report}", kind.words());
    }
    Ok(())
}

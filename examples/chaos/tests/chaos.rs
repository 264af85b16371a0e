//! Goal: chaos in short: whatever is killed, cut and cancelled, every operation is applied exactly
//! once; and the audit sees it when the services are broken on purpose.

use anyhow::Result;
use exactly_once_chaos::{
    audit::Kind,
    driver::{self, ChaosOptions, report::Report},
    service::Recipe,
};

async fn run(operations: usize, recipe: Recipe) -> Result<Report> {
    let options = ChaosOptions {
        operations: Some(operations),
        kills: Some(8),
        seed: 42,
        recipe,
        program: Some(env!("CARGO_BIN_EXE_chaos").into()),
        ..ChaosOptions::default()
    };
    driver::run(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_is_applied_exactly_once() -> Result<()> {
    let report = run(240, Recipe::Ours).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.cases.len(), 240);
    assert!(report.killed() >= 8, "{report}");
    for victim in ["service", "Postgres", "Redis", "Restate"] {
        let killed = report.kills.contains_key(victim);
        assert!(killed, "no kill of {victim}:\n{report}");
    }
    // If no attempt met the trace of another, nothing was shown.
    assert!(report.prevented > 0, "{report}");
    assert!(report.troubles.cuts > 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_are_broken_on_purpose_are_caught() -> Result<()> {
    let report = run(200, Recipe::Naive).await?;
    let kinds = report.by_kind();
    // Applied twice; or applied, and the next attempt under another key got a conflict.
    let seen = [Kind::Doubled, Kind::LostAnswer].map(|kind| kinds.contains_key(&kind));
    assert!(seen.contains(&true), "{report}");
    Ok(())
}

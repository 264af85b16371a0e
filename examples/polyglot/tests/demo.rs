//! Goal: the demo's own claims, in short. Handlers in TypeScript and Python whose effects go through
//! `serve` come through kills without an anomaly (of all but Restate, which the demo itself kills, too);
//! the usual recipe, under kills right after the commit, has doubled rows, and the same audit finds them.

use anyhow::Result;
use exactly_once_polyglot::{
    audit::Kind,
    driver::{self, DemoOptions, Recipe},
    report::Report,
    world::Victim,
};

async fn run(recipe: Recipe, payments: usize, kills: usize) -> Result<Report> {
    driver::run(&DemoOptions {
        payments,
        kills,
        seed: 42,
        recipe,
        program: Some(env!("CARGO_BIN_EXE_polyglot-demo").into()),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_under_kills() -> Result<()> {
    // Each but Restate, which would be the sixth: on a busy machine it may take minutes to come back.
    let report = run(Recipe::Ours, 160, 5).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.orders, 160);
    assert_eq!(report.kills.values().sum::<usize>(), 5);
    assert_eq!(report.kills[&Victim::Serve], 2);
    // Some pieces were sold out: otherwise no refusal has crossed a language.
    assert!(report.refused > 0, "{report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usual_recipe_doubles_rows() -> Result<()> {
    let report = run(Recipe::Naive, 80, 3).await?;
    let kinds = report.by_kind();
    assert!(kinds.contains_key(&Kind::DoubledEffect), "{report}");
    Ok(())
}

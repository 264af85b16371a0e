//! Goal: the demo's own claim, in short: whatever is killed, each order is in all three databases
//! or in none, and one sweep leaves nothing in doubt.

use anyhow::Result;
use exactly_once_order::driver::{self, DemoOptions};

#[tokio::test(flavor = "multi_thread")]
async fn all_or_none_under_kills_of_service_postgres_and_redis() -> Result<()> {
    let options = DemoOptions {
        orders: 60,
        kills: 4,
        seed: 42,
        program: Some(env!("CARGO_BIN_EXE_order-demo").into()),
    };
    let report = driver::run(&options).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.orders - report.abandoned, 60);
    assert_eq!(report.kills.values().sum::<usize>(), 4);
    for victim in ["service", "Postgres", "Redis"] {
        let killed = report.kills.keys().any(|what| what.starts_with(victim));
        assert!(killed, "no kill of {victim}:\n{report}");
    }
    // Of the abandoned ones, at least the one that was decided is placed, by the sweep.
    let [placed, ..] = report.rows;
    assert_eq!(report.rows, [placed; 3], "{report}");
    assert!(
        placed > report.orders - report.abandoned - report.refused,
        "{report}"
    );
    assert!(!report.before_sweep.is_empty(), "{report}");
    let [committed, _] = report.swept;
    assert!(committed > 0, "{report}");
    Ok(())
}

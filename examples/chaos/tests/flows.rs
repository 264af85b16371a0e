//! Goal: two flows with two registers over one shared store keep all or none, whatever their sweepers
//! are configured with; and the audit sees it when a sweeper acts for any register.

use anyhow::Result;
use exactly_once_chaos::flows::{self, FlowsOptions, audit::Kind, report::Report};

async fn run(operations: usize, any_register: bool) -> Result<Report> {
    let options = FlowsOptions {
        operations,
        seed: 7,
        any_register,
    };
    flows::run(&options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sweeper_harms_a_transaction_of_another_flow() -> Result<()> {
    let report = run(400, false).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    assert_eq!(report.cases.len(), 400);
    // If no sweeper met what is not its own, or only a part, nothing was shown.
    assert!(report.outages.iter().all(|times| *times > 0), "{report}");
    assert!(report.swept.foreign > 0, "{report}");
    assert!(report.swept.unfinished > 0, "{report}");
    assert!(
        report.swept.committed + report.swept.rolled_back > 0,
        "{report}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweeper_that_acts_for_any_register_is_caught() -> Result<()> {
    let report = run(400, true).await?;
    let torn = report
        .anomalies
        .iter()
        .any(|anomaly| anomaly.kind == Kind::Torn);
    assert!(torn, "{report}");
    Ok(())
}

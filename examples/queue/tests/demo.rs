//! Goal: each message takes effect once, though consumers are killed (a real SIGKILL) between effect
//! and acknowledgement, and producers send twice.

use anyhow::Result;
use exactly_once_queue::driver::{DemoOptions, run};

#[tokio::test(flavor = "multi_thread")]
async fn each_message_takes_effect_once() -> Result<()> {
    let options = DemoOptions {
        messages: 200,
        kills: 6,
        seed: 42,
        program: Some(env!("CARGO_BIN_EXE_queue-demo").into()),
    };
    let report = run(&options).await?;
    assert!(report.anomalies.is_empty(), "{report}");
    // Without deaths, copies and redeliveries the run would have shown nothing.
    assert!(report.deaths >= 6 && report.entries > 200, "{report}");
    assert!(
        report.taken > report.entries,
        "nothing was delivered again: {report}"
    );
    assert!(
        report.dead >= 10,
        "refused messages are dead letters: {report}"
    );
    Ok(())
}

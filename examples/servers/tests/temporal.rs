//! Goal: a Temporal server starts, keeps a workflow's history over a SIGKILL, and stops.

use anyhow::Result;
use exactly_once_servers::Temporal;

#[tokio::test]
async fn temporal_keeps_histories_over_a_kill() -> Result<()> {
    let server = Temporal::start().await?;
    let id = ["--workflow-id", "order-17"];
    let start = ["workflow", "start", "--type", "Pay", "--task-queue", "pay"];
    server.cli(&[&start[..], &id[..]].concat()).await?;
    server.kill();
    let describe = [&["workflow", "describe"][..], &id[..]].concat();
    assert!(
        server.cli(&describe).await.is_err(),
        "a killed server answered"
    );
    server.restart().await?;
    let described = server.json(&describe).await?;
    let info = &described["workflowExecutionInfo"];
    assert_eq!(info["execution"]["workflowId"], "order-17");
    assert_eq!(info["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING");
    server.stop().await
}

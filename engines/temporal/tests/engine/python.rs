//! A workflow in another language.

use std::{process::Stdio, sync::Arc};

use anyhow::{Context, Result, ensure};
use exactly_once_servers::{Temporal, tools};
use serde_json::{Value, json};

use crate::{cases, ground::Ground, scenario::Recipe, worker::Till};

cases![a_workflow_in_python];

const ORDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engine/order.py");

/// The key needs nothing of it, and a refusal is matched by its type and its details.
async fn a_workflow_in_python(server: Arc<Temporal>, queue: &'static str) -> Result<()> {
    let ground = Ground::new(&server, queue).await?;
    // What it is called by there.
    assert_eq!(Till::charge.name(), "charge");
    let paid = order(&ground, 1, json!({"cents": 100, "fails": 2})).await?;
    let payments = ground.database.payments(Recipe::Ours)?;
    ensure!(payments.len() == 1, "{payments:?}");
    assert_eq!(
        paid,
        json!({"receipt": format!("receipt {}", payments[0].0)})
    );
    assert_eq!(ground.database.seen(Recipe::Ours)?.len(), 3);

    let refused = order(&ground, 2, json!({"cents": 200, "rejects": true})).await?;
    let expected = json!({"refused": "card declined", "status": 402, "final": true});
    assert_eq!(refused, expected);
    assert_eq!(ground.database.seen(Recipe::Ours)?.len(), 4);
    assert_eq!(ground.rows(Recipe::Ours)?, 1);
    Ok(())
}

async fn order(ground: &Ground, number: u32, order: Value) -> Result<Value> {
    let queue = &ground.post.queue;
    let output = tokio::process::Command::new(tools::temporal_python()?)
        .arg(ORDER)
        .arg(ground.server.address())
        .arg(format!("{queue}-python-{number}"))
        .arg(queue)
        .arg(order.to_string())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| said.into_owned())
}

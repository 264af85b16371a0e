//! Goal: a Restate server starts, keeps what it knows over a SIGKILL, obeys its admin interface,
//! and leaves nothing.

// The SDK's macro makes public clients without docs.
#![allow(missing_docs)]

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use exactly_once_servers::Restate;
use exactly_once_servers::restate::Action;
use restate_sdk::prelude::*;
use serde_json::Value;
use tokio::net::TcpListener;

/// State in Restate, and a handler that takes as long as one wants.
struct Counter;

#[restate_sdk::object]
impl Counter {
    #[handler]
    async fn add(&self, ctx: ObjectContext<'_>, delta: u64) -> Result<u64, TerminalError> {
        let sum = ctx.get::<u64>("sum").await?.unwrap_or(0) + delta;
        ctx.set("sum", sum);
        Ok(sum)
    }

    #[handler]
    async fn wait(&self, ctx: ObjectContext<'_>) -> Result<(), TerminalError> {
        ctx.sleep(Duration::from_secs(3_600)).await
    }
}

/// Serves [`Counter`] in this process until the runtime ends, and makes it known.
async fn serve(restate: &Restate) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri = format!("http://{}", listener.local_addr()?);
    let endpoint = Endpoint::builder().bind(Counter).build();
    let server = HttpServer::new(endpoint);
    tokio::spawn(server.serve_with_cancel(listener, std::future::pending::<()>()));
    ensure!(
        restate.register(&uri).await?.starts_with("dp_"),
        "no deployment id"
    );
    Ok(())
}

async fn add(restate: &Restate, delta: u64) -> Result<u64> {
    let url = format!("{}/restate/call/Counter/one/add", restate.ingress_url());
    let answer = reqwest::Client::new()
        .post(url)
        .json(&delta)
        .send()
        .await?
        .error_for_status()?;
    Ok(answer.json().await?)
}

/// Starts a handler that takes an hour, and gives the invocation's id once it runs.
async fn start_waiting(restate: &Restate) -> Result<String> {
    let url = format!("{}/restate/send/Counter/other/wait", restate.ingress_url());
    let answer = reqwest::Client::new()
        .post(url)
        .send()
        .await?
        .error_for_status()?;
    let answer: Value = answer.json().await?;
    let id = answer["invocationId"]
        .as_str()
        .context("no invocation id")?
        .to_owned();
    becomes(restate, &id, &["running", "suspended"]).await?;
    Ok(id)
}

/// Waits until an invocation has one of these states; `gone` is that there is no such row.
async fn becomes(restate: &Restate, id: &str, wanted: &[&str]) -> Result<()> {
    let sql = format!("SELECT status FROM sys_invocation WHERE id = '{id}'");
    let mut found = String::new();
    for _ in 0..1_000 {
        let rows = restate.query(&sql).await?;
        let status = rows.first().and_then(|row| row["status"].as_str());
        found = status.unwrap_or("gone").to_owned();
        if wanted.contains(&found.as_str()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("{id} is {found}, not {wanted:?}")
}

#[tokio::test]
async fn state_and_services_survive_a_kill_and_nothing_is_left() -> Result<()> {
    let restate = Restate::start().await?;
    serve(&restate).await?;
    assert_eq!(add(&restate, 7).await?, 7);

    let before = restate.server().id();
    restate.kill();
    assert!(add(&restate, 1).await.is_err(), "a killed server answered");
    restate.restart().await?;
    assert_ne!(restate.server().id(), before);
    assert_eq!(add(&restate, 1).await?, 8);
    restate.stop().await?;
    restate.restart().await?;
    assert_eq!(add(&restate, 1).await?, 9);

    let process = restate.server().id().context("it runs")?;
    let folder = restate.server().folder().to_owned();
    drop(restate);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn invocations_can_be_cancelled_killed_paused_resumed_and_purged() -> Result<()> {
    let restate = Restate::start().await?;
    serve(&restate).await?;
    for action in [Action::Cancel, Action::Kill] {
        let id = start_waiting(&restate).await?;
        restate.act(action, &id).await?;
        becomes(&restate, &id, &["completed"]).await?;
        restate.act(Action::Purge, &id).await?;
        becomes(&restate, &id, &["gone"]).await?;
    }
    let id = start_waiting(&restate).await?;
    restate.act(Action::Pause, &id).await?;
    becomes(&restate, &id, &["paused"]).await?;
    restate.act(Action::Resume, &id).await?;
    becomes(&restate, &id, &["running", "suspended"]).await?;
    restate.act(Action::Kill, &id).await?;
    becomes(&restate, &id, &["completed"]).await?;
    let new = restate.restart_as_new(&id, 0).await?;
    assert_ne!(new, id);
    becomes(&restate, &new, &["running", "suspended"]).await
}

#[tokio::test]
async fn refusals_carry_the_servers_words() -> Result<()> {
    let restate = Restate::start().await?;
    let refusal = async |refused: Result<()>, words: &str| {
        let text = format!("{:#}", refused.expect_err("this must be refused"));
        assert!(text.contains(words), "{text}");
    };
    let query = restate
        .query("SELECT nonsense FROM nowhere")
        .await
        .map(drop);
    refusal(query, "nowhere").await;
    // Nothing listens there.
    refusal(
        restate.register("http://127.0.0.1:9").await.map(drop),
        "META0003",
    )
    .await;
    let unknown = "inv_1aUuoNzlA7fE5EbE7ctiVJuHVx1fpDvzjn";
    for action in [
        Action::Cancel,
        Action::Kill,
        Action::Pause,
        Action::Resume,
        Action::Purge,
    ] {
        refusal(restate.act(action, unknown).await, "does not exist").await;
    }
    refusal(
        restate.restart_as_new(unknown, 0).await.map(drop),
        "does not exist",
    )
    .await;
    Ok(())
}

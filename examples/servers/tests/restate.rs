//! Goal: a Restate server starts, keeps what it knows over a SIGKILL, and leaves nothing.

use anyhow::{Context, Result};
use exactly_once_servers::Restate;
use exactly_once_servers::restate::Action;

#[tokio::test]
async fn restate_survives_a_kill_and_leaves_nothing() -> Result<()> {
    let server = Restate::start().await?;
    assert_eq!(
        server.query("SELECT id FROM sys_invocation").await?.len(),
        0
    );
    let health = format!("{}/restate/health", server.ingress_url());
    assert!(reqwest::get(&health).await?.status().is_success());

    let before = server.server().id();
    server.kill();
    assert!(
        reqwest::get(&health).await.is_err(),
        "a killed server answered"
    );
    server.restart().await?;
    assert_ne!(server.server().id(), before);
    assert!(reqwest::get(&health).await?.status().is_success());
    server.stop().await?;
    server.restart().await?;

    let (process, folder) = (
        server.server().id().context("it runs")?,
        server.server().folder().to_owned(),
    );
    drop(server);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    assert!(!folder.exists());
    Ok(())
}

#[tokio::test]
async fn refusals_carry_the_servers_words() -> Result<()> {
    let server = Restate::start().await?;
    let error = server
        .query("SELECT nonsense FROM nowhere")
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("nowhere"), "{error:#}");
    assert!(server.register("http://127.0.0.1:9").await.is_err());
    let unknown = "inv_1aUuoNzlA7fE5EbE7ctiVJuHVx1fpDvzjn";
    for action in [
        Action::Cancel,
        Action::Kill,
        Action::Pause,
        Action::Resume,
        Action::Purge,
    ] {
        assert!(
            server.act(action, unknown).await.is_err(),
            "{action} of nothing was accepted"
        );
    }
    Ok(())
}

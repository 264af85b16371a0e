//! Goal: a Redis starts, keeps its data over a SIGKILL, and leaves nothing; a cluster fails over.

use anyhow::{Context, Result};
use exactly_once_servers::{Redis, RedisCluster};

#[tokio::test]
async fn redis_keeps_acknowledged_writes_over_a_kill() -> Result<()> {
    let server = Redis::start().await?;
    assert_eq!(server.cli(["SET", "key", "9007199254740993"]).await?, "OK");
    assert_eq!(
        server.cli(["CONFIG", "GET", "appendfsync"]).await?,
        "appendfsync\nalways"
    );
    assert_eq!(
        server.cli(["CONFIG", "GET", "maxmemory-policy"]).await?,
        "maxmemory-policy\nnoeviction"
    );
    server.kill();
    assert!(
        server.cli(["GET", "key"]).await.is_err(),
        "a killed server answered"
    );
    server.restart().await?;
    assert_eq!(server.cli(["GET", "key"]).await?, "9007199254740993");
    server.stop().await?;
    server.restart().await?;
    assert_eq!(server.cli(["GET", "key"]).await?, "9007199254740993");
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
async fn an_error_of_the_server_is_an_error_here() -> Result<()> {
    let server = Redis::options()
        .eviction("allkeys-lru", "2mb")
        .start()
        .await?;
    assert_eq!(
        server.cli(["CONFIG", "GET", "maxmemory-policy"]).await?,
        "maxmemory-policy\nallkeys-lru"
    );
    server.cli(["SET", "key", "text"]).await?;
    assert!(server.cli(["INCR", "key"]).await.is_err());
    Ok(())
}

#[tokio::test]
async fn a_replica_follows_and_can_be_cut_off_and_promoted() -> Result<()> {
    let master = Redis::options()
        .setting("repl-diskless-sync-delay", "0")
        .start()
        .await?;
    let replica = Redis::options().replica_of(&master).start().await?;
    master.cli(["SET", "key", "followed"]).await?;
    master.wait_for_replicas(1).await?;
    assert_eq!(replica.cli(["GET", "key"]).await?, "followed");
    replica.server().freeze()?;
    master.cli(["SET", "key", "lost"]).await?;
    master.kill();
    replica.kill();
    replica.restart().await?;
    replica.cli(["REPLICAOF", "NO", "ONE"]).await?;
    assert_eq!(replica.cli(["GET", "key"]).await?, "followed");
    Ok(())
}

#[tokio::test]
async fn a_cluster_of_six_survives_the_death_of_a_master() -> Result<()> {
    let cluster = RedisCluster::start().await?;
    assert_eq!(cluster.urls().len(), 6);
    assert_eq!(cluster.masters().await.len(), 3);
    let owner = cluster.master_of("{account}:1").await?;
    owner.cli(["SET", "{account}:1", "7"]).await?;
    // Wait for the replica: what an asynchronous failover may lose is not this test's subject.
    owner.wait_for_replicas(1).await?;
    owner.kill();
    // The others need a moment to notice; `settle` alone would find the old state.
    let heir = loop {
        match cluster.master_of("{account}:1").await {
            Ok(node) if node.port() != owner.port() => break node,
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    };
    assert_eq!(heir.cli(["GET", "{account}:1"]).await?, "7");
    owner.restart().await?;
    cluster.settle().await?;
    assert_eq!(cluster.masters().await.len(), 3);
    Ok(())
}

//! Goal: a Postgres of each version starts, keeps its data over a SIGKILL, and leaves nothing.

use anyhow::{Context, Result};
use exactly_once_servers::{Pgbouncer, Postgres, Replication, Standby};

/// Starts, prepares a transaction, dies, comes back with it, commits it, and is gone after drop.
async fn keeps_prepared_transactions_over_a_kill(major: u32) -> Result<()> {
    let server = Postgres::start(major).await?;
    server.create_database("ledger").await?;
    let sql = async |sql: &str| server.sql("ledger", sql).await;
    let version = sql("SHOW server_version_num").await?;
    assert!(version.starts_with(&major.to_string()), "{version}");
    assert_eq!(sql("SHOW max_prepared_transactions").await?, "64");
    assert_eq!(sql("SHOW fsync").await?, "on");
    sql("CREATE TABLE entry (amount bigint)").await?;
    sql("BEGIN; INSERT INTO entry VALUES (7); PREPARE TRANSACTION 'one'").await?;
    let process = server.server().id().context("it runs")?;

    server.kill();
    assert!(!running(process));
    assert!(
        server.sql("ledger", "SELECT 1").await.is_err(),
        "a killed server answered"
    );
    server.restart().await?;
    assert_eq!(sql("SELECT count(*) FROM entry").await?, "0");
    sql("COMMIT PREPARED 'one'").await?;

    server.stop_immediate().await?;
    server.restart().await?;
    assert_eq!(sql("SELECT amount FROM entry").await?, "7");

    let (process, folder) = (
        server.server().id().context("it runs")?,
        server.server().folder().to_owned(),
    );
    assert!(running(process) && folder.exists());
    drop(server);
    assert!(!running(process), "the server outlived its value");
    assert!(!folder.exists(), "the folder outlived its value");
    Ok(())
}

fn running(process: u32) -> bool {
    std::path::Path::new(&format!("/proc/{process}")).exists()
}

#[tokio::test]
async fn postgres_15_keeps_prepared_transactions_over_a_kill() -> Result<()> {
    keeps_prepared_transactions_over_a_kill(15).await
}

#[tokio::test]
async fn postgres_17_keeps_prepared_transactions_over_a_kill() -> Result<()> {
    keeps_prepared_transactions_over_a_kill(17).await
}

#[tokio::test]
async fn postgres_18_keeps_prepared_transactions_over_a_kill() -> Result<()> {
    keeps_prepared_transactions_over_a_kill(18).await
}

#[tokio::test]
async fn settings_are_ours_to_choose_before_and_while_it_runs() -> Result<()> {
    let server = Postgres::options(15)
        .fsync(false)
        .setting("max_prepared_transactions", "0")
        .setting("application_name", "it's")
        .start()
        .await?;
    assert_eq!(server.sql("postgres", "SHOW fsync").await?, "off");
    let prepare = "BEGIN; PREPARE TRANSACTION 'x'";
    assert!(server.sql("postgres", prepare).await.is_err());
    server.set("max_prepared_transactions", "8").await?;
    assert!(
        server.sql("postgres", prepare).await.is_err(),
        "a reload is not enough"
    );
    server.stop().await?;
    server.restart().await?;
    server.sql("postgres", prepare).await?;
    server.set("synchronous_commit", "off").await?;
    assert_eq!(
        server.sql("postgres", "SHOW synchronous_commit").await?,
        "off"
    );
    Ok(())
}

#[tokio::test]
async fn a_frozen_server_goes_on_where_it_stood() -> Result<()> {
    let server = Postgres::start(15).await?;
    let slow = server.sql("postgres", "SELECT pg_sleep(0.3), 'done'");
    let freeze = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        server.server().freeze()?;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        server.server().thaw()
    };
    let (answer, thawed) = tokio::join!(slow, freeze);
    thawed?;
    assert_eq!(answer?, "|done");
    Ok(())
}

/// A synchronous failover keeps a prepared transaction; an asynchronous one may lose it.
async fn fails_over(major: u32, replication: Replication) -> Result<String> {
    let primary = Postgres::start(major).await?;
    let standby = Standby::of(&primary, replication).await?;
    primary
        .sql("postgres", "CREATE TABLE entry (amount bigint)")
        .await?;
    if replication == Replication::Asynchronous {
        standby.disconnect(&primary).await?;
    }
    let prepare = "BEGIN; INSERT INTO entry VALUES (7); PREPARE TRANSACTION 'one'";
    primary.sql("postgres", prepare).await?;
    primary.kill();
    standby.promote().await?;
    standby
        .postgres()
        .sql("postgres", "SELECT gid FROM pg_prepared_xacts")
        .await
}

#[tokio::test]
async fn a_synchronous_standby_has_all_that_was_acknowledged() -> Result<()> {
    assert_eq!(fails_over(15, Replication::Synchronous).await?, "one");
    assert_eq!(fails_over(18, Replication::Synchronous).await?, "one");
    Ok(())
}

#[tokio::test]
async fn an_asynchronous_standby_can_lose_what_was_acknowledged() -> Result<()> {
    assert_eq!(fails_over(15, Replication::Asynchronous).await?, "");
    Ok(())
}

#[tokio::test]
async fn pgbouncer_answers_in_transaction_mode_and_survives_kills_on_both_sides() -> Result<()> {
    let server = Postgres::start(15).await?;
    let bouncer = Pgbouncer::start(&server).await?;
    let url = bouncer.database_url("postgres");
    let ask = async |sql: &str| psql(&url, sql).await;
    ask("CREATE TABLE entry (amount bigint)").await?;
    bouncer.kill();
    assert!(ask("SELECT 1").await.is_err());
    bouncer.restart().await?;
    ask("INSERT INTO entry VALUES (7)").await?;
    server.kill();
    server.restart().await?;
    // It may hand out a connection of the dead server once.
    let _ = ask("SELECT 1").await;
    assert_eq!(ask("SELECT amount FROM entry").await?, "7");
    let settings = psql(&bouncer.database_url("pgbouncer"), "SHOW CONFIG").await?;
    assert!(
        settings
            .lines()
            .any(|line| line.starts_with("pool_mode|transaction")),
        "{settings}"
    );
    let process = bouncer.server().id().context("it runs")?;
    drop(bouncer);
    assert!(!running(process));
    Ok(())
}

async fn psql(url: &str, sql: &str) -> Result<String> {
    let psql = exactly_once_servers::tools::psql()?;
    let output = tokio::process::Command::new(psql)
        .args(["-X", "-q", "-t", "-A", "-d", url, "-c", sql])
        .output()
        .await?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

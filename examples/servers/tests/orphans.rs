//! Goal: no server outlives the process that started it, however that ends.
//!
//! Method: a test runs itself again as a child that starts servers, prints their process ids and
//! then ends in the way under test: by SIGKILL, or by an exit that runs no destructors.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use exactly_once_servers::{Postgres, Redis};

const CHILD: &str = "EXACTLY_ONCE_ORPHANS_CHILD";

#[test]
fn a_killed_process_takes_its_servers_along() -> Result<()> {
    if std::env::var_os(CHILD).is_some() {
        let _servers = start_servers()?;
        loop {
            std::thread::park();
        }
    }
    servers_go_with("a_killed_process_takes_its_servers_along", true)
}

#[test]
fn an_exit_without_destructors_takes_the_servers_along() -> Result<()> {
    if std::env::var_os(CHILD).is_some() {
        let _servers = start_servers()?;
        std::process::exit(0);
    }
    servers_go_with("an_exit_without_destructors_takes_the_servers_along", false)
}

/// In the child: from a thread that ends at once, since only the end of the process may take the
/// servers along.
fn start_servers() -> Result<(Postgres, Redis)> {
    let start = || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async { anyhow::Ok((Postgres::start(15).await?, Redis::start().await?)) })
    };
    let servers = std::thread::spawn(start)
        .join()
        .map_err(|_| anyhow!("the thread panicked"))??;
    std::thread::sleep(Duration::from_millis(200));
    let ids = [servers.0.server().id(), servers.1.server().id()].map(Option::unwrap_or_default);
    assert!(
        ids.into_iter().all(running),
        "a server ended with the thread that started it"
    );
    eprintln!("\nservers {} {}", ids[0], ids[1]);
    Ok(servers)
}

/// In the parent: runs the child, and waits until its servers are gone.
fn servers_go_with(test: &str, kill: bool) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    // Postgres runs as another user when we are root, and has to get through.
    std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o711))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .env("TMPDIR", temporary.path())
        .stderr(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(child.stderr.take().context("no output")?);
    let line = output
        .lines()
        .map_while(Result::ok)
        .find(|line| line.starts_with("servers "));
    let line = line.context("the child started no servers")?;
    let ids = line
        .split_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<Result<Vec<u32>, _>>()?;
    assert_eq!(ids.len(), 2);
    if kill {
        assert!(ids.iter().copied().all(running));
        child.kill()?;
    }
    child.wait()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while ids.iter().copied().any(running) {
        assert!(
            Instant::now() < deadline,
            "servers outlived their process: {ids:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Running, and not a zombie that was not waited for.
fn running(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .starts_with(" Z")
    })
}

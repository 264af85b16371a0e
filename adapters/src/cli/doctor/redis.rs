//! Redis and Valkey.

use redis::{Client, cmd};

use super::{Finding, unreachable};
use crate::Result;

const STORE: &str = "redis";

pub(super) async fn examine(url: &str) -> Result<Vec<Finding>> {
    let client = Client::open(url).map_err(|_| unreachable(STORE))?;
    let connection = client.get_multiplexed_async_connection().await;
    let mut connection = connection.map_err(|_| unreachable(STORE))?;
    let info: String = cmd("INFO")
        .arg("everything")
        .query_async(&mut connection)
        .await
        .map_err(|error| unreachable(STORE).with_source(error))?;
    // A managed server may forbid CONFIG; then it says nothing, and that is a finding too.
    let fsync: Vec<String> = cmd("CONFIG")
        .arg("GET")
        .arg("appendfsync")
        .query_async(&mut connection)
        .await
        .unwrap_or_default();
    Ok(judge(
        &info,
        fsync.get(1).map_or("not told", String::as_str),
    ))
}

fn judge(info: &str, fsync: &str) -> Vec<Finding> {
    let setting = |name: &str| {
        let mut lines = info.lines();
        lines
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("not told")
    };
    let (policy, appendonly) = (setting("maxmemory_policy"), setting("aof_enabled"));
    let written = setting("aof_last_write_status");
    let rewrites = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
        .into_iter()
        .any(|name| setting(name) == "1");
    let (role, loading) = (setting("role"), setting("loading"));
    vec![
        Finding::new("redis_version", setting("redis_version"), true, ""),
        Finding::new(
            "maxmemory-policy",
            policy,
            policy == "noeviction",
            "receipts may be evicted, and their effects happen again: CONFIG SET \
             maxmemory-policy noeviction, then CONFIG REWRITE (or the same in what configures it)",
        ),
        Finding::new(
            "appendonly",
            if appendonly == "1" { "yes" } else { "no" },
            appendonly == "1",
            "a killed server forgets receipts: CONFIG SET appendonly yes, then CONFIG REWRITE",
        ),
        Finding::new(
            "appendfsync",
            fsync,
            fsync == "always",
            "a power cut takes the last second of receipts along: CONFIG SET appendfsync always, \
             then CONFIG REWRITE",
        ),
        Finding::new(
            "aof_last_write_status",
            written,
            appendonly != "1" || written == "ok",
            "the append-only file can't be written: make room on its disk; see the server's log",
        ),
        Finding::new(
            "aof_rewrite",
            if rewrites { "running" } else { "none" },
            !rewrites,
            "if it is the first since appendonly was switched on, nothing is on disk before it has \
             ended: wait",
        ),
        Finding::new(
            "role",
            role,
            role == "master",
            "a replica can't write: connect to its master",
        ),
        Finding::new(
            "loading",
            loading,
            loading == "0",
            "wait until the server has loaded",
        ),
    ]
}

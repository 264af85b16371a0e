//! What is checked at connect: settings under which acknowledged effects would be lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use exactly_once_core::{Durability, Error, ErrorKind, Result};
use redis::Value;

use super::{connection::Link, error::error};

const OPERATION: &str = "connect";

/// What an acknowledged write must survive; checked on every node at connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// A power cut: `appendonly yes`, `appendfsync always`, also during a rewrite. The default:
    /// a receipt that is forgotten is an effect that happens twice.
    #[default]
    PowerSafe,
    /// A killed server process: `appendonly yes`. A power cut may take the last second along.
    ProcessSafe,
    /// Nothing is checked, and nothing promised: for caches of effects, and tests.
    Nothing,
}

impl Require {
    pub(super) const fn durability(self) -> Durability {
        match self {
            Self::PowerSafe => Durability::Power,
            Self::ProcessSafe => Durability::Process,
            Self::Nothing => Durability::None,
        }
    }
}

fn refuse<T>(message: String) -> Result<T, Error> {
    Err(error(ErrorKind::Configuration, OPERATION).with_message(message))
}

/// Asks every node for its settings. Gives what tells this server or cluster from others.
pub(super) async fn check(link: &Link, require: Require) -> Result<String> {
    let mut identity = BTreeSet::new();
    let value = link
        .ask_all(OPERATION, redis::cmd("INFO").arg("everything"))
        .await?;
    for (node, info) in per_node(value) {
        let info = text_of(info);
        check_info(link, &node, &info, require)?;
        identity.extend(setting(&info, "run_id").map(str::to_owned));
    }
    if require == Require::PowerSafe {
        require_setting(link, "appendfsync", "always").await?;
        require_setting(link, "no-appendfsync-on-rewrite", "no").await?;
    }
    if identity.is_empty() {
        // A server that does not say who it is: then only clones of one handle are known as one.
        static UNKNOWN: AtomicU64 = AtomicU64::new(0);
        return Ok(UNKNOWN.fetch_add(1, Ordering::Relaxed).to_string());
    }
    Ok(Vec::from_iter(identity).join(" "))
}

/// One line of `INFO`.
fn setting<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
}

fn check_info(link: &Link, node: &str, info: &str, require: Require) -> Result<()> {
    let setting = |name| setting(info, name);
    match setting("maxmemory_policy") {
        Some("noeviction") => {}
        Some(policy) => {
            return refuse(format!(
                "maxmemory-policy is {policy}{node}: the server may evict receipts, and their \
                 effects would happen again. Run `CONFIG SET maxmemory-policy noeviction` and set \
                 it in redis.conf"
            ));
        }
        None => return refuse(format!("INFO does not tell maxmemory_policy{node}")),
    }
    match (setting("cluster_enabled"), link.is_cluster()) {
        (Some("1"), false) => {
            return refuse(
                "the server is part of a cluster: use `RedisStore::builder(url).cluster(urls)`"
                    .to_owned(),
            );
        }
        (Some("0"), true) => {
            return refuse(format!(
                "the server is no part of a cluster{node}: leave `.cluster(…)` out"
            ));
        }
        _ => {}
    }
    if require != Require::Nothing && setting("aof_enabled") != Some("1") {
        return refuse(format!(
            "appendonly is no{node}: a restart would lose acknowledged effects. Run `CONFIG SET \
             appendonly yes` and set it in redis.conf, or choose `Require::Nothing`"
        ));
    }
    if require == Require::Nothing && setting("aof_enabled") != Some("1") {
        tracing::warn!("redis: appendonly is no{node}: a restart loses acknowledged effects");
    }
    Ok(())
}

async fn require_setting(link: &Link, name: &str, wanted: &str) -> Result<()> {
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg(name);
    let value = link.ask_all(OPERATION, &command).await.map_err(|source| {
        if source.kind() != ErrorKind::Configuration {
            return source;
        }
        error(ErrorKind::Configuration, OPERATION)
            .with_message(format!(
                "`CONFIG GET {name}` is not allowed, so durability can't be checked: allow it by \
                 `ACL SETUSER … +config|get`, or choose `Require::ProcessSafe`"
            ))
            .with_source(source)
    })?;
    for (node, setting) in per_node(value) {
        let found = pairs(setting).into_iter().find(|(key, _)| key == name);
        match found {
            Some((_, found)) if found == wanted => {}
            found => {
                let found = found.map_or_else(|| "unknown".to_owned(), |(_, found)| found);
                return refuse(format!(
                    "{name} is {found}{node}: a power cut would lose acknowledged effects. Run \
                     `CONFIG SET {name} {wanted}` and set it in redis.conf, or choose \
                     `Require::ProcessSafe`"
                ));
            }
        }
    }
    Ok(())
}

/// A cluster answers by node, one server plainly. The node comes as ` at host:port`.
fn per_node(value: Value) -> Vec<(String, Value)> {
    match value {
        Value::Map(nodes)
            if nodes
                .iter()
                .all(|(_, answer)| !is_text(answer) || is_info(answer)) =>
        {
            nodes
                .into_iter()
                .map(|(node, answer)| (format!(" at {}", text_of(node)), answer))
                .collect()
        }
        other => vec![(String::new(), other)],
    }
}

fn is_text(value: &Value) -> bool {
    matches!(
        value,
        Value::BulkString(_) | Value::SimpleString(_) | Value::VerbatimString { .. }
    )
}

fn is_info(value: &Value) -> bool {
    matches!(value, Value::BulkString(text) if text.starts_with(b"# "))
        || matches!(value, Value::VerbatimString { text, .. } if text.starts_with("# "))
}

fn text_of(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text,
        _ => String::new(),
    }
}

fn pairs(value: Value) -> Vec<(String, String)> {
    match value {
        Value::Array(items) => {
            let texts: Vec<String> = items.into_iter().map(text_of).collect();
            texts
                .chunks_exact(2)
                .filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone())))
                .collect()
        }
        Value::Map(items) => items
            .into_iter()
            .map(|(key, value)| (text_of(key), text_of(value)))
            .collect(),
        _ => Vec::new(),
    }
}

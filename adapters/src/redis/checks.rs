//! What is checked on each new connection: settings under which acknowledged effects would be lost,
//! the role, and what the server takes.

use std::collections::BTreeSet;

use exactly_once_core::{Durability, Error, ErrorKind, Result};
use futures_util::future::{try_join, try_join3};
use redis::{Cmd, Value, cluster_routing::MultipleNodeRoutingInfo};

use super::{connection::Connection, error::error, permissions, replicas::Replicas};

/// What an acknowledged write must survive; checked on every node at connect, and on each new
/// connection.
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

/// What a store asks of its server.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) require: Require,
    pub(super) replicas: Option<Replicas>,
    pub(super) prefix: String,
    pub(super) user: String,
    pub(super) cluster: bool,
    pub(super) sentinel: bool,
}

impl Rules {
    #[cfg(test)]
    pub(super) fn plain(prefix: &str, user: &str) -> Self {
        Self {
            require: Require::PowerSafe,
            replicas: None,
            prefix: prefix.to_owned(),
            user: user.to_owned(),
            cluster: false,
            sentinel: false,
        }
    }

    /// The commands that only some stores send.
    pub(super) fn more_commands(&self) -> Vec<&'static str> {
        let mut more = Vec::new();
        if self.require == Require::PowerSafe || self.sentinel {
            more.push("config|get");
        }
        if let Some(replicas) = self.replicas {
            more.push(if replicas.on_disk { "waitaof" } else { "wait" });
            more.push(if self.cluster { "incr" } else { "publish" });
        }
        if self.cluster {
            more.extend(["asking", "cluster|slots"]);
        }
        more
    }
}

/// What was found.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The run of each server, in order: a server that was started again is another.
    pub(super) servers: BTreeSet<String>,
    pub(super) limits: Limits,
}

/// Limits beyond which the server closes the connection that all callers share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// One argument: `proto-max-bulk-len`.
    pub(super) argument: u64,
    /// A whole command: `client-query-buffer-limit`.
    pub(super) command: u64,
}

impl Default for Limits {
    /// The server's own defaults.
    fn default() -> Self {
        Self {
            argument: 512 << 20,
            command: 1 << 30,
        }
    }
}

/// Checks one server, or all of a cluster's. `known` are the servers whose append-only file was found
/// whole before.
pub(super) async fn check(
    operation: &'static str,
    connection: &Connection,
    rules: &Rules,
    known: &BTreeSet<String>,
) -> Result<Standing> {
    let ask = Ask {
        operation,
        connection,
        rules,
    };
    let info = ask.everywhere("INFO", &redis::cmd("INFO")).await?;
    let mut servers = BTreeSet::new();
    for (node, info) in per_node(info) {
        let info = Info {
            operation,
            text: text_of(info),
            node,
        };
        info.check(rules, known)?;
        servers.extend(info.setting("run_id").map(str::to_owned));
    }
    // Together: each is a trip or two, and a call may be waiting.
    let ((), (), limits) = try_join3(
        permissions::check(operation, connection, rules),
        ask.require_settings(),
        ask.limits(),
    )
    .await?;
    Ok(Standing { servers, limits })
}

fn configuration<T>(operation: &'static str, message: String) -> Result<T, Error> {
    Err(error(ErrorKind::Configuration, operation).with_message(message))
}

/// What one node says of itself.
struct Info {
    operation: &'static str,
    text: String,
    /// ` at host:port` on a cluster.
    node: String,
}

impl Info {
    fn setting(&self, name: &str) -> Option<&str> {
        self.text
            .lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
    }

    fn is(&self, name: &str) -> bool {
        self.setting(name) == Some("1")
    }

    fn refuse<T>(&self, message: String) -> Result<T> {
        configuration(self.operation, message)
    }

    fn wait<T>(&self, message: String) -> Result<T> {
        Err(error(ErrorKind::Unavailable, self.operation).with_message(message))
    }

    fn check(&self, rules: &Rules, known: &BTreeSet<String>) -> Result<()> {
        let node = &self.node;
        let is_replica = self.setting("role") == Some("slave");
        // A cluster's replicas answer nothing, and load whenever they synchronise.
        if is_replica && !rules.cluster {
            return self.check_role(rules, known);
        }
        if !is_replica && (self.is("loading") || self.is("async_loading")) {
            return self.wait(format!("the server is loading its data{node}; retry"));
        }
        match self.setting("maxmemory_policy") {
            Some("noeviction") => {}
            Some(policy) => {
                return self.refuse(format!(
                    "maxmemory-policy is {policy}{node}: the server may evict receipts, and their \
                     effects would happen again. Run `CONFIG SET maxmemory-policy noeviction` and \
                     set it in redis.conf"
                ));
            }
            None => return self.refuse(format!("INFO does not report maxmemory_policy{node}")),
        }
        match (self.setting("cluster_enabled"), rules.cluster) {
            (Some("1"), false) => {
                return self.refuse(
                    "the server is part of a cluster: use `RedisStore::builder(url).cluster(urls)`"
                        .to_owned(),
                );
            }
            (Some("0"), true) => {
                return self.refuse(format!(
                    "the server is no part of a cluster{node}: leave `.cluster(…)` out"
                ));
            }
            _ => {}
        }
        let appends = self.is("aof_enabled");
        if !appends && rules.require == Require::Nothing {
            tracing::warn!("redis: appendonly is no{node}: a restart loses acknowledged effects");
            return Ok(());
        }
        if !appends {
            return self.refuse(format!(
                "appendonly is no{node}: a restart would lose acknowledged effects. Run `CONFIG SET \
                 appendonly yes` and set it in redis.conf, or choose `Require::Nothing`"
            ));
        }
        if rules.require != Require::Nothing && !is_replica {
            return self.check_rewrite(known);
        }
        Ok(())
    }

    /// After `CONFIG SET appendonly yes` nothing is on disk until the first rewrite has ended, and no
    /// other sign of that is to be had. A server that was whole before may rewrite.
    fn check_rewrite(&self, known: &BTreeSet<String>) -> Result<()> {
        let rewrites = self.is("aof_rewrite_in_progress") || self.is("aof_rewrite_scheduled");
        let before = self
            .setting("run_id")
            .is_some_and(|run| known.contains(run));
        if rewrites && !before {
            return self.wait(format!(
                "the append-only file is being rewritten{}, and if that is its first time, nothing \
                 is on disk before it has ended; retry",
                self.node
            ));
        }
        Ok(())
    }

    /// A replica's data is stale, and it takes no writes. A server that was a master before, or that
    /// the sentinels name, may be on its way.
    fn check_role(&self, rules: &Rules, known: &BTreeSet<String>) -> Result<()> {
        let host = self.setting("master_host").unwrap_or("unknown");
        let port = self.setting("master_port").unwrap_or("unknown");
        let message = format!(
            "the server is a replica of {host}:{port}, so it takes no writes and its data is stale: \
             connect to its master"
        );
        if rules.sentinel || !known.is_empty() {
            return self.wait(message);
        }
        self.refuse(message)
    }
}

/// Questions to every node.
struct Ask<'a> {
    operation: &'static str,
    connection: &'a Connection,
    rules: &'a Rules,
}

impl Ask<'_> {
    async fn everywhere(&self, name: &str, command: &Cmd) -> Result<Value> {
        let nodes = MultipleNodeRoutingInfo::AllNodes;
        let answer = self.connection.clone().everywhere(command, nodes).await;
        answer.map_err(|failed| permissions::refused(self.operation, self.rules, name, failed))
    }

    async fn setting(&self, name: &str) -> Result<Vec<(String, Option<String>)>> {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg(name);
        let value = self.everywhere("CONFIG GET", &command).await?;
        let found = per_node(value).into_iter().map(|(node, setting)| {
            let found = pairs(setting).into_iter().find(|(key, _)| key == name);
            (node, found.map(|(_, found)| found))
        });
        Ok(found.collect())
    }

    async fn require_settings(&self) -> Result<()> {
        if self.rules.require == Require::PowerSafe {
            try_join(
                self.require_setting("appendfsync", "always"),
                self.require_setting("no-appendfsync-on-rewrite", "no"),
            )
            .await?;
        }
        if self.rules.sentinel {
            self.require_fencing().await?;
        }
        Ok(())
    }

    async fn require_setting(&self, name: &str, wanted: &str) -> Result<()> {
        let found = self.setting(name).await.map_err(|source| {
            if source.kind() != ErrorKind::Configuration {
                return source;
            }
            error(ErrorKind::Configuration, self.operation)
                .with_message(format!(
                    "`CONFIG GET {name}` is not allowed, so durability can't be checked: run \
                     `{}`, or choose `Require::ProcessSafe`",
                    permissions::acl_line(self.rules)
                ))
                .with_source(source)
        })?;
        for (node, found) in found {
            if found.as_deref() != Some(wanted) {
                let found = found.as_deref().unwrap_or("unknown");
                return configuration(
                    self.operation,
                    format!(
                        "{name} is {found}{node}: a power cut would lose acknowledged effects. Run \
                         `CONFIG SET {name} {wanted}` and set it in redis.conf, or choose \
                         `Require::ProcessSafe`"
                    ),
                );
            }
        }
        Ok(())
    }

    /// An old master that comes back takes writes for seconds, and no other server ever has them.
    async fn require_fencing(&self) -> Result<()> {
        for (_, found) in self.setting("min-replicas-to-write").await? {
            let found = found.unwrap_or_else(|| "unknown".to_owned());
            if found.parse::<u64>().is_ok_and(|count| count > 0) {
                continue;
            }
            return configuration(
                self.operation,
                format!(
                    "min-replicas-to-write is {found}: after a failover the old master would \
                     acknowledge writes that are lost when it becomes a replica. Run `CONFIG SET \
                     min-replicas-to-write 1` and `CONFIG SET min-replicas-max-lag 2` on the master \
                     and its replicas, and set them in redis.conf"
                ),
            );
        }
        Ok(())
    }

    /// The smallest of all nodes'; the server's defaults where it does not say.
    async fn limits(&self) -> Result<Limits> {
        let mut limits = Limits::default();
        for (name, limit) in [
            ("proto-max-bulk-len", &mut limits.argument),
            ("client-query-buffer-limit", &mut limits.command),
        ] {
            let found = match self.setting(name).await {
                Ok(found) => found,
                Err(failed) if failed.kind() == ErrorKind::Configuration => continue,
                Err(failed) => return Err(failed),
            };
            let smallest = found
                .into_iter()
                .filter_map(|(_, found)| found?.parse::<u64>().ok())
                .min();
            *limit = smallest.unwrap_or(*limit);
        }
        Ok(limits)
    }
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

pub(super) fn text_of(value: Value) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(text: &str) -> Info {
        Info {
            operation: "test",
            text: format!("run_id:7\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n{text}"),
            node: String::new(),
        }
    }

    fn kind(text: &str, known: &[&str]) -> Option<ErrorKind> {
        let known = known.iter().map(|run| (*run).to_owned()).collect();
        let checked = info(text).check(&Rules::plain("eo", "app"), &known);
        checked.err().map(|error| error.kind())
    }

    #[test]
    fn a_server_that_is_not_there_yet_is_waited_for() {
        let wait = Some(ErrorKind::Unavailable);
        assert_eq!(kind("role:master\r\nloading:0", &[]), None);
        assert_eq!(kind("role:master\r\nloading:1\r\naof_enabled:0", &[]), wait);
        assert_eq!(kind("role:master\r\nasync_loading:1", &[]), wait);
        assert_eq!(kind("role:master\r\naof_rewrite_in_progress:1", &[]), wait);
        assert_eq!(kind("role:master\r\naof_rewrite_scheduled:1", &[]), wait);
        assert_eq!(
            kind("role:master\r\naof_rewrite_in_progress:1", &["7"]),
            None
        );
    }

    #[test]
    fn a_replica_is_refused_unless_it_may_be_on_its_way_to_be_a_master() {
        assert_eq!(kind("role:slave", &[]), Some(ErrorKind::Configuration));
        assert_eq!(kind("role:slave", &["7"]), Some(ErrorKind::Unavailable));
    }
}

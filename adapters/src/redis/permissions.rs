//! What the server's user must be allowed, tried by name before anything depends on it.
//!
//! Redis does not undo what a script has written before a command that its user may not run, or that
//! the server has renamed. So no script may meet one: each command is tried on every connection.

use exactly_once_core::{Error, ErrorKind, Result};
use redis::{Cmd, RedisError, Value, cluster_routing::MultipleNodeRoutingInfo};

use super::{
    checks::{Rules, text_of},
    connection::Connection,
    error::{Effect, error, from_driver},
    schema,
    scripts::{self, LuaScript},
};

/// Every command of the scripts, and those that are sent on their own.
pub(super) const COMMANDS: [&str; 39] = [
    "del",
    "dump",
    "eval",
    "evalsha",
    "exists",
    "get",
    "getex",
    "hdel",
    "hexists",
    "hget",
    "hgetall",
    "hincrby",
    "hlen",
    "hmget",
    "hset",
    "hsetnx",
    "incrby",
    "info",
    "llen",
    "lrange",
    "ping",
    "rpush",
    "sadd",
    "scard",
    "set",
    "sismember",
    "smembers",
    "srem",
    "time",
    "type",
    "unlink",
    "zadd",
    "zcard",
    "zrange",
    "zrangebylex",
    "zrangebyscore",
    "zrem",
    "zscore",
    "select",
];

/// The line that allows all of it. The keys that the user's own statements touch come on top.
pub(super) fn acl_line(rules: &Rules) -> String {
    let mut line = format!("ACL SETUSER {}", rules.user);
    let more = rules.more_commands();
    for command in COMMANDS.iter().chain(more.iter()) {
        line.push_str(" +");
        line.push_str(command);
    }
    line.push_str(&format!(" ~{}:*", rules.prefix));
    if rules.replicas.is_some() {
        line.push_str(&format!(" &{}:*", rules.prefix));
    }
    line
}

fn lacking(operation: &'static str, rules: &Rules, names: &[String], said: &str) -> Error {
    error(ErrorKind::Configuration, operation).with_message(format!(
        "the server's user may not run {} ({said}): a script that meets it would stop half way. Run \
         `{}`, with the keys that your own statements touch besides; a renamed command needs its own \
         name back",
        names.join(", "),
        acl_line(rules),
    ))
}

/// An error of a command on its own, with the line where the user lacks it.
pub(super) fn refused(
    operation: &'static str,
    rules: &Rules,
    name: &str,
    source: RedisError,
) -> Error {
    let said = source.to_string();
    let missing = said.contains("NOPERM")
        || said.contains("NoPerm")
        || said.contains("no permission")
        || said.to_ascii_lowercase().contains("unknown command");
    if !missing {
        return from_driver(operation, source, Effect::Read);
    }
    lacking(operation, rules, &[name.to_owned()], &said).with_source(source)
}

/// Tries everything.
pub(super) async fn check(
    operation: &'static str,
    connection: &Connection,
    rules: &Rules,
) -> Result<()> {
    let key = schema::probe_key(&rules.prefix);
    let script: &LuaScript = &scripts::PROBE;
    // Only its name is tried: the script itself may be there from before.
    let by_hash = redis::cmd("EVALSHA")
        .arg(&script.hash)
        .arg(0)
        .arg(&key)
        .to_owned();
    if let Err(failed) = masters(connection, &by_hash).await
        && !failed.to_string().to_ascii_uppercase().contains("NOSCRIPT")
    {
        return Err(refused(operation, rules, "EVALSHA", failed));
    }
    let whole = redis::cmd("EVAL")
        .arg(&script.source)
        .arg(0)
        .arg(&key)
        .to_owned();
    let answer = masters(connection, &whole)
        .await
        .map_err(|failed| refused(operation, rules, "EVAL", failed))?;
    let said = texts(answer);
    if !said.is_empty() {
        let mut names: Vec<String> = said.iter().step_by(2).cloned().collect();
        names.dedup();
        let first = said.get(1).map(String::as_str).unwrap_or_default();
        return Err(lacking(operation, rules, &names, first));
    }
    for (name, command) in alone(rules, &key) {
        if let Err(failed) = masters(connection, &command).await {
            return Err(refused(operation, rules, name, failed));
        }
    }
    Ok(())
}

/// The commands that are sent on their own, none of which changes anything.
fn alone(rules: &Rules, key: &[u8]) -> Vec<(&'static str, Cmd)> {
    let mut tried = vec![("PING", redis::cmd("PING"))];
    let Some(replicas) = rules.replicas else {
        return tried;
    };
    if replicas.on_disk {
        tried.push((
            "WAITAOF",
            redis::cmd("WAITAOF").arg(0).arg(0).arg(1).to_owned(),
        ));
    } else {
        tried.push(("WAIT", redis::cmd("WAIT").arg(0).arg(1).to_owned()));
    }
    if !rules.cluster {
        tried.push(("PUBLISH", redis::cmd("PUBLISH").arg(key).arg("").to_owned()));
    }
    tried
}

async fn masters(connection: &Connection, command: &Cmd) -> redis::RedisResult<Value> {
    let nodes = MultipleNodeRoutingInfo::AllMasters;
    connection.clone().everywhere(command, nodes).await
}

/// All texts of an answer, whatever they are nested in.
fn texts(value: Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.into_iter().flat_map(texts).collect(),
        Value::Map(nodes) => nodes
            .into_iter()
            .flat_map(|(_, said)| texts(said))
            .collect(),
        Value::Nil => Vec::new(),
        other => vec![text_of(other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::Replicas;
    use std::{collections::BTreeSet, time::Duration};

    #[test]
    fn every_command_of_a_script_is_tried_and_in_the_line() {
        let tried = include_str!("scripts/probe.lua");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/redis/scripts");
        let mut used = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|ext| ext != "lua") || file.ends_with("probe.lua") {
                continue;
            }
            let text = std::fs::read_to_string(&file).unwrap();
            for part in text.split("call(").skip(1) {
                if let Some(name) = part.strip_prefix('\'') {
                    used.insert(name.split('\'').next().unwrap().to_owned());
                }
            }
        }
        used.extend(["HLEN", "SCARD", "LLEN", "ZCARD"].map(str::to_owned));
        assert!(used.len() > 30, "{used:?}");
        for name in used {
            assert!(
                tried.contains(&format!("{{ '{name}'")),
                "{name} is not tried"
            );
            assert!(
                COMMANDS.contains(&&*name.to_ascii_lowercase()),
                "{name} is in no line"
            );
        }
    }

    #[test]
    fn the_documentation_has_the_line() {
        let mut rules = Rules::plain("exactly-once", "app");
        let documented = include_str!("mod.rs").replace("\n//! ", " ");
        assert!(
            documented.contains(&acl_line(&rules)),
            "{}",
            acl_line(&rules)
        );
        rules.replicas = Some(Replicas::received(1, Duration::from_secs(1)));
        assert!(acl_line(&rules).contains(" +wait "), "{}", acl_line(&rules));
    }
}

//! A Redis Cluster of three masters and three replicas.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep};

use crate::launch::Launch;
use crate::redis::{Redis, RedisOptions};
use crate::tools;

/// Masters, and as many replicas again.
pub const MASTERS: usize = 3;
/// How long a node must be silent before the others hold an election.
const NODE_TIMEOUT_MILLISECONDS: &str = "1000";
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// Six nodes on loopback: all slots covered, each master with a replica.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one with the defaults.
    ///
    /// # Errors
    /// When Redis is not installed, or the cluster does not settle.
    pub async fn start() -> Result<Self> {
        Self::start_with(RedisOptions::default()).await
    }

    /// Starts one whose nodes differ from the default.
    ///
    /// # Errors
    /// When Redis is not installed, or the cluster does not settle.
    pub async fn start_with(options: RedisOptions) -> Result<Self> {
        let options = options
            .setting("cluster-enabled", "yes")
            .setting("cluster-config-file", "nodes.conf")
            .setting("cluster-node-timeout", NODE_TIMEOUT_MILLISECONDS)
            // A test wants a failover even if its replica was away for a while.
            .setting("cluster-replica-validity-factor", "0")
            .setting("cluster-announce-ip", "127.0.0.1")
            // A new replica would wait five seconds for others to share its copy.
            .setting("repl-diskless-sync-delay", "0");
        let mut nodes = Vec::new();
        for _ in 0..2 * MASTERS {
            nodes.push(options.clone().start().await?);
        }
        let cluster = Self { nodes };
        cluster.meet().await?;
        cluster.settle().await?;
        Ok(cluster)
    }

    /// The connection URLs of all nodes, masters and replicas.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }

    /// All nodes, in the order of their start; who is a master changes with failovers.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The nodes that are masters now, by their own word; those that are down are left out.
    pub async fn masters(&self) -> Vec<&Redis> {
        let mut masters = Vec::new();
        for node in &self.nodes {
            if node
                .cli(["ROLE"])
                .await
                .is_ok_and(|role| role.starts_with("master"))
            {
                masters.push(node);
            }
        }
        masters
    }

    /// The master that owns a key's slot now.
    ///
    /// # Errors
    /// When no node answers, or no master owns the slot.
    pub async fn master_of(&self, key: &str) -> Result<&Redis> {
        for node in &self.nodes {
            let Ok(slot) = node.cli(["CLUSTER", "KEYSLOT", key]).await else {
                continue;
            };
            let slot: u16 = slot.parse().context("a slot is a number")?;
            let map = node.cli(["CLUSTER", "NODES"]).await?;
            let port = map.lines().find_map(|line| master_port(line, slot));
            if let Some(node) = self.nodes.iter().find(|node| Some(node.port()) == port) {
                return Ok(node);
            }
        }
        bail!("no living master owns the slot of {key:?}")
    }

    /// Waits until every living node finds the cluster whole: all slots covered, and each living
    /// node in agreement about it.
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        while !self.is_whole().await {
            if Instant::now() >= deadline {
                bail!(
                    "the cluster does not settle:\n{}",
                    self.nodes[0].server().log()
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    async fn is_whole(&self) -> bool {
        let living: Vec<&Redis> = self
            .nodes
            .iter()
            .filter(|node| node.server().id().is_some())
            .collect();
        let mut masters = 0;
        for node in &living {
            let Ok(state) = node.cli(["CLUSTER", "INFO"]).await else {
                return false;
            };
            let Ok(role) = node.cli(["ROLE"]).await else {
                return false;
            };
            if !state.contains("cluster_state:ok") || !state.contains("cluster_slots_ok:16384") {
                return false;
            }
            if role.starts_with("master") {
                masters += 1;
            } else if !role.lines().any(|line| line == "connected") {
                return false;
            }
        }
        masters == MASTERS
    }

    /// Makes the nodes one cluster.
    async fn meet(&self) -> Result<()> {
        let first = self.nodes.first().context("a cluster has nodes")?;
        let mut launch = first
            .trusting(Launch::new(tools::redis_cli()?, first.server().folder()))
            .argument("--cluster")
            .argument("create");
        for node in &self.nodes {
            // redis-cli would assume the bus at the port plus 10,000.
            launch = launch.argument(format!("127.0.0.1:{}@{}", node.port(), node.bus_port()));
        }
        launch = launch
            .argument("--cluster-replicas")
            .argument("1")
            .argument("--cluster-yes");
        launch.run().await?;
        Ok(())
    }
}

/// The port of the master that a line of `CLUSTER NODES` describes, if it owns this slot and is
/// not taken for dead: `id ip:port@bus[,host] flags master ping pong epoch link slots…`.
fn master_port(line: &str, slot: u16) -> Option<u16> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, flags) = (words.get(1)?, words.get(2)?);
    let flags: Vec<&str> = flags.split(',').collect();
    if !flags.contains(&"master") || flags.iter().any(|flag| flag.starts_with("fail")) {
        return None;
    }
    let owns = words.iter().skip(8).any(|range| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        matches!((from.parse::<u16>(), to.parse::<u16>()), (Ok(from), Ok(to)) if (from..=to).contains(&slot))
    });
    let port = address.split(['@', ',']).next()?.rsplit_once(':')?.1;
    if owns { port.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_slot_is_read_from_the_map() {
        let line = "abc 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99 200";
        assert_eq!(master_port(line, 50), Some(7000));
        assert_eq!(master_port(line, 200), Some(7000));
        assert_eq!(master_port(line, 100), None);
        assert_eq!(master_port(&line.replace("master", "slave"), 50), None);
        assert_eq!(
            master_port(&line.replace("master", "master,fail"), 50),
            None
        );
        assert_eq!(master_port("", 50), None);
    }
}

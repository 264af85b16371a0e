//! Three sentinels, a master and two replicas.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::identity::temporary_folder;
use crate::launch::Launch;
use crate::ports::Port;
use crate::redis::{Redis, RedisOptions};
use crate::server::Server;
use crate::tools;

/// The name under which the sentinels know the master.
pub const MASTER: &str = "shop";
const SENTINELS: usize = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// A master, two replicas of it, and three sentinels that replace it within some two seconds.
#[derive(Debug)]
pub struct RedisSentinel {
    nodes: Vec<Redis>,
    sentinels: Vec<(Server, Port)>,
}

impl RedisSentinel {
    /// Starts all, and waits until the sentinels know of each other and of the replicas.
    ///
    /// # Errors
    /// When a server is not installed, or they do not settle.
    pub async fn start(options: RedisOptions, valkey: bool) -> Result<Self> {
        let options = options.setting("repl-diskless-sync-delay", "0");
        let master = options.clone().start().await?;
        let mut nodes = Vec::new();
        for _ in 0..2 {
            nodes.push(options.clone().replica_of(&master).start().await?);
        }
        nodes.insert(0, master);
        // A sentinel that misses a replica at first learns of it ten seconds later.
        nodes[0].wait_for_replicas(2).await?;
        let program = if valkey {
            tools::valkey_server()?
        } else {
            tools::redis_server()?
        };
        let mut all = Self {
            nodes,
            sentinels: Vec::new(),
        };
        for _ in 0..SENTINELS {
            all.start_sentinel(&program).await?;
        }
        all.settle().await?;
        Ok(all)
    }

    async fn start_sentinel(&mut self, program: &PathBuf) -> Result<()> {
        let (folder, port) = (temporary_folder()?, Port::reserve()?);
        let settings = folder.path().join("sentinel.conf");
        let master = self.nodes[0].port();
        std::fs::write(
            &settings,
            format!(
                "port {}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {master} 2\n\
                 sentinel down-after-milliseconds {MASTER} 1000\n\
                 sentinel failover-timeout {MASTER} 4000\nsentinel parallel-syncs {MASTER} 1\n",
                port.number(),
                folder.path().display(),
            ),
        )?;
        let launch = Launch::new(program, folder.path())
            .argument(settings)
            .argument("--sentinel");
        let server = Server::new(folder, launch);
        let number = port.number();
        let ready = async || {
            tokio::net::TcpStream::connect(("127.0.0.1", number))
                .await
                .is_ok()
        };
        server.start(ready).await?;
        self.sentinels.push((server, port));
        Ok(())
    }

    async fn settle(&self) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        for at in 0..SENTINELS {
            loop {
                let quorum = self.ask(at, ["SENTINEL", "CKQUORUM", MASTER]).await;
                let replicas = self.ask(at, ["SENTINEL", "REPLICAS", MASTER]).await;
                let known = replicas.unwrap_or_default().matches("runid").count();
                if quorum.is_ok_and(|text| text.starts_with("OK 3")) && known == 2 {
                    break;
                }
                if Instant::now() >= deadline {
                    bail!(
                        "the sentinels do not settle:\n{}",
                        self.sentinels[at].0.log()
                    );
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    async fn ask<'a>(&self, at: usize, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let (server, port) = &self.sentinels[at];
        let mut launch = Launch::new(tools::redis_cli()?, server.folder())
            .argument("-e")
            .argument("-p")
            .argument(port.number().to_string());
        for word in words {
            launch = launch.argument(word);
        }
        launch.run().await
    }

    /// The URL of a store.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .sentinels
            .iter()
            .map(|(_, port)| format!("127.0.0.1:{}", port.number()))
            .collect();
        format!("redis+sentinel://{}/{MASTER}", hosts.join(","))
    }

    /// The nodes; the first is the first master.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The node that the sentinels name as the master now.
    ///
    /// # Errors
    /// When no sentinel answers, or names another.
    pub async fn master(&self) -> Result<&Redis> {
        for at in 0..SENTINELS {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
            let Ok(answer) = self.ask(at, words).await else {
                continue;
            };
            let port = answer
                .lines()
                .nth(1)
                .and_then(|line| line.trim().parse().ok());
            if let Some(node) = self.nodes.iter().find(|node| Some(node.port()) == port) {
                return Ok(node);
            }
        }
        bail!("no sentinel names a master")
    }
}

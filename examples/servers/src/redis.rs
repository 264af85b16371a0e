//! One Redis (or Valkey) node.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

use crate::certificates::{Authority, Certificate};
use crate::identity::temporary_folder;
use crate::launch::Launch;
use crate::ports::Port;
use crate::process::Signal;
use crate::server::Server;
use crate::tools;

/// Replicas report how far they are once a second.
const REPLICATION_LIMIT: Duration = Duration::from_secs(30);

/// What to change about a Redis before it starts.
#[derive(Clone, Debug)]
pub struct RedisOptions {
    settings: Vec<(String, String)>,
    variables: Vec<(String, PathBuf)>,
    valkey: bool,
    tls: Option<(Certificate, PathBuf)>,
}

impl Default for RedisOptions {
    /// Every write is on disk before it is acknowledged, and nothing is ever evicted.
    fn default() -> Self {
        let settings = [
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("maxmemory-policy", "noeviction"),
            // The append-only file holds all; no snapshots beside it.
            ("save", ""),
        ];
        Self {
            settings: settings
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            variables: Vec::new(),
            valkey: false,
            tls: None,
        }
    }
}

impl RedisOptions {
    /// Sets a parameter of `redis.conf`, its words apart by spaces; the last one wins.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// Runs it under `en_US.UTF-8`, by whose order its Lua compares strings.
    ///
    /// # Errors
    /// When the locale is not there and can't be made.
    pub fn utf8_locale(mut self) -> Result<Self> {
        self.variables
            .push(("LOCPATH".into(), tools::utf8_locale()?));
        self.variables.push(("LC_ALL".into(), "en_US.UTF-8".into()));
        Ok(self)
    }

    /// Starts Valkey instead.
    #[must_use]
    pub fn valkey(self) -> Self {
        Self {
            valkey: true,
            ..self
        }
    }

    /// Speaks TLS only, with a certificate that this authority has issued.
    #[must_use]
    pub fn certificate(self, certificate: &Certificate, authority: &Authority) -> Self {
        Self {
            tls: Some((certificate.clone(), authority.file())),
            ..self
        }
    }

    /// When the append-only file is synced: `always` (our default), `everysec` or `no`.
    #[must_use]
    pub fn append_fsync(self, when: &str) -> Self {
        self.setting("appendfsync", when)
    }

    /// What happens when the memory limit is reached: `noeviction` (our default), `allkeys-lru`, ….
    #[must_use]
    pub fn eviction(self, policy: &str, limit: &str) -> Self {
        self.setting("maxmemory-policy", policy)
            .setting("maxmemory", limit)
    }

    /// Makes it a replica of another node, which it follows without being waited for.
    #[must_use]
    pub fn replica_of(self, master: &Redis) -> Self {
        self.setting("replicaof", format!("127.0.0.1 {}", master.port()))
            // Else the first synchronisation waits five seconds for company.
            .setting("repl-diskless-sync-delay", "0")
    }

    /// Starts the server.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start(self) -> Result<Redis> {
        let (folder, port, bus) = (temporary_folder()?, Port::reserve()?, Port::reserve()?);
        let program = if self.valkey {
            tools::valkey_server()?
        } else {
            tools::redis_server()?
        };
        let mut launch = Launch::new(program, folder.path())
            .argument(if self.tls.is_some() {
                "--tls-port"
            } else {
                "--port"
            })
            .argument(port.number().to_string())
            .argument("--bind")
            .argument("127.0.0.1")
            .argument("--daemonize")
            .argument("no")
            .argument("--dir")
            .argument(folder.path());
        if self
            .settings
            .iter()
            .any(|(name, value)| name == "cluster-enabled" && value == "yes")
        {
            // Else it would be the port plus 10,000, which is in the ephemeral range.
            launch = launch
                .argument("--cluster-port")
                .argument(bus.number().to_string());
        }
        if let Some((certificate, authority)) = &self.tls {
            launch = launch
                .argument("--port")
                .argument("0")
                .argument("--tls-cert-file")
                .argument(certificate.certificate())
                .argument("--tls-key-file")
                .argument(certificate.key())
                .argument("--tls-ca-cert-file")
                .argument(authority)
                .argument("--tls-auth-clients")
                .argument("no");
        }
        for (name, value) in self.variables {
            launch = launch.variable(name, value);
        }
        for (name, value) in self.settings {
            launch = launch.argument(format!("--{name}"));
            if value.is_empty() {
                launch = launch.argument("");
            }
            for word in value.split_whitespace() {
                launch = launch.argument(word);
            }
        }
        let redis = Redis {
            server: Server::new(folder, launch),
            port,
            bus,
            authority: self.tls.map(|(_, authority)| authority),
        };
        redis.restart().await?;
        Ok(redis)
    }
}

/// A Redis on a free loopback port, with an append-only file of its own.
#[derive(Debug)]
pub struct Redis {
    server: Server,
    port: Port,
    bus: Port,
    /// Where it speaks TLS.
    authority: Option<PathBuf>,
}

impl Redis {
    /// Starts a server with the defaults.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start() -> Result<Self> {
        RedisOptions::default().start().await
    }

    /// Options, to start one that differs.
    pub fn options() -> RedisOptions {
        RedisOptions::default()
    }

    /// The connection URL.
    pub fn url(&self) -> String {
        let scheme = match self.authority {
            Some(_) => "rediss",
            None => "redis",
        };
        format!("{scheme}://127.0.0.1:{}", self.port.number())
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The port of the cluster bus, used by nodes of a cluster.
    pub(crate) fn bus_port(&self) -> u16 {
        self.bus.number()
    }

    /// The process: its id, its log, signals, freezing.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Runs a command by redis-cli, so past every driver and store under test, and gives what it
    /// prints.
    ///
    /// # Errors
    /// When redis-cli is not installed, or the server answers with an error.
    pub async fn cli<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Result<String> {
        let mut launch = Launch::new(tools::redis_cli()?, self.server.folder())
            .argument("-e")
            .argument("-p")
            .argument(self.port().to_string());
        launch = self.trusting(launch);
        for word in words {
            launch = launch.argument(word);
        }
        Ok(launch.run().await?.trim_end().to_owned())
    }

    /// A redis-cli that speaks as the server does.
    pub(crate) fn trusting(&self, launch: Launch) -> Launch {
        match &self.authority {
            Some(authority) => launch
                .argument("--tls")
                .argument("--cacert")
                .argument(authority),
            None => launch,
        }
    }

    /// Waits until this many replicas have all that was written here so far. (`WAIT` by
    /// [`Redis::cli`] would not do: it looks at the writes of its own connection, which has none.)
    ///
    /// # Errors
    /// When that does not come about in time.
    pub async fn wait_for_replicas(&self, count: usize) -> Result<()> {
        let target = offset(
            &self.cli(["INFO", "replication"]).await?,
            "master_repl_offset:",
        );
        let deadline = Instant::now() + REPLICATION_LIMIT;
        loop {
            let info = self.cli(["INFO", "replication"]).await?;
            let replicas = info.lines().filter(|line| line.contains("state=online"));
            let done = replicas
                .filter(|line| offset(line, "offset=") >= target)
                .count();
            if done >= count && target.is_some() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{done} of {count} replicas have caught up:\n{info}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL, at once.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Stops it in order (SIGTERM).
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop(Signal::TERM).await
    }

    /// Starts it again, after a kill or stop, on its folder and port.
    ///
    /// # Errors
    /// When it runs still, or does not get ready.
    pub async fn restart(&self) -> Result<()> {
        // While it loads its file it answers PING by an error.
        let answers = async || {
            self.cli(["PING"])
                .await
                .is_ok_and(|answer| answer == "PONG")
        };
        self.server.start(answers).await
    }
}

/// The number that follows a name in what `INFO` prints.
fn offset(text: &str, name: &str) -> Option<u64> {
    let (_, rest) = text.split_once(name)?;
    rest.split(|letter: char| !letter.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

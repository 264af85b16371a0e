//! A Postgres cluster of a given major version.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::certificates::Certificate;
use crate::identity::{Identity, give_away, temporary_folder};
use crate::launch::Launch;
use crate::ports::Port;
use crate::process::Signal;
use crate::server::Server;
use crate::template::make_cluster;
use crate::tools::{self, PostgresBinaries};

/// The superuser of every cluster here.
pub const USER: &str = "postgres";
/// Its password, known to all: the server listens on loopback and lives for a test.
pub const PASSWORD: &str = "throwaway";
/// How long a reload may take.
const RELOAD_LIMIT: Duration = Duration::from_secs(10);
/// After a SIGKILL the first starts may fail, as long as an old backend holds shared memory.
const LOCK_LIMIT: Duration = Duration::from_secs(20);

/// What to change about a cluster before it starts.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    major: u32,
    settings: BTreeMap<String, String>,
    trusting: bool,
    certificate: Option<Certificate>,
}

impl PostgresOptions {
    /// The defaults for a major version: two-phase commit on, everything durable.
    pub fn new(major: u32) -> Self {
        let settings = [
            ("max_prepared_transactions", "64"),
            ("max_connections", "300"),
            ("fsync", "on"),
            ("shared_buffers", "32MB"),
            // A standby made later starts from here, so the log must still be there.
            ("wal_keep_size", "256MB"),
            ("wal_level", "replica"),
            ("listen_addresses", "127.0.0.1"),
            ("log_min_duration_statement", "-1"),
            ("timezone", "UTC"),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            major,
            settings: settings.into(),
            trusting: false,
            certificate: None,
        }
    }

    /// Sets a parameter of `postgresql.conf`; wins over our defaults.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// Whether commits reach the disk. On by default; off is quicker and survives a SIGKILL of the
    /// server all the same, but a store is right to refuse such a server.
    #[must_use]
    pub fn fsync(self, on: bool) -> Self {
        self.setting("fsync", if on { "on" } else { "off" })
    }

    /// Lets everybody on this machine in without a password: proving one takes a client some ten
    /// milliseconds of computing, more without optimization, at every connection.
    #[must_use]
    pub fn trusting(mut self) -> Self {
        self.trusting = true;
        self
    }

    /// Speaks TLS, by this certificate.
    #[must_use]
    pub fn certificate(mut self, certificate: &Certificate) -> Self {
        self.certificate = Some(certificate.clone());
        self.setting("ssl", "on")
    }

    /// Makes the cluster and starts it.
    ///
    /// # Errors
    /// When this version is not installed, or the server does not get ready.
    pub async fn start(self) -> Result<Postgres> {
        let (binaries, folder) = (tools::postgres(self.major)?, temporary_folder()?);
        give_away(folder.path())?;
        make_cluster(&binaries, folder.path(), self.trusting).await?;
        let postgres = Postgres::new(self.major, binaries, folder, self.trusting)?;
        postgres.write_settings(&self.settings)?;
        if let Some(certificate) = &self.certificate {
            certificate.install(&postgres.data_folder())?;
        }
        postgres.restart().await?;
        Ok(postgres)
    }
}

/// A Postgres cluster with a data folder of its own, on a free loopback port.
#[derive(Debug)]
pub struct Postgres {
    major: u32,
    server: Server,
    port: Port,
    trusting: bool,
}

impl Postgres {
    /// Makes a cluster of this major version, with the defaults, and starts it.
    ///
    /// # Errors
    /// When this version is not installed, or the server does not get ready.
    pub async fn start(major: u32) -> Result<Self> {
        PostgresOptions::new(major).start().await
    }

    /// Options, to start one that differs.
    pub fn options(major: u32) -> PostgresOptions {
        PostgresOptions::new(major)
    }

    /// A cluster over a folder whose data folder is there already; not started yet.
    pub(crate) fn new(
        major: u32,
        binaries: PostgresBinaries,
        folder: TempDir,
        trusting: bool,
    ) -> Result<Self> {
        let port = Port::reserve()?;
        let launch = program(&binaries, "postgres", folder.path())
            .argument("-D")
            .argument(data(folder.path()))
            .argument("-p")
            .argument(port.number().to_string())
            .argument("-k")
            .argument(folder.path());
        Ok(Self {
            major,
            server: Server::new(folder, launch),
            port,
            trusting,
        })
    }

    /// The connection URL of the database `postgres`, password included.
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The connection URL of a database, password included.
    pub fn database_url(&self, database: &str) -> String {
        format!(
            "postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port.number()
        )
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Whether it lets everybody in without a password.
    pub fn trusting(&self) -> bool {
        self.trusting
    }

    /// The major version.
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The folder with its Unix socket, which trusts everybody who can reach it.
    pub fn socket_folder(&self) -> &Path {
        self.server.folder()
    }

    /// The data folder.
    pub fn data_folder(&self) -> PathBuf {
        data(self.server.folder())
    }

    /// The process: its id, its log, signals, freezing.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes an empty database and gives its URL.
    ///
    /// # Errors
    /// When the name is not plain (letters, digits, underscores) or the database is there already.
    pub async fn create_database(&self, name: &str) -> Result<String> {
        if !name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        {
            bail!("not a plain database name: {name:?}");
        }
        self.sql("postgres", &format!("CREATE DATABASE \"{name}\""))
            .await?;
        Ok(self.database_url(name))
    }

    /// Runs SQL through psql, so past every driver and store under test, and gives the rows as
    /// lines, columns separated by `|`.
    ///
    /// # Errors
    /// When psql is not installed, or at the first statement that fails.
    pub async fn sql(&self, database: &str, sql: &str) -> Result<String> {
        let text = Launch::new(tools::psql()?, self.server.folder())
            .argument("--no-psqlrc")
            .argument("--quiet")
            .argument("--tuples-only")
            .argument("--no-align")
            .argument("--set=ON_ERROR_STOP=1")
            .argument(format!("--dbname={}", self.database_url(database)))
            .argument(format!("--command={sql}"))
            .run()
            .await?;
        Ok(text.trim_end().to_owned())
    }

    /// SIGKILL to the postmaster and every backend: a crash of the machine, but for the disk.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// An immediate stop (SIGQUIT): no checkpoint, recovery at the next start.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop_immediate(&self) -> Result<()> {
        self.server.stop(Signal::QUIT).await
    }

    /// A fast stop (SIGINT): sessions are cut, then all is written.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop(Signal::INT).await
    }

    /// Starts it again, after a kill or stop, on its folder and port.
    ///
    /// # Errors
    /// When it runs still, or does not get ready.
    pub async fn restart(&self) -> Result<()> {
        let deadline = Instant::now() + LOCK_LIMIT;
        loop {
            let started = self.server.start(async || self.answers().await).await;
            let Err(error) = started else { return Ok(()) };
            let locked = ["pre-existing shared memory", "lock file"];
            let text = format!("{error:#}");
            if Instant::now() >= deadline || !locked.iter().any(|part| text.contains(part)) {
                return Err(error);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Changes a parameter of a running server and reloads; new sessions have it when this returns.
    /// What needs a restart, such as `max_prepared_transactions`, stays pending until then.
    ///
    /// # Errors
    /// When the server refuses the value or does not reload in time.
    pub async fn set(&self, name: &str, value: &str) -> Result<()> {
        const LOADED: &str = "SELECT pg_conf_load_time()";
        let before = self.sql("postgres", LOADED).await?;
        let value = value.replace('\'', "''");
        self.sql("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"))
            .await?;
        self.server.signal(Signal::HUP)?;
        let deadline = Instant::now() + RELOAD_LIMIT;
        while self.sql("postgres", LOADED).await? == before {
            if Instant::now() >= deadline {
                bail!("the server has not reloaded {name}:\n{}", self.server.log());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Appends settings to `postgresql.conf`.
    pub(crate) fn write_settings(&self, settings: &BTreeMap<String, String>) -> Result<()> {
        let file = self.data_folder().join("postgresql.conf");
        let mut text = fs::read_to_string(&file).context("the cluster has no settings")?;
        for (name, value) in settings {
            text += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        fs::write(file, text)?;
        Ok(())
    }

    /// Does it answer SQL?
    async fn answers(&self) -> bool {
        // The postmaster listens before it is done recovering; psql is slow, so only then.
        if TcpStream::connect(("127.0.0.1", self.port()))
            .await
            .is_err()
        {
            return false;
        }
        self.sql("postgres", "SELECT 1").await.is_ok()
    }
}

/// A program of this version, run as no particular user, with its own libraries.
pub(crate) fn program(binaries: &PostgresBinaries, name: &str, folder: &Path) -> Launch {
    let launch = Launch::new(binaries.bin.join(name), folder).identity(Identity::Unprivileged);
    match &binaries.lib {
        Some(lib) => launch.variable("LD_LIBRARY_PATH", lib),
        None => launch,
    }
}

/// The data folder within a server's folder.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

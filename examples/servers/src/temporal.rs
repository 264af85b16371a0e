//! The Temporal development server, and its command-line client for what operators do.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::identity::temporary_folder;
use crate::launch::Launch;
use crate::ports::Port;
use crate::process::Signal;
use crate::server::Server;
use crate::tools;

/// A Temporal server on free loopback ports, with its database in a file: histories survive
/// [`Temporal::kill`] and [`Temporal::restart`].
#[derive(Debug)]
pub struct Temporal {
    server: Server,
    frontend: Port,
    _http: Port,
    _metrics: Port,
}

impl Temporal {
    /// Starts a server, and waits until its namespace `default` answers.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start() -> Result<Self> {
        let folder = temporary_folder()?;
        let (frontend, http, metrics) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
        let number = |port: &Port| port.number().to_string();
        let launch = Launch::new(tools::temporal()?, folder.path())
            // Settings and credentials of the machine's user are none of a test's business.
            .variable("HOME", folder.path())
            .variable("XDG_CONFIG_HOME", folder.path())
            .variable("TMPDIR", folder.path())
            .argument("server")
            .argument("start-dev")
            .argument("--headless")
            .arguments(["--ip", "127.0.0.1", "--log-level", "error"])
            .arguments(["--port", &number(&frontend)])
            .arguments(["--http-port", &number(&http)])
            .arguments(["--metrics-port", &number(&metrics)])
            .argument("--db-filename")
            .argument(folder.path().join("temporal.db"));
        let temporal = Self {
            server: Server::new(folder, launch),
            frontend,
            _http: http,
            _metrics: metrics,
        };
        temporal.restart().await?;
        Ok(temporal)
    }

    /// Where clients connect: `http://127.0.0.1:…`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.frontend.number())
    }

    /// Runs `temporal <arguments>` against this server, and returns what it printed.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub async fn cli(&self, arguments: &[&str]) -> Result<String> {
        let folder = self.server.folder();
        Launch::new(tools::temporal()?, folder)
            .variable("HOME", folder)
            .variable("XDG_CONFIG_HOME", folder)
            .arguments(arguments)
            .arguments(["--address", &self.address()])
            .run()
            .await
    }

    /// As [`Self::cli`], with the answer as JSON.
    ///
    /// # Errors
    /// When it fails, or prints something else.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self
            .cli(&[arguments, &["--output", "json"]].concat())
            .await?;
        match serde_json::from_str(&text) {
            Ok(value) => Ok(value),
            Err(error) => bail!("temporal {arguments:?} printed no JSON ({error}): {text}"),
        }
    }

    /// The process: its id, its log, signals.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// SIGKILL, at once.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop(Signal::TERM).await
    }

    /// Starts it again, after [`Temporal::kill`] or [`Temporal::stop`], on its folder and ports.
    ///
    /// # Errors
    /// When it runs still, or does not get ready.
    pub async fn restart(&self) -> Result<()> {
        let ready = async || {
            let describe = ["operator", "namespace", "describe", "default"];
            self.cli(&describe).await.is_ok()
        };
        self.server.start(ready).await
    }
}

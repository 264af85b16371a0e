//! The Restate server and what the tests need of its admin interface.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::identity::temporary_folder;
use crate::launch::Launch;
use crate::ports::Port;
use crate::process::Signal;
use crate::server::Server;
use crate::tools;

/// One request to the admin interface may take this long.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What to change about a Restate server before it starts.
#[derive(Clone, Debug, Default)]
pub struct RestateOptions {
    environment: Vec<(String, String)>,
}

impl RestateOptions {
    /// Sets one of the server's environment variables, `RESTATE_…`; wins over our defaults.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts the server.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start(self) -> Result<Restate> {
        let folder = temporary_folder()?;
        let (ingress, admin, node) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
        let address = |port: &Port| format!("127.0.0.1:{}", port.number());
        let mut launch = Launch::new(tools::restate_server()?, folder.path())
            .variable("RESTATE_BASE_DIR", folder.path().join("data"))
            // It leaves `invoker-…` folders in the temporary folder.
            .variable("TMPDIR", folder.path())
            .variable("RESTATE_NODE_NAME", "throwaway")
            .variable("RESTATE_CLUSTER_NAME", "throwaway")
            // Unix sockets break below a long folder.
            .variable("RESTATE_LISTEN_MODE", "tcp")
            .variable("RESTATE_BIND_ADDRESS", address(&node))
            .variable(
                "RESTATE_ADVERTISED_ADDRESS",
                format!("http://{}", address(&node)),
            )
            .variable("RESTATE_INGRESS__BIND_ADDRESS", address(&ingress))
            .variable("RESTATE_ADMIN__BIND_ADDRESS", address(&admin))
            .variable("RESTATE_ADMIN__DISABLE_WEB_UI", "true")
            .variable("RESTATE_DEFAULT_NUM_PARTITIONS", "2")
            .variable("RESTATE_ROCKSDB_TOTAL_MEMORY_SIZE", "128 MiB")
            .variable("RESTATE_DISABLE_TELEMETRY", "true")
            // The default gives up after 70 attempts and pauses the invocation.
            .variable("RESTATE_DEFAULT_RETRY_POLICY__INITIAL_INTERVAL", "20ms")
            .variable("RESTATE_DEFAULT_RETRY_POLICY__MAX_INTERVAL", "200ms")
            .variable("RESTATE_DEFAULT_RETRY_POLICY__MAX_ATTEMPTS", "unlimited");
        for (name, value) in self.environment {
            launch = launch.variable(name, value);
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(REQUEST_LIMIT)
            .build()?;
        let server = Server::new(folder, launch);
        let restate = Restate {
            server,
            client,
            ingress,
            admin,
            _node: node,
        };
        restate.restart().await?;
        Ok(restate)
    }
}

/// A Restate server on free loopback ports.
#[derive(Debug)]
pub struct Restate {
    server: Server,
    client: reqwest::Client,
    ingress: Port,
    admin: Port,
    _node: Port,
}

/// What to do with an invocation, by `PATCH /invocations/{id}/…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Asks the handler to end, with a terminal error at its next await.
    Cancel,
    /// Ends it now, with no say for the handler.
    Kill,
    /// Stops retrying until resumed.
    Pause,
    /// Goes on after a pause.
    Resume,
    /// Forgets one that has completed, with its idempotency key.
    Purge,
}

impl fmt::Display for Action {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Cancel => "cancel",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Purge => "purge",
        })
    }
}

impl Restate {
    /// Starts a server with the defaults.
    ///
    /// # Errors
    /// When it is not installed or does not get ready.
    pub async fn start() -> Result<Self> {
        RestateOptions::default().start().await
    }

    /// Options, to start one that differs.
    pub fn options() -> RestateOptions {
        RestateOptions::default()
    }

    /// Where callers go, without a slash at the end.
    pub fn ingress_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ingress.number())
    }

    /// The admin interface, without a slash at the end.
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin.number())
    }

    /// The process: its id, its log, signals.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Makes the services at this address known, and gives the deployment's id. Registering the
    /// same address again, say with another version of the service, replaces what was known.
    ///
    /// # Errors
    /// When the server can't reach the address or refuses the services.
    pub async fn register(&self, uri: &str) -> Result<String> {
        let url = format!("{}/deployments", self.admin_url());
        let request = self
            .client
            .post(url)
            .json(&json!({ "uri": uri, "force": true }));
        let answer = answer(request, "register a deployment").await?;
        let id = answer["id"].as_str().context("the deployment has no id")?;
        Ok(id.to_owned())
    }

    /// Does something to an invocation.
    ///
    /// # Errors
    /// When the server refuses, such as for an invocation that it does not know.
    pub async fn act(&self, action: Action, invocation: &str) -> Result<()> {
        let url = format!("{}/invocations/{invocation}/{action}", self.admin_url());
        answer(self.client.patch(url), &format!("{action} {invocation}")).await?;
        Ok(())
    }

    /// Restarts an invocation, keeping its journal up to this entry, and gives the new one's id.
    ///
    /// # Errors
    /// When the server refuses, such as for an invocation that has not completed.
    pub async fn restart_as_new(&self, invocation: &str, from: u32) -> Result<String> {
        let url = format!(
            "{}/invocations/{invocation}/restart-as-new?from={from}",
            self.admin_url()
        );
        let answer = answer(self.client.patch(url), "restart an invocation as new").await?;
        let id = answer["new_invocation_id"]
            .as_str()
            .context("the new invocation has no id")?;
        Ok(id.to_owned())
    }

    /// The rows of a SQL query over `sys_invocation`, `sys_journal` and the like, each an object.
    ///
    /// # Errors
    /// When the query is wrong.
    pub async fn query(&self, sql: &str) -> Result<Vec<Value>> {
        let url = format!("{}/query", self.admin_url());
        let request = self
            .client
            .post(url)
            .header("accept", "application/json")
            .json(&json!({"query": sql}));
        match answer(request, "query").await?["rows"].take() {
            Value::Array(rows) => Ok(rows),
            other => bail!("the query's answer has no rows but {other}"),
        }
    }

    /// SIGKILL, at once.
    pub fn kill(&self) {
        self.server.kill();
    }

    /// Stops it in order (SIGTERM, some 2 s).
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&self) -> Result<()> {
        self.server.stop(Signal::TERM).await
    }

    /// Starts it again, after [`Restate::kill`] or [`Restate::stop`], on its folder and ports.
    ///
    /// # Errors
    /// When it runs still, or does not get ready.
    pub async fn restart(&self) -> Result<()> {
        let health = [
            format!("{}/health", self.admin_url()),
            format!("{}/restate/health", self.ingress_url()),
        ];
        let healthy = async || {
            for url in &health {
                let answer = self.client.get(url).send().await;
                if !answer.is_ok_and(|answer| answer.status().is_success()) {
                    return false;
                }
            }
            // Healthy is not enough: the partitions may not have a leader yet.
            self.query("SELECT count(*) AS invocations FROM sys_invocation")
                .await
                .is_ok()
        };
        self.server.start(healthy).await
    }
}

/// Sends a request; an answer that is no success becomes an error with the server's words.
async fn answer(request: reqwest::RequestBuilder, what: &str) -> Result<Value> {
    let answer = request
        .send()
        .await
        .with_context(|| format!("can't {what}"))?;
    let (status, text) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        bail!("can't {what}: {status}: {text}");
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("can't {what}: no JSON: {text}"))
}

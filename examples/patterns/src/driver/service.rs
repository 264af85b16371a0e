//! One pattern's process, and invocations of it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use exactly_once_servers::{Port, Process, launch::Launch, restate::Action};
use serde_json::Value;
use tokio::{
    net::TcpStream,
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    seen::{self, Answer, Seen},
    servers::Servers,
};
use crate::{
    control::{Order, Point},
    patterns::{Pattern, Way},
};

/// How long anything here may take at most. Generous: the tests share few cores.
const LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// An invocation goes round in circles when it has had so long and so many attempts, in a process
/// that does not die any more. What is only slow has few attempts.
const CIRCLES: (Duration, u64) = (Duration::from_secs(2), 8);

/// What every order is about.
const CENTS: i64 = 500;

/// A pattern's process.
pub struct Service<'a> {
    pub(super) servers: &'a Servers,
    pub(super) pattern: Pattern,
    pub(super) way: Way,
    pub(super) folder: PathBuf,
    address: SocketAddr,
    launch: Launch,
    process: Mutex<Process>,
    _port: Port,
}

impl<'a> Service<'a> {
    /// Starts it, and makes it known to Restate.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start(servers: &'a Servers, pattern: Pattern, way: Way) -> Result<Self> {
        let port = Port::reserve()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let name = format!("{}-{}", pattern.word(), way.word());
        let folder = servers.folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let mut launch = Launch::new(&servers.program, &folder)
            .argument("--pattern")
            .argument(pattern.word())
            .argument("--way")
            .argument(way.word())
            .argument("--folder")
            .argument(&folder)
            .argument("--address")
            .argument(address.to_string());
        if pattern == Pattern::TwoPhase {
            let url = servers.postgres().await?.database_url(way.word());
            launch = launch.variable("EXACTLY_ONCE_POSTGRES_URL", url);
        }
        let process = Mutex::new(begin(&launch, address).await?);
        servers
            .restate
            .register(&format!("http://{address}"))
            .await?;
        Ok(Self {
            servers,
            pattern,
            way,
            folder,
            address,
            launch,
            process,
            _port: port,
        })
    }

    /// Invokes the handler, lets the process die at the point, starts it again, and sees what comes
    /// of it.
    ///
    /// # Errors
    /// Where the process does not die, or nothing comes of the invocation.
    pub async fn crash(&self, point: Point) -> Result<Seen> {
        let name = point.word();
        let invocation = self.send(name, Some(point)).await?;
        let mut process = self.process.lock().await;
        let died = process.wait(LIMIT).await?;
        ensure!(
            died.is_some(),
            "{name}: it did not die: {}",
            process.log_tail()
        );
        *process = begin(&self.launch, self.address).await?;
        drop(process);
        let answer = self.answer(&invocation).await?;
        seen::look(self, name, answer).await
    }

    /// Invokes the handler without any crash, and gives the invocation's id with what was seen.
    ///
    /// # Errors
    /// Where nothing comes of the invocation.
    pub async fn plain(&self, name: &str) -> Result<(String, Seen)> {
        let invocation = self.send(name, None).await?;
        let answer = self.answer(&invocation).await?;
        Ok((invocation, seen::look(self, name, answer).await?))
    }

    /// Restarts an invocation as a new one, which keeps the journal up to this entry.
    ///
    /// # Errors
    /// Where nothing comes of it.
    pub async fn restart(&self, invocation: &str, name: &str, from: u32) -> Result<Seen> {
        let restate = &self.servers.restate;
        let new = restate.restart_as_new(invocation, from).await?;
        let answer = self.answer(&new).await?;
        seen::look(self, name, answer).await
    }

    /// The entries of an invocation's journal that a person would restart from: the input, steps,
    /// and what is done to state.
    ///
    /// # Errors
    /// Where Restate can't be asked.
    pub async fn journal(&self, invocation: &str) -> Result<Vec<(u32, String)>> {
        let sql = format!(
            "SELECT \"index\", entry_type, name FROM sys_journal WHERE id = '{invocation}' \
             ORDER BY \"index\""
        );
        let entry = |row: &Value| {
            let index = u32::try_from(row["index"].as_u64()?).ok()?;
            // Results of steps are entries of their own, and kept with their steps.
            let kind = row["entry_type"].as_str()?.strip_prefix("Command: ")?;
            let name = row["name"].as_str().filter(|name| !name.is_empty());
            (kind != "Output").then(|| (index, name.unwrap_or(kind).to_owned()))
        };
        let rows = self.servers.restate.query(&sql).await?;
        Ok(rows.iter().filter_map(entry).collect())
    }

    async fn send(&self, name: &str, crash: Option<Point>) -> Result<String> {
        let ingress = self.servers.restate.ingress_url();
        let service = self.pattern.service(self.way);
        let url = if self.pattern.is_object() {
            format!("{ingress}/restate/send/{service}/{name}/run")
        } else {
            format!("{ingress}/restate/send/{service}/run")
        };
        let order = Order {
            name: name.to_owned(),
            cents: CENTS,
            crash,
        };
        let answer = self.servers.http.post(url).json(&order).send().await?;
        let body: Value = answer.error_for_status()?.json().await?;
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    /// Waits for the answer, or until it is plain that there will be none.
    async fn answer(&self, invocation: &str) -> Result<Answer> {
        let restate = &self.servers.restate;
        let sql = format!(
            "SELECT status, retry_count, last_failure FROM sys_invocation WHERE id = '{invocation}'"
        );
        let (begun, mut first) = (Instant::now(), None);
        loop {
            let rows = restate.query(&sql).await?;
            let row = rows.first().context("Restate does not know it")?;
            if row["status"] == "completed" {
                return self.attach(invocation).await;
            }
            let attempts = row["retry_count"].as_u64().unwrap_or_default();
            let since = attempts.saturating_sub(*first.get_or_insert(attempts));
            // Of ours none is expected, so there it would be an error.
            let circles = begun.elapsed() > CIRCLES.0 && since >= CIRCLES.1;
            if circles && self.way == Way::Recipe {
                // Or it would go on beside the next one.
                restate.act(Action::Kill, invocation).await?;
                let failure = row["last_failure"].as_str().unwrap_or_default();
                return Ok(Answer::Never(failure.to_owned()));
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "neither an answer nor circles: {row}"
            );
            sleep(POLL).await;
        }
    }

    async fn attach(&self, invocation: &str) -> Result<Answer> {
        let ingress = self.servers.restate.ingress_url();
        let url = format!("{ingress}/restate/attach/{invocation}");
        let answer = self.servers.http.get(url).send().await?;
        let (status, body) = (answer.status().as_u16(), answer.text().await?);
        Ok(match body.parse() {
            Ok(value) if status == 200 => Answer::Value(value),
            _ => Answer::Refused(status, body),
        })
    }
}

async fn begin(launch: &Launch, address: SocketAddr) -> Result<Process> {
    let mut process = Process::start(launch)?;
    let listens = async || TcpStream::connect(address).await.is_ok();
    process.ready(LIMIT, listens).await?;
    Ok(process)
}

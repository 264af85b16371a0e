//! The service as a process, asked by a real HTTP client, and killed just before and just after its
//! commit.
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{path::Path, time::Duration};

use anyhow::Result;
use exactly_once_servers::{Port, Process, launch::Launch};
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

const READY: Duration = Duration::from_secs(30);

struct Service {
    folder: TempDir,
    launch: Launch,
    process: Process,
    port: Port,
    client: Client,
}

impl Service {
    async fn start() -> Result<Self> {
        let (folder, port) = (tempfile::tempdir()?, Port::reserve()?);
        let launch = Launch::new(env!("CARGO_BIN_EXE_http-demo"), folder.path())
            .argument("--address")
            .argument(format!("127.0.0.1:{}", port.number()));
        let mut process = Process::start(&launch)?;
        listening(&mut process, port.number()).await?;
        let client = Client::builder().no_proxy().timeout(READY).build()?;
        Ok(Self {
            folder,
            launch,
            process,
            port,
            client,
        })
    }

    /// Waits for the end of the process that was ordered to die, and starts another one.
    async fn restart(&mut self) -> Result<()> {
        let ended = self.process.wait(READY).await?;
        assert!(ended.is_some(), "the process did not die");
        self.process = Process::start(&self.launch)?;
        listening(&mut self.process, self.port.number()).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port.number())
    }

    async fn pay(&self, key: &str, cents: i64, crash: &str) -> reqwest::Result<Response> {
        let request = self
            .client
            .post(self.url("/payments"))
            .header("x-crash", crash);
        let request = request.header("idempotency-key", format!("\"{key}\""));
        request.json(&json!({ "cents": cents })).send().await
    }

    /// The rows past the service and the store.
    fn payments(&self) -> Result<Vec<i64>> {
        let db = rusqlite::Connection::open(self.folder.path().join("payments.db"))?;
        let mut rows = db.prepare("SELECT cents FROM payment ORDER BY number")?;
        let rows = rows.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

async fn listening(process: &mut Process, port: u16) -> Result<()> {
    let answers = async || TcpStream::connect(("127.0.0.1", port)).await.is_ok();
    process.ready(READY, answers).await
}

fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Goal: whatever is killed, the client that repeats its request has one payment and one answer.
/// Method: SIGKILL before and after the commit; the same request to the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_service_has_each_payment_once() -> Result<()> {
    let mut service = Service::start().await?;
    for (point, cents, replayed) in [("before-commit", 100, false), ("after-commit", 200, true)] {
        let lost = service.pay(point, cents, point).await;
        assert!(lost.is_err(), "{point}: the client has an answer: {lost:?}");
        service.restart().await?;
        let rows = service.payments()?.contains(&cents);
        assert_eq!(rows, replayed, "{point}: what the killed process left");
        let answer = service.pay(point, cents, "").await?;
        assert_eq!(answer.status(), 201);
        let header = answer.headers().contains_key("idempotent-replayed");
        assert_eq!(header, replayed, "{point}");
        let first: Value = answer.json().await?;
        assert_eq!(first["cents"], cents);
        let again: Value = service.pay(point, cents, "").await?.json().await?;
        assert_eq!(again, first, "{point}");
    }
    assert_eq!(service.payments()?, [100, 200]);
    Ok(())
}

/// Goal: what the draft asks for, over the wire; and Prometheus sees it.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_metrics_over_the_wire() -> Result<()> {
    let service = Service::start().await?;
    let url = service.url("/payments");
    let keyless = service
        .client
        .post(&url)
        .json(&json!({"cents": 1}))
        .send()
        .await?;
    assert_eq!(keyless.status(), 400);
    assert_eq!(
        keyless.headers()["content-type"],
        "application/problem+json"
    );
    assert_eq!(service.pay("k", 5, "").await?.status(), 201);
    assert_eq!(service.pay("k", 5, "").await?.status(), 201);
    assert_eq!(service.pay("k", 6, "").await?.status(), 422);
    for _ in 0..2 {
        let refused = service.pay("nothing", 0, "").await?;
        assert_eq!(refused.status(), 422);
        let problem: Value = refused.json().await?;
        assert_eq!(problem["detail"], "a payment has at least one cent");
    }
    assert_eq!(service.payments()?, [5]);
    let metrics = service
        .client
        .get(service.url("/metrics"))
        .send()
        .await?
        .text()
        .await?;
    for (outcome, count) in [("fresh", 3), ("replayed", 2), ("mismatch", 1)] {
        let line = format!(
            "exactly_once_operations_total{{backend=\"sqlite\",operation=\"claim\",\
             outcome=\"{outcome}\"}} {count}"
        );
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    for metric in [
        "operation_duration_seconds_bucket",
        "in_doubt",
        "in_doubt_oldest_seconds",
    ] {
        assert!(
            metrics.contains(&format!("\nexactly_once_{metric}{{")),
            "{metric}:\n{metrics}"
        );
    }
    Ok(())
}

/// Goal: an effect outside of the database is had once by clients that repeat and hang up.
#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_sent_once() -> Result<()> {
    let service = Service::start().await?;
    let request = || {
        let request = service.client.post(service.url("/mails"));
        request.header("idempotency-key", "\"mail\"").body("hello")
    };
    // Some of these hang up at once.
    for patience in [0, 1, 2, 5] {
        let impatient = request().timeout(Duration::from_millis(patience)).send();
        let _ = impatient.await;
    }
    loop {
        let answer = request().send().await?;
        if answer.status() != 409 {
            assert_eq!(answer.status(), 202);
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mails = lines(&service.folder.path().join("mails.txt"));
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(
        mails[0].starts_with("http::mail ") && mails[0].ends_with(" hello"),
        "{mails:?}"
    );
    Ok(())
}

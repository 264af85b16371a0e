//! A Restate server, the test services in this process, and a client.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use exactly_once::{
    AccountId, Amount, BalanceStore as _, Error, ErrorKind, IdempotencyKey, OpenAccount,
    PreparedTransactions as _, Transactional as _, engine::Refusal, restate::Listener,
    sqlite::SqliteStore,
};
use exactly_once_payments::{
    control::{Counter, CrashPoint, Faults, Handler},
    service::crash_store::CrashStore,
};
use exactly_once_servers::{Restate, restate::Action};
use restate_sdk::prelude::Endpoint;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, sync::oneshot, task::JoinHandle};

use crate::handlers::{TestForms, TestObject, TestPair, TestService, TestWorkflow};

/// The store of the tests.
pub(crate) type Store = CrashStore<SqliteStore, LostReplies>;

/// Throws the next replies away after their commits, and counts attempts at work.
#[derive(Clone, Debug, Default)]
pub(crate) struct LostReplies {
    to_lose: Arc<AtomicU32>,
    attempts: Arc<AtomicU32>,
    outside: Arc<AtomicU32>,
    calls: Arc<AtomicU32>,
}

impl LostReplies {
    pub(crate) fn lose_replies(&self, count: u32) {
        self.to_lose.store(count, Ordering::SeqCst);
    }

    pub(crate) fn left(&self) -> u32 {
        self.to_lose.load(Ordering::SeqCst)
    }

    /// How often the store was asked for an effect.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    /// A handler says that it has begun, and learns which attempt this is.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempts.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// An effect outside the database happens.
    pub(crate) fn went_out(&self) {
        self.outside.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn outside(&self) -> u32 {
        self.outside.load(Ordering::SeqCst)
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::SeqCst)
    }
}

impl Faults for LostReplies {
    fn pass(&self, point: CrashPoint, _handler: Handler) -> exactly_once::Result<()> {
        let lost = point == CrashPoint::AfterCommit
            && self
                .to_lose
                .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                    left.checked_sub(1)
                })
                .is_ok();
        if lost {
            return Err(Error::new(ErrorKind::Ambiguous, "complete", "test"));
        }
        Ok(())
    }

    fn count(&self, counter: Counter) {
        if counter == Counter::Attempts {
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(crate) struct Bench {
    pub(crate) restate: Restate,
    pub(crate) faults: LostReplies,
    store: SqliteStore,
    second: SqliteStore,
    http: reqwest::Client,
    service: String,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    _folder: TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = open(&folder.path().join("test.sqlite")).await?;
        let second = open(&folder.path().join("second.sqlite")).await?;
        for account in ["counter", "poor", "account"] {
            let (key, account) = (IdempotencyKey::new(account)?, AccountId::new(account)?);
            store.open_account(&OpenAccount::new(key, account)).await?;
        }

        let faults = LostReplies::default();
        let wrapped = CrashStore::new(store.clone(), faults.clone());
        let endpoint = Endpoint::builder()
            .bind(TestService(wrapped.clone(), faults.clone()))
            .bind(TestForms(store.clone(), faults.clone()))
            .bind(TestPair(store.clone(), second.clone()))
            .bind(TestObject(wrapped.clone()))
            .bind(TestWorkflow(wrapped))
            .build();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let service = listener.local_addr()?.to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listener.serve(endpoint, async {
            let _ = stopped.await;
        }));
        let restate = Restate::start().await?;
        restate.register(&format!("http://{service}")).await?;
        Ok(Self {
            restate,
            faults,
            store,
            second,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(60))
                .build()?,
            service,
            stop: Some(stop),
            serving: Some(serving),
            _folder: folder,
        })
    }

    /// Calls a handler; an empty ingress key is none. Gives the status and the body.
    pub(crate) async fn call(&self, path: &str, key: &str, input: &str) -> Result<(u16, String)> {
        let url = format!("{}/restate/call/{path}", self.restate.ingress_url());
        let mut request = self.http.post(url).json(input);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        answer(request).await
    }

    /// Starts a handler, and gives the invocation's id.
    pub(crate) async fn send(&self, path: &str, input: &str) -> Result<String> {
        let url = format!("{}/restate/send/{path}", self.restate.ingress_url());
        let request = self
            .http
            .post(url)
            .header("idempotency-key", input)
            .json(input);
        let (status, body) = answer(request).await?;
        ensure!(status < 300, "{status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    /// Waits for the answer to what was sent.
    pub(crate) async fn attach(&self, invocation: &str) -> Result<(u16, String)> {
        let url = format!("{}/restate/attach/{invocation}", self.restate.ingress_url());
        answer(self.http.get(url)).await
    }

    /// Where in the journal the step of that name is.
    pub(crate) async fn entry(&self, invocation: &str, step: &str) -> Result<u32> {
        let sql = format!(
            "SELECT \"index\", name FROM sys_journal WHERE id = '{invocation}' ORDER BY \"index\""
        );
        let rows = self.restate.query(&sql).await?;
        let index = rows
            .iter()
            .find(|row| row["name"] == step)
            .and_then(|row| row["index"].as_u64())
            .with_context(|| format!("no step {step} in {rows:?}"))?;
        Ok(u32::try_from(index)?)
    }

    pub(crate) async fn cancel(&self, invocation: &str) -> Result<()> {
        self.restate.act(Action::Cancel, invocation).await
    }

    /// Makes Restate forget, and waits until it has.
    pub(crate) async fn purge(&self, invocation: &str) -> Result<()> {
        self.restate.act(Action::Purge, invocation).await?;
        let sql = format!("SELECT id FROM sys_invocation WHERE id = '{invocation}'");
        for _ in 0..500 {
            if self.restate.query(&sql).await?.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::bail!("{invocation} is still there")
    }

    /// How many effects of that name are in the database.
    pub(crate) async fn rows(&self, name: &str) -> Result<i64> {
        rows(&self.store, name).await
    }

    /// The same in the second database.
    pub(crate) async fn second_rows(&self, name: &str) -> Result<i64> {
        rows(&self.second, name).await
    }

    /// How many transactions are prepared and undecided, in both.
    pub(crate) async fn in_doubt(&self) -> Result<usize> {
        let (one, two) = (&self.store, &self.second);
        let (one, two) = (one.in_doubt(None, 10).await?, two.in_doubt(None, 10).await?);
        Ok(one.entries.len() + two.entries.len())
    }

    pub(crate) async fn balance(&self, account: &str) -> Result<i64> {
        let state = self.store.balance(&AccountId::new(account)?).await?;
        Ok(state.context("no such account")?.amount.get())
    }

    /// Asks the listener to end, and waits until it has.
    pub(crate) async fn shut_down(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            let _ = serving.await;
        }
    }

    pub(crate) async fn call_service_directly(&self) -> std::io::Result<TcpStream> {
        TcpStream::connect(&self.service).await
    }
}

async fn open(file: &Path) -> Result<SqliteStore> {
    let store = SqliteStore::open(file).await?;
    let mut tx = store.begin().await?;
    tx.run(|db| db.execute_batch("CREATE TABLE effects (name TEXT NOT NULL) STRICT"))
        .await?;
    store.commit(tx).await?;
    Ok(store)
}

async fn rows(store: &SqliteStore, name: &str) -> Result<i64> {
    let name = name.to_owned();
    let count = move |db: &rusqlite::Connection| {
        let sql = "SELECT count(*) FROM effects WHERE name = ?1";
        db.query_row(sql, [name], |row| row.get(0))
    };
    Ok(store.read(count).await?)
}

async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, String)> {
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// The refusal in an answer of the ingress, if it is one.
pub(crate) fn refusal(status: u16, body: &str) -> Option<Refusal> {
    let body: Value = serde_json::from_str(body).ok()?;
    Refusal::parse(status, body["message"].as_str()?)
}

/// So many minor units.
pub(crate) fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units)
}

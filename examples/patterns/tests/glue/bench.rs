//! The Restate server, all services in this process, and a client.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use exactly_once::{
    Store as _, WorkError,
    engine::Refusal,
    restate::{
        Listener,
        services::{Account, InDoubtSweep, KeyExpiry},
    },
    sqlite::{SqliteStore, SqliteTx},
    two_phase::Sweeper,
};
use exactly_once_patterns::{patterns::PAYMENTS, plain};
use exactly_once_servers::Restate;
use restate_sdk::{
    endpoint::ServiceOptions, prelude::Endpoint, service::IntoServiceDefinition as _,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deployed::{Redeployed, Versions},
    ends::{Hasty, Held},
    matrix::{Everything, EverythingObject, EverythingWorkflow, Stores},
};

/// How long anything here may take at most.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Holds work until it is released, and says where it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: AtomicBool,
    attempts: AtomicU32,
    inside: AtomicU32,
}

/// Says that an attempt is gone, however.
struct Inside(Gate);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.0.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.0.attempts.fetch_add(1, Ordering::SeqCst);
        self.0.inside.fetch_add(1, Ordering::SeqCst);
        let _inside = Inside(self.clone());
        while !self.0.open.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn open(&self) {
        self.0.open.store(true, Ordering::SeqCst);
    }

    pub(crate) fn inside(&self) -> u32 {
        self.0.inside.load(Ordering::SeqCst)
    }

    /// Waits until so many attempts have come.
    pub(crate) async fn attempts(&self, many: u32) -> Result<()> {
        until("attempts", async || {
            Ok(self.0.attempts.load(Ordering::SeqCst) >= many)
        })
        .await
    }
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, so: impl AsyncFn() -> Result<bool>) -> Result<()> {
    let wait = async {
        while !so().await? {
            tokio::time::sleep(POLL).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(LIMIT, wait)
        .await
        .with_context(|| format!("never: {what}"))?
}

pub(crate) struct Bench {
    pub(crate) restate: Restate,
    pub(crate) stores: [Stores; 5],
    pub(crate) expiring: SqliteStore,
    pub(crate) doubtful: (SqliteStore, SqliteStore),
    pub(crate) ends: SqliteStore,
    pub(crate) hurried: SqliteStore,
    pub(crate) hasty: Gate,
    pub(crate) held: Gate,
    pub(crate) deployed: SqliteStore,
    pub(crate) versions: Versions,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let open = async |name: &str| store(&folder.path().join(name)).await;
        let mut stores = Vec::new();
        for number in 0..5 {
            let one = open(&format!("one-{number}")).await?;
            let two = open(&format!("two-{number}")).await?;
            stores.push(Stores::new(one, two));
        }
        let stores: [Stores; 5] = stores.try_into().ok().context("five")?;
        let expiring = open("expiring").await?;
        let doubtful = (open("doubtful-one").await?, open("doubtful-two").await?);
        // Stores that are away, first and last: they hold up nothing of the others.
        let away = [open("away-first").await?, open("away-last").await?];
        for store in &away {
            store.close().await?;
        }
        let [first, last] = away;
        let sweeper = Sweeper::new(doubtful.0.clone())
            .participant("away first", first)?
            .participant("one", doubtful.0.clone())?
            .participant("two", doubtful.1.clone())?
            .participant("away last", last)?;
        // Apart: a transaction that is held keeps the others of its file waiting.
        let (ends, hurried) = (open("ends").await?, open("hurried").await?);
        let (hasty, held) = (Gate::default(), Gate::default());
        let (deployed, versions) = (open("deployed").await?, Versions::default());

        let [service, exclusive, shared, run, look] = stores.clone();
        // Far too short for the work.
        let hasty_options = ServiceOptions::new()
            .inactivity_timeout(Duration::from_millis(150))
            .abort_timeout(Duration::from_millis(150));
        let endpoint = Endpoint::builder()
            .bind(Everything(service))
            .bind(EverythingObject { exclusive, shared })
            .bind(EverythingWorkflow { run, look })
            .bind(KeyExpiry::new(expiring.clone()))
            .bind(InDoubtSweep::new(sweeper))
            .bind(Account::new(open("accounts").await?))
            .bind(
                Hasty(hurried.clone(), hasty.clone())
                    .into_service_definition()
                    .options(hasty_options),
            )
            .bind(Held(ends.clone(), held.clone()))
            .bind(Redeployed(deployed.clone(), versions.clone()))
            .build();
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let address = listener.local_addr()?;
        tokio::spawn(listener.serve(endpoint, std::future::pending()));
        let restate = Restate::start().await?;
        restate.register(&format!("http://{address}")).await?;
        Ok(Self {
            restate,
            stores,
            expiring,
            doubtful,
            ends,
            hurried,
            hasty,
            held,
            deployed,
            versions,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(LIMIT)
                .build()?,
            _folder: folder,
        })
    }

    /// Calls a handler, and gives the status and the body.
    pub(crate) async fn call(&self, path: &str, input: Value) -> Result<(u16, Value)> {
        let url = format!("{}/restate/call/{path}", self.restate.ingress_url());
        self.answer(self.with(self.http.post(url), input)).await
    }

    /// Starts a handler, and gives the invocation's id.
    pub(crate) async fn send(&self, path: &str, input: Value) -> Result<String> {
        let url = format!("{}/restate/send/{path}", self.restate.ingress_url());
        let (status, body) = self.answer(self.with(self.http.post(url), input)).await?;
        ensure!(status < 300, "{status} {body}");
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    /// Waits for the answer to what was sent.
    pub(crate) async fn attach(&self, invocation: &str) -> Result<(u16, Value)> {
        let url = format!("{}/restate/attach/{invocation}", self.restate.ingress_url());
        self.answer(self.http.get(url)).await
    }

    /// No input is an empty body without a content type.
    fn with(&self, request: reqwest::RequestBuilder, input: Value) -> reqwest::RequestBuilder {
        if input.is_null() {
            return request;
        }
        request.json(&input)
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<(u16, Value)> {
        let answer = request.send().await?;
        let (status, body) = (answer.status().as_u16(), answer.text().await?);
        Ok((status, serde_json::from_str(&body).unwrap_or(Value::Null)))
    }
}

/// The refusal in an answer of the ingress, if it is one.
pub(crate) fn refusal((status, body): &(u16, Value)) -> Option<Refusal> {
    Refusal::parse(*status, body["message"].as_str()?)
}

/// A store in a file with a table for effects.
pub(crate) async fn store(file: &Path) -> Result<SqliteStore> {
    plain::open(file, PAYMENTS)?;
    Ok(SqliteStore::open(file).await?)
}

/// Writes one effect.
pub(crate) async fn insert(tx: &mut SqliteTx, name: String) -> Result<i64, WorkError> {
    let sql = "INSERT INTO payments (name, cents) VALUES (?1, 1)";
    tx.run(move |db| db.execute(sql, [name])).await?;
    Ok(1)
}

/// How many effects of that name there are.
pub(crate) async fn effects(store: &SqliteStore, name: &str) -> Result<i64> {
    let name = name.to_owned();
    let count = move |db: &rusqlite::Connection| {
        let sql = "SELECT count(*) FROM payments WHERE name = ?1";
        db.query_row(sql, [name], |row| row.get(0))
    };
    Ok(store.read(count).await?)
}

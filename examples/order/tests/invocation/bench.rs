//! The servers, the service in this process, and a fault that holds an attempt.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use exactly_once::{engine::Refusal, restate::Listener};
use exactly_once_order::{
    audit::Seeds,
    control::{CrashPoint, Faults},
    driver::servers,
    model::{Order, SERVICE},
    service::Orders,
    stores::{Addresses, CrashStores, Stores},
};
use exactly_once_servers::{Postgres, Redis, Restate};
use restate_sdk::prelude::Endpoint;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Notify, watch};

/// How long an order has to be decided.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// How long anything here may take at most.
const LIMIT: Duration = Duration::from_secs(20);
/// How much there is of each item, and of each quota.
pub(crate) const UNITS: i64 = 100;
const NAMES: usize = 32;

/// Holds the next attempt that passes an armed point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pause(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    armed: Mutex<Armed>,
    release: Notify,
    die: AtomicBool,
}

/// Where the held attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    OnItsWay,
    Held,
    Gone,
}

/// An attempt that is to be held.
pub(crate) struct Stopped(watch::Receiver<Stage>);

impl Stopped {
    pub(crate) async fn reached(&self) -> Result<()> {
        self.wait(Stage::Held).await
    }

    /// Its future was dropped while it was held.
    pub(crate) async fn dropped(&self) -> Result<()> {
        self.wait(Stage::Gone).await
    }

    async fn wait(&self, stage: Stage) -> Result<()> {
        let mut stages = self.0.clone();
        let reached = stages.wait_for(|now| *now == stage);
        tokio::time::timeout(LIMIT, reached)
            .await
            .with_context(|| format!("never {stage:?}"))??;
        Ok(())
    }
}

type Armed = Option<(CrashPoint, watch::Sender<Stage>)>;

impl Pause {
    fn armed(&self) -> MutexGuard<'_, Armed> {
        self.0.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn arm(&self, point: CrashPoint) -> Stopped {
        let (tell, stages) = watch::channel(Stage::OnItsWay);
        *self.armed() = Some((point, tell));
        Stopped(stages)
    }

    /// Lets the held attempt go on, or die.
    pub(crate) fn release(&self, die: bool) {
        self.0.die.store(die, Ordering::SeqCst);
        self.0.release.notify_waiters();
    }

    fn take(&self, point: CrashPoint) -> Option<watch::Sender<Stage>> {
        let mut armed = self.armed();
        armed.take_if(|(at, _)| *at == point).map(|(_, tell)| tell)
    }
}

/// Says that the attempt is held no more.
struct Held(watch::Sender<Stage>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_replace(Stage::Gone);
    }
}

impl Faults for Pause {
    async fn pass(&self, point: CrashPoint) {
        let Some(tell) = self.take(point) else { return };
        let released = self.0.release.notified();
        let held = Held(tell);
        held.0.send_replace(Stage::Held);
        released.await;
        assert!(!self.0.die.load(Ordering::SeqCst), "the attempt dies here");
    }
}

pub(crate) struct Bench {
    pub(crate) restate: Restate,
    pub(crate) addresses: Addresses,
    /// Without faults.
    pub(crate) stores: Stores,
    pub(crate) pause: Pause,
    pub(crate) seeds: Seeds,
    http: reqwest::Client,
    _postgres: Postgres,
    _redis: Redis,
    _folder: TempDir,
}

impl Bench {
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (restate, postgres, redis) =
            tokio::try_join!(Restate::start(), Postgres::start(18), Redis::start())?;
        let addresses = Addresses {
            postgres: postgres.url(),
            sqlite: folder.path().join("stock.sqlite"),
            redis: redis.url(),
        };
        let stores = Stores::connect(&addresses).await?;
        let names = |what: &'static str| (0..NAMES).map(move |n| (format!("{what}-{n}"), UNITS));
        let seeds = Seeds {
            stock: names("item").collect(),
            quota: names("customer").collect(),
        };
        servers::seed(&addresses, &seeds).await?;

        let pause = Pause::default();
        let service = Orders::new(CrashStores::new(stores.clone(), pause.clone()), DEADLINE);
        let listener = Listener::bind(([127, 0, 0, 1], 0).into())?;
        let address = listener.local_addr()?;
        let endpoint = Endpoint::builder().bind(service).build();
        tokio::spawn(listener.serve(endpoint, std::future::pending()));
        restate.register(&format!("http://{address}")).await?;
        Ok(Self {
            restate,
            addresses,
            stores,
            pause,
            seeds,
            http: reqwest::Client::builder()
                .no_proxy()
                .timeout(LIMIT)
                .build()?,
            _postgres: postgres,
            _redis: redis,
            _folder: folder,
        })
    }

    /// An order of rows that no other number has.
    pub(crate) fn order(&self, number: usize) -> Order {
        Order {
            name: format!("order-{number}"),
            customer: format!("customer-{number}"),
            item: format!("item-{number}"),
            units: 3,
        }
    }

    /// The refusal in an answer, if it is one.
    pub(crate) fn refusal(status: u16, body: &str) -> Option<Refusal> {
        let body: Value = serde_json::from_str(body).ok()?;
        Refusal::parse(status, body["message"].as_str()?)
    }

    /// Starts the handler, and gives the invocation's id.
    pub(crate) async fn send(&self, order: &Order) -> Result<String> {
        let (status, body) = self.post("send", order).await?;
        ensure!(status < 300, "{status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    /// Calls the handler.
    pub(crate) async fn call(&self, order: &Order) -> Result<(u16, String)> {
        self.post("call", order).await
    }

    async fn post(&self, how: &str, order: &Order) -> Result<(u16, String)> {
        let ingress = self.restate.ingress_url();
        let answer = self
            .http
            .post(format!("{ingress}/restate/{how}/{SERVICE}/place"))
            .header("idempotency-key", &order.name)
            .json(order)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// Waits until Restate has nothing more to do for the invocation.
    pub(crate) async fn ended(&self, invocation: &str) -> Result<()> {
        let sql = format!(
            "SELECT status FROM sys_invocation WHERE id = '{invocation}' AND status <> 'completed'"
        );
        let over = async {
            while !self.restate.query(&sql).await?.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        tokio::time::timeout(LIMIT, over)
            .await
            .with_context(|| format!("{invocation} does not end"))?
    }
}

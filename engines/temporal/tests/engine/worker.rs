//! The workflow and the activity of all tests, and a worker for them.

use std::{
    collections::HashMap,
    fmt::Debug,
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use exactly_once::{
    Claim, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, Rejection, Retention, Work,
    WorkError,
    sqlite::{SqliteStore, SqliteTx},
};
use exactly_once_temporal::{EffectKeys, Effects, Heartbeats, Refusal, Step, Temporal};
use futures_util::future::{Either, select};
use serde::{Deserialize, Serialize};
use temporalio_client::{Client, ClientOptions, Connection, ConnectionOptions, RetryPolicy, Url};
use temporalio_common::error::{ActivityExecutionError, ApplicationFailure};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, ChildWorkflowOptions, ContinueAsNewOptions,
    LocalActivityOptions, Runtime, SyncWorkflowContext, Worker, WorkerOptions, WorkflowContext,
    WorkflowResult,
    activities::{ActivityContext, ActivityError, activities},
};
use temporalio_workflow::{workflow, workflow_methods};

use crate::{
    database::{Database, INSERT},
    forms::{Clerk, Desk},
    scenario::{Call, Do, NewField, Pay, Plan, Recipe},
};

#[workflow]
#[derive(Default)]
pub(crate) struct Flow {
    signals: u32,
}

#[workflow_methods]
impl Flow {
    /// One answer for each step, as a text.
    #[run]
    pub(crate) async fn run(
        ctx: &mut WorkflowContext<Self>,
        plan: Plan,
    ) -> WorkflowResult<Vec<String>> {
        let mut keys = EffectKeys::of(ctx);
        let (mut answers, mut waits) = (Vec::new(), 0);
        let version = versions().get(ctx.task_queue()).copied();
        if version.is_some() {
            let _ = paid(ctx, Pay::by(Recipe::Bare)).await;
        }
        for step in plan.steps.clone() {
            match step {
                Do::Wait => {
                    waits += 1;
                    ctx.wait_condition(|flow| flow.signals >= waits).await?;
                }
                Do::Pay(mut pay) => {
                    match pay.recipe {
                        Recipe::Keys => pay.key = Some(keys.next("charge")?),
                        Recipe::Uuid => pay.key = IdempotencyKey::new(ctx.uuid4()).ok(),
                        Recipe::Business => pay.key = business_key(&pay),
                        _ => {}
                    }
                    answers.push(answer(&paid(ctx, *pay).await));
                }
                Do::Child(plan) => {
                    let child = ctx
                        .start_child_workflow(Flow::run, plan, ChildWorkflowOptions::default())
                        .await?;
                    answers.extend(child.result().await?);
                }
            }
        }
        if plan.continued > 0 {
            let continued = plan.continued - 1;
            ctx.continue_as_new(Plan { continued, ..plan }, ContinueAsNewOptions::default())?;
        }
        if plan.fails {
            let failure = ApplicationFailure::new(answers.join(", "));
            return Err(failure.into());
        }
        Ok(answers)
    }

    #[signal]
    pub(crate) fn go(&mut self, _: &mut SyncWorkflowContext<Self>, (): ()) {
        self.signals += 1;
    }
}

/// The order's own number.
pub(crate) fn business_key(pay: &Pay) -> Option<IdempotencyKey> {
    IdempotencyKey::new(format!("order-{}", pay.cents)).ok()
}

async fn paid(ctx: &WorkflowContext<Flow>, pay: Pay) -> Result<i64, ActivityExecutionError> {
    let call = pay.call.clone();
    if call.local {
        let options = LocalActivityOptions::builder()
            .maybe_activity_id(call.activity_id.clone())
            .retry_policy(retries(&call))
            .maybe_timer_backoff_threshold(call.timer_threshold)
            .start_to_close_timeout(call.timeout.unwrap_or(Duration::from_secs(20)))
            .build();
        return ctx.execute_local_activity(Till::pay, pay, options).await;
    }
    let cancellation = match call.waits_for_cancellation {
        true => ActivityCancellationType::WaitCancellationCompleted,
        false => ActivityCancellationType::TryCancel,
    };
    let timeout = call.timeout.unwrap_or(Duration::from_secs(20));
    let options = ActivityOptions::with_start_to_close_timeout(timeout)
        .maybe_activity_id(call.activity_id.clone())
        .maybe_heartbeat_timeout(call.heartbeat)
        .retry_policy(retries(&call))
        .cancellation_type(cancellation)
        .do_not_eagerly_execute(true)
        .build();
    ctx.execute_activity(Till::pay, pay, options).await
}

/// Quick, so that a test with retries takes no minutes.
fn retries(call: &Call) -> RetryPolicy {
    RetryPolicy::builder()
        .initial_interval(call.first_retry.unwrap_or(Duration::from_millis(50)))
        .backoff_coefficient(1.0)
        .maximum_attempts(call.attempts)
        .build()
}

/// What the workflow saw.
pub(crate) fn answer<T: Debug>(result: &Result<T, ActivityExecutionError>) -> String {
    let error = match result {
        Ok(receipt) => return format!("paid {receipt:?}"),
        Err(error) => error,
    };
    if let Some(refusal) = Refusal::of::<Temporal>(error) {
        let (kind, status) = (refusal.kind(), refusal.http_status());
        let current = match kind {
            ErrorKind::Conflict {
                current: Some(current),
            } => format!("[current {current}]"),
            _ => String::new(),
        };
        return format!(
            "refused {} {status}{current}: {}",
            kind.as_str(),
            refusal.message()
        );
    }
    if error.as_cancelled().is_some() {
        return "cancelled".to_owned();
    }
    if let Some(timeout) = error.as_timeout() {
        return format!("timeout {:?}", timeout.timeout_type());
    }
    let failure = error.failure();
    let cause = failure.and_then(|failure| failure.cause.as_ref());
    let typed = cause.and_then(|cause| cause.maybe_application_failure());
    let named = typed.map_or("", |failure| failure.r#type.as_str());
    format!("failed [{named}] {error}")
}

/// What the effect depends on.
#[derive(Serialize)]
struct Request {
    cents: i64,
}

/// The same in the next version of the program.
#[derive(Serialize)]
struct NextRequest {
    cents: i64,
    note: Option<String>,
}

/// The same, and compatible.
#[derive(Serialize)]
struct CompatibleRequest {
    cents: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Which version of the workflow's code the workers of a queue run.
static VERSIONS: LazyLock<Mutex<HashMap<String, u32>>> = LazyLock::new(Mutex::default);

fn versions() -> MutexGuard<'static, HashMap<String, u32>> {
    VERSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deploys a version that makes one more call before all others.
pub(crate) fn deploy_next(queue: &str) {
    versions().insert(queue.to_owned(), 2);
}

pub(crate) struct Till {
    pub(crate) store: SqliteStore,
    pub(crate) database: Database,
}

#[activities]
impl Till {
    #[activity(name = "pay")]
    pub(crate) async fn pay(
        self: Arc<Self>,
        ctx: ActivityContext,
        pay: Pay,
    ) -> Result<i64, ActivityError> {
        self.settle(ctx, pay).await
    }

    /// What a worker of another language calls: a plain request, and a key if it has one.
    #[activity(name = "charge")]
    pub(crate) async fn charge(
        self: Arc<Self>,
        ctx: ActivityContext,
        order: Order,
    ) -> Result<String, ActivityError> {
        let pay = Pay::by(Recipe::Ours).cents(order.cents).faults(|faults| {
            faults.fail_after_commit = order.fails;
            faults.rejects = order.rejects;
        });
        self.settle(ctx, pay)
            .await
            .map(|receipt| format!("receipt {receipt}"))
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Order {
    cents: i64,
    #[serde(default)]
    fails: u32,
    #[serde(default)]
    rejects: bool,
}

impl Till {
    /// A payment, after one of the recipes.
    async fn settle(&self, ctx: ActivityContext, pay: Pay) -> Result<i64, ActivityError> {
        let calls = self.database.saw(ctx.info(), &pay)?;
        let faults = &pay.faults;
        if calls <= faults.asleep_before.0 {
            tokio::time::sleep(faults.asleep_before.1).await;
        }
        if calls <= faults.panics {
            panic!("the activity panics");
        }
        let receipt = self.by_recipe(ctx, &pay, calls).await?;
        self.database.answered(&pay, receipt)?;
        if calls <= faults.kill_after_commit {
            kill();
        }
        if calls <= faults.hang_after_commit {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        if calls <= faults.fail_after_commit {
            return Err(anyhow!("the worker lost its breath after the commit").into());
        }
        Ok(receipt)
    }

    async fn by_recipe(
        &self,
        ctx: ActivityContext,
        pay: &Pay,
        calls: u32,
    ) -> Result<i64, ActivityError> {
        let info = ctx.info().clone();
        let text = |id: &Option<String>| id.clone().unwrap_or_default();
        let key = match pay.recipe {
            Recipe::Bare => {
                let receipt = self.database.insert(pay)?;
                if calls <= pay.faults.asleep_inside.0 {
                    tokio::time::sleep(pay.faults.asleep_inside.1).await;
                }
                return Ok(receipt);
            }
            Recipe::RunId => format!("{}/{}", text(&info.workflow_run_id), info.activity_id),
            Recipe::WorkflowId => format!("{}/{}", text(&info.workflow_id), info.activity_id),
            Recipe::FirstAttempt => {
                return Ok(match info.attempt {
                    1 => self.database.insert(pay)?,
                    _ => {
                        self.database
                            .payments(pay.recipe)?
                            .first()
                            .context("it is paid")?
                            .0
                    }
                });
            }
            Recipe::Ours | Recipe::Keys | Recipe::Uuid | Recipe::Business => {
                return self.ours(ctx, pay, calls).await;
            }
        };
        let claim = Claim::new(
            IdempotencyKey::new(key)?,
            Fingerprint::of("pay", &pay.cents)?,
        );
        let work = self.work(pay, calls);
        Ok(self.store.execute_once(&claim, work).await?.value)
    }

    async fn ours(
        &self,
        ctx: ActivityContext,
        pay: &Pay,
        calls: u32,
    ) -> Result<i64, ActivityError> {
        let retention = match pay.faults.retention {
            Some(retention) => Retention::new(retention)?,
            None => Retention::default(),
        };
        let step = || match &pay.key {
            Some(key) => Step::named("charge").with_key(key.clone()),
            None => Step::named("charge").with_retention(retention),
        };
        let cents = pay.cents;
        if pay.faults.question_mark {
            let key = IdempotencyKey::new(format!("question-mark-{cents}"))?;
            let claim = Claim::new(key, Fingerprint::of("pay", &cents)?);
            return Ok(self
                .store
                .execute_once(&claim, self.work(pay, calls))
                .await?
                .value);
        }
        if let Some(details) = pay.faults.heartbeats.clone() {
            let ctx = Heartbeats::of(ctx);
            if calls == 1 {
                ctx.record_heartbeat(details).await?;
            }
            let work = self.work(pay, calls);
            return ctx
                .execute_once(&self.store, step(), &Request { cents }, work)
                .await;
        }
        if let Some(field) = pay.faults.new_version.filter(|_| calls > 1) {
            let (note, work) = (None, self.work(pay, calls));
            return match field {
                NewField::Null => {
                    let next = NextRequest { cents, note };
                    ctx.execute_once(&self.store, step(), &next, work).await
                }
                NewField::Skipped => {
                    let next = CompatibleRequest { cents, note };
                    ctx.execute_once(&self.store, step(), &next, work).await
                }
            };
        }
        let work = self.work(pay, calls);
        let receipt = ctx
            .execute_once(&self.store, step(), &Request { cents }, work)
            .await?;
        if pay.faults.twice {
            let work = self.work(pay, calls);
            ctx.execute_once(&self.store, step(), &Request { cents }, work)
                .await?;
        }
        Ok(receipt)
    }

    /// The row, in the transaction of the key.
    fn work(
        &self,
        pay: &Pay,
        calls: u32,
    ) -> impl for<'t> Work<&'t mut SqliteTx, Result<i64, WorkError>> + use<> {
        let pay = pay.clone();
        async move |tx: &mut SqliteTx| {
            if pay.faults.rejects {
                return Err(Rejection::new(402, "card declined").into());
            }
            let receipt = insert(tx, &pay).await?;
            if calls <= pay.faults.asleep_inside.0 {
                tokio::time::sleep(pay.faults.asleep_inside.1).await;
            }
            Ok(receipt)
        }
    }
}

async fn insert(tx: &mut SqliteTx, pay: &Pay) -> Result<i64, WorkError> {
    let row = (format!("{:?}", pay.recipe), pay.cents);
    Ok(tx
        .run(move |db| db.query_row(INSERT, row, |row| row.get(0)))
        .await?)
}

/// SIGKILL, to this very process.
fn kill() -> ! {
    let own = std::process::id().to_string();
    let _ = std::process::Command::new("kill")
        .args(["-KILL", &own])
        .status();
    loop {
        std::thread::park();
    }
}

/// All that a worker needs to know; a worker process gets it as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Post {
    pub url: String,
    pub queue: String,
    pub folder: PathBuf,
}

impl Post {
    pub(crate) async fn connect(&self) -> Result<Client> {
        let url = Url::parse(&self.url)?;
        let connection = Connection::connect(ConnectionOptions::new(url).build()).await?;
        Ok(Client::new(
            connection,
            ClientOptions::new("default").build(),
        )?)
    }

    pub(crate) async fn store(&self) -> Result<SqliteStore> {
        Ok(SqliteStore::open(self.folder.join("shop.db")).await?)
    }

    /// Works until `stop` says so.
    pub(crate) async fn work(&self, stop: impl Future<Output = ()>) -> Result<()> {
        let runtime = Runtime::from_current_tokio(Default::default())?;
        let till = Till {
            store: self.store().await?,
            database: Database::open(&self.folder)?,
        };
        let clerk = Clerk {
            store: till.store.clone(),
            stock: SqliteStore::open(self.folder.join("stock.db")).await?,
            database: Database::open(&self.folder)?,
        };
        let options = WorkerOptions::new(&self.queue)
            .register_workflow::<Flow>()?
            .register_workflow::<Desk>()?
            .register_activities(till)
            .register_activities(clerk)
            .build();
        let mut worker = Worker::new(&runtime, self.connect().await?, options)?;
        let shutdown = worker.shutdown_handle();
        let running = std::pin::pin!(worker.run());
        match select(running, std::pin::pin!(stop)).await {
            Either::Left((ended, _)) => ended.context("the worker ended"),
            Either::Right(((), running)) => {
                shutdown();
                // Its activities may hang on purpose.
                let _ = tokio::time::timeout(Duration::from_secs(1), running).await;
                Ok(())
            }
        }
    }
}

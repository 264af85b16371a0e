//! The matrix of engines, on a real Temporal server, over the store in memory: each job of the matrix is a
//! workflow with one activity. A process that is killed is an attempt that fails; the kills of real ones are
//! in the target `engine`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../../../adapters/tests/support/place_memory.rs"]
mod place;

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use anyhow::{Context, anyhow};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness,
    engines::{self, Ended, EngineHarness, EngineStore, Job, on_a_thread},
    runner::{Runner, Trial},
};
use exactly_once_servers::Temporal;
use exactly_once_temporal::Refusal;
use futures::future::{BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, RetryPolicy, Url, WorkflowCancelOptions,
    WorkflowGetResultOptions, WorkflowStartOptions,
    errors::{WorkflowGetResultError, WorkflowStartError},
};
use temporalio_sdk::{
    ActivityCancellationType, ActivityOptions, Runtime, Worker, WorkerOptions, WorkflowContext,
    WorkflowResult,
    activities::{ActivityContext, ActivityError, activities},
};
use temporalio_workflow::{workflow, workflow_methods};
use tokio::sync::oneshot;

const QUEUE: &str = "matrix";

/// Runs the whole matrix.
const ALL: &str = "EXACTLY_ONCE_TEMPORAL_MATRIX";

/// How long anything may take. Generous: the tests share few cores.
const LIMIT: Duration = Duration::from_secs(120);

/// How a workflow's activity ended.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Value(Value),
    Refused(Refusal),
    Cancelled,
}

#[workflow]
#[derive(Default)]
struct Run;

#[workflow_methods]
impl Run {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, run: String) -> WorkflowResult<Answer> {
        let retries = RetryPolicy::builder()
            .initial_interval(Duration::from_millis(1))
            .backoff_coefficient(1.0)
            .build();
        let options = ActivityOptions::with_start_to_close_timeout(LIMIT)
            .retry_policy(retries)
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        match ctx.execute_activity(Desk::attempt, run, options).await {
            Ok(value) => Ok(Answer::Value(value)),
            Err(error) => match Refusal::of(&error) {
                Some(refusal) => Ok(Answer::Refused(refusal)),
                None if error.as_cancelled().is_some() => Ok(Answer::Cancelled),
                None => Err(error.into()),
            },
        }
    }
}

/// An attempt at a job of the matrix, whatever its stores are.
type Attempt =
    Arc<dyn Fn(ActivityContext) -> BoxFuture<'static, Result<Value, ActivityError>> + Send + Sync>;

/// What each run does.
#[derive(Clone, Default)]
struct Jobs(Arc<Mutex<HashMap<String, Attempt>>>);

impl Jobs {
    fn of(&self, run: &str) -> Option<Attempt> {
        let jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.get(run).cloned()
    }

    fn put(&self, run: &str, attempt: Attempt) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.insert(run.to_owned(), attempt);
    }

    fn remove(&self, run: &str) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.remove(run);
    }
}

struct Desk(Jobs);

#[activities]
impl Desk {
    #[activity(name = "attempt")]
    async fn attempt(
        self: Arc<Self>,
        ctx: ActivityContext,
        run: String,
    ) -> Result<Value, ActivityError> {
        let attempt = self.0.of(&run).with_context(|| format!("no job {run}"))?;
        attempt(ctx).await
    }
}

struct OnTemporal {
    client: Client,
    jobs: Jobs,
}

impl<H> EngineHarness<H> for OnTemporal
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "temporal"
    }

    /// The history has the activity's result, and nothing of its steps.
    fn journals(&self) -> bool {
        false
    }

    async fn run(&self, job: Job<H>) -> CaseResult<Ended> {
        let run = job.run().to_owned();
        let client = self.client.clone();
        let attempt = move |ctx| attempt(job.clone(), ctx, client.clone()).boxed();
        self.jobs.put(&run, Arc::new(attempt));
        let ended = tokio::time::timeout(LIMIT, self.answer(&run)).await;
        self.jobs.remove(&run);
        let ended = ended.unwrap_or_else(|_| Err(anyhow!("{run} does not end")));
        match ended.map_err(|error| CaseFailure::unexpected(format!("{error:#}")))? {
            Answer::Value(value) => Ok(Ended::Value(value)),
            Answer::Refused(refusal) => Ok(Ended::Refused(refusal)),
            Answer::Cancelled => Ok(Ended::Cancelled),
        }
    }
}

impl OnTemporal {
    async fn answer(&self, run: &str) -> anyhow::Result<Answer> {
        let start = || {
            let options = WorkflowStartOptions::new(QUEUE, run).build();
            self.client
                .start_workflow(Run::run, run.to_owned(), options)
        };
        // A machine under load lets calls time out; the run's id makes a second start one that is refused.
        while let Err(error) = start().await {
            if matches!(error, WorkflowStartError::AlreadyStarted { .. }) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        loop {
            let handle = self.client.get_workflow_handle::<Run>(run);
            let options = WorkflowGetResultOptions::default();
            match handle.get_result(options).await {
                Err(WorkflowGetResultError::Rpc(_)) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                ended => return Ok(ended?),
            }
        }
    }
}

async fn attempt<H>(
    job: Job<H>,
    ctx: ActivityContext,
    client: Client,
) -> Result<Value, ActivityError>
where
    H: Harness,
    H::Store: EngineStore,
{
    let cancelling = (job.run().to_owned(), ctx.clone(), client);
    job.faults().on_cancel(move || cancel(cancelling));
    let process = move || async move { Ok(job.faults().until_crash(job.attempt(&ctx)).await) };
    match on_a_thread(process).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(_crashed)) => Err(anyhow!("the process is gone").into()),
        Err(failure) => Err(anyhow!("{failure:?}").into()),
    }
}

/// Cancels the workflow, and holds up the attempt until its activity knows. The attempt has a thread of its
/// own, so it holds up nothing else.
fn cancel((run, ctx, client): (String, ActivityContext, Client)) {
    let (known, knows) = mpsc::channel();
    tokio::runtime::Handle::current().spawn(async move {
        let handle = client.get_workflow_handle::<Run>(&run);
        let options = WorkflowCancelOptions::default();
        if let Err(error) = handle.cancel(options).await {
            eprintln!("{run} can't be cancelled: {error}");
        }
        // The server's answer to a heartbeat is where an activity learns of it.
        while !ctx.is_cancelled() {
            let _ = ctx.record_heartbeat(()).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = known.send(());
    });
    let _ = knows.recv_timeout(LIMIT);
}

async fn connect(server: &Temporal) -> anyhow::Result<Client> {
    let url = Url::parse(&server.url())?;
    let connection = Connection::connect(ConnectionOptions::new(url).build()).await?;
    let options = ClientOptions::new("default").build();
    Ok(Client::new(connection, options)?)
}

/// Works on a thread of its own until it is stopped.
fn hire(
    client: Client,
    jobs: Jobs,
) -> (
    oneshot::Sender<()>,
    std::thread::JoinHandle<anyhow::Result<()>>,
) {
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let options = WorkerOptions::new(QUEUE)
                .register_workflow::<Run>()?
                .register_activities(Desk(jobs))
                .default_heartbeat_throttle_interval(Duration::from_millis(5))
                .build();
            let runtime = Runtime::from_current_tokio(Default::default())?;
            let mut worker = Worker::new(&runtime, client, options)?;
            let shutdown = worker.shutdown_handle();
            let (running, _) = tokio::join!(worker.run(), async {
                let _ = stopped.await;
                shutdown();
            });
            running.map_err(anyhow::Error::from)
        })
    });
    (stop, thread)
}

fn main() -> anyhow::Result<ExitCode> {
    let runner = Runner::new("temporal on memory")?;
    let own = tokio::runtime::Runtime::new()?;
    let jobs = Jobs::default();
    // A list needs the names of the cases, and no server.
    let address = match runner.lists_only() {
        true => None,
        false => Some(own.block_on(Temporal::start())?),
    };
    let Some(server) = address else {
        let names = engines::trials(Arc::new(Unconnected), Arc::new(place::Memory));
        return Ok(runner.run(chosen(names)));
    };
    let client = own.block_on(connect(&server))?;
    let (stop, worker) = hire(client.clone(), jobs.clone());
    let trials = engines::trials(
        Arc::new(OnTemporal { client, jobs }),
        Arc::new(place::Memory),
    );
    let code = runner.run(chosen(trials));
    let _ = stop.send(());
    worker
        .join()
        .map_err(|_| anyhow!("the worker panicked"))??;
    own.block_on(server.stop())?;
    Ok(code)
}

/// One case for each way through the glue, unless all are asked for: each of the hundreds of runs is some ten
/// calls of the server. What is left out are the other forms of an effect with one key (they differ in the
/// store, and are run on the engines without a server) and the refusals under crashes.
fn chosen(trials: Vec<Trial>) -> Vec<Trial> {
    const FORMS: [&str; 9] = [
        "e01", "e09", "e11", "e12", "e15", "e20", "e22", "e23", "e24",
    ];
    if std::env::var_os(ALL).is_some() {
        return trials;
    }
    let is_chosen = |trial: &Trial| {
        FORMS
            .iter()
            .any(|form| trial.name().contains(&format!("::{form}")))
    };
    trials.into_iter().filter(is_chosen).collect()
}

/// Has the names of the cases, for a list.
struct Unconnected;

impl<H> EngineHarness<H> for Unconnected
where
    H: Harness,
    H::Store: EngineStore,
{
    fn name(&self) -> &str {
        "temporal"
    }

    fn journals(&self) -> bool {
        false
    }

    async fn run(&self, _: Job<H>) -> CaseResult<Ended> {
        Err(CaseFailure::unexpected("a list runs nothing"))
    }
}

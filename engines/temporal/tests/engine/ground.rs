//! The server that all cases share, and what each has of its own: a task queue, a database, a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use exactly_once_servers::{Process, Temporal, launch::Launch};
use serde_json::Value;
use tempfile::TempDir;
use temporalio_client::{
    Client, WorkflowCancelOptions, WorkflowGetResultOptions, WorkflowHandle, WorkflowSignalOptions,
    WorkflowStartOptions,
};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    database::Database,
    forms::{Desk, Job},
    scenario::{Plan, Recipe, Seen},
    worker::{Flow, Post},
};

/// Says to this program that it is a worker process.
pub(crate) const POST: &str = "EXACTLY_ONCE_TEMPORAL_POST";

/// How long anything may take. Generous: the tests share few cores.
const LIMIT: Duration = Duration::from_secs(90);

/// One case's own place on the shared server.
pub(crate) struct Ground {
    pub server: Arc<Temporal>,
    pub client: Client,
    pub database: Database,
    pub post: Post,
    worker: Option<Hired>,
    started: AtomicU32,
    // Last: the worker is gone when its folder goes.
    _folder: TempDir,
}

/// How a worker runs.
enum Hired {
    Thread(Option<oneshot::Sender<()>>, Option<JoinHandle<Result<()>>>),
    Process(Arc<AtomicBool>, Option<JoinHandle<u32>>),
}

impl Ground {
    /// With a worker in this process.
    pub(crate) async fn new(server: &Arc<Temporal>, queue: &str) -> Result<Self> {
        let mut ground = Self::without_worker(server, queue).await?;
        ground.hire();
        Ok(ground)
    }

    /// With a worker process, which is started again whenever it dies.
    pub(crate) async fn with_process(server: &Arc<Temporal>, queue: &str) -> Result<Self> {
        let mut ground = Self::without_worker(server, queue).await?;
        let post = serde_json::to_string(&ground.post)?;
        let launch =
            Launch::new(std::env::current_exe()?, ground.database.folder()).variable(POST, post);
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut deaths = 0;
            while let Ok(mut process) = Process::start(&launch) {
                while !matches!(process.ended(), Ok(Some(_)) | Err(_)) {
                    if stop.load(Ordering::Relaxed) {
                        return deaths;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                deaths += 1;
            }
            deaths
        });
        ground.worker = Some(Hired::Process(done, Some(thread)));
        Ok(ground)
    }

    async fn without_worker(server: &Arc<Temporal>, queue: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let post = Post {
            url: server.url(),
            queue: queue.to_owned(),
            folder: folder.path().to_owned(),
        };
        Ok(Self {
            server: Arc::clone(server),
            client: post.connect().await?,
            database: Database::open(folder.path())?,
            post,
            worker: None,
            started: AtomicU32::new(0),
            _folder: folder,
        })
    }

    fn hire(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let post = self.post.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            let worked = runtime.block_on(post.work(async { stopped.await.unwrap_or(()) }));
            // Activities that hang are left behind.
            runtime.shutdown_background();
            worked
        });
        self.worker = Some(Hired::Thread(Some(stop), Some(thread)));
    }

    /// Starts a workflow with a fresh id.
    pub(crate) async fn start(&self, plan: Plan) -> Result<String> {
        self.start_with(plan, |options| options).await
    }

    /// As [`Self::start`], with other options.
    pub(crate) async fn start_with(
        &self,
        plan: Plan,
        change: impl FnOnce(WorkflowStartOptions) -> WorkflowStartOptions,
    ) -> Result<String> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let workflow = format!("{}-{number}", self.post.queue);
        let options = WorkflowStartOptions::new(&self.post.queue, &workflow).build();
        self.client
            .start_workflow(Flow::run, plan, change(options))
            .await?;
        Ok(workflow)
    }

    /// Runs a workflow to its end, and gives what it saw.
    pub(crate) async fn run(&self, plan: Plan) -> Result<Vec<String>> {
        let workflow = self.start(plan).await?;
        self.answers(&workflow).await
    }

    /// What the latest run saw, when it is through.
    pub(crate) async fn answers(&self, workflow: &str) -> Result<Vec<String>> {
        let options = WorkflowGetResultOptions::default();
        let handle = self.handle(workflow);
        let result = tokio::time::timeout(LIMIT, handle.get_result(options)).await;
        Ok(result.with_context(|| format!("{workflow} does not end"))??)
    }

    pub(crate) fn handle(&self, workflow: &str) -> WorkflowHandle<Client, Flow> {
        self.client.get_workflow_handle(workflow)
    }

    /// Starts a workflow of forms.
    pub(crate) async fn begin(&self, jobs: impl IntoIterator<Item = Job>) -> Result<String> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let workflow = format!("{}-{number}", self.post.queue);
        let options = WorkflowStartOptions::new(&self.post.queue, &workflow).build();
        let jobs = jobs.into_iter().collect();
        self.client.start_workflow(Desk::run, jobs, options).await?;
        Ok(workflow)
    }

    /// What it saw.
    pub(crate) async fn filled_in(&self, workflow: &str) -> Result<Vec<String>> {
        let handle = self.client.get_workflow_handle::<Desk>(workflow);
        let options = WorkflowGetResultOptions::default();
        let result = tokio::time::timeout(LIMIT, handle.get_result(options)).await;
        Ok(result.with_context(|| format!("{workflow} does not end"))??)
    }

    pub(crate) async fn fill_in(&self, jobs: impl IntoIterator<Item = Job>) -> Result<Vec<String>> {
        let workflow = self.begin(jobs).await?;
        self.filled_in(&workflow).await
    }

    /// Waits until a form was called this many times.
    pub(crate) async fn called(&self, name: &str, calls: u32) -> Result<()> {
        self.until(name, || {
            Ok((self.database.calls(name)? >= calls).then_some(()))
        })
        .await
    }

    /// Lets a workflow go on that waits.
    pub(crate) async fn go(&self, workflow: &str) -> Result<()> {
        let options = WorkflowSignalOptions::default();
        Ok(self.handle(workflow).signal(Flow::go, (), options).await?)
    }

    pub(crate) async fn cancel(&self, workflow: &str) -> Result<()> {
        let options = WorkflowCancelOptions::default();
        Ok(self.handle(workflow).cancel(options).await?)
    }

    /// What an operator does to a workflow: `["workflow", "reset", …]`.
    pub(crate) async fn operate(&self, words: &[&str], workflow: &str) -> Result<String> {
        self.server
            .cli(&[words, &["--workflow-id", workflow]].concat())
            .await
    }

    /// Resets a workflow to its first task.
    pub(crate) async fn reset_to_first(&self, workflow: &str) -> Result<()> {
        let words = [
            "workflow",
            "reset",
            "--reason",
            "a test",
            "--type",
            "FirstWorkflowTask",
        ];
        self.operate(&words, workflow).await.map(drop)
    }

    /// Resets a workflow to an event.
    pub(crate) async fn reset_to(&self, workflow: &str, event: i64) -> Result<()> {
        let event = event.to_string();
        let words = [
            "workflow",
            "reset",
            "--reason",
            "a test",
            "--event-id",
            &event,
        ];
        self.operate(&words, workflow).await.map(drop)
    }

    /// Resets a workflow to its last task that is complete.
    pub(crate) async fn reset_to_last(&self, workflow: &str) -> Result<()> {
        let words = [
            "workflow",
            "reset",
            "--reason",
            "a test",
            "--type",
            "LastWorkflowTask",
        ];
        self.operate(&words, workflow).await.map(drop)
    }

    /// The history as the server has it.
    pub(crate) async fn history(&self, workflow: &str) -> Result<Vec<Value>> {
        let words = ["workflow", "show", "--workflow-id", workflow];
        let history = self.server.json(&words).await?;
        let events = history["events"]
            .as_array()
            .context("a history has events")?;
        Ok(events.clone())
    }

    /// Waits until the pending activity is as it should be, and gives what the server says of it.
    pub(crate) async fn pending(
        &self,
        workflow: &str,
        what: &str,
        check: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + LIMIT;
        let words = ["workflow", "describe", "--workflow-id", workflow];
        loop {
            let described = self.server.json(&words).await?;
            let activity = &described["pendingActivities"][0];
            if activity.is_object() && check(activity) {
                return Ok(activity.clone());
            }
            ensure!(
                Instant::now() < deadline,
                "in vain waited for {what}: {described}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until this many activities of the recipe have begun.
    pub(crate) async fn begun(&self, recipe: Recipe, calls: usize) -> Result<Vec<Seen>> {
        let what = format!("{calls} calls of {recipe:?}");
        self.until(&what, || {
            let seen = self.database.seen(recipe)?;
            Ok((seen.len() >= calls).then_some(seen))
        })
        .await
    }

    /// Waits until there are this many payments of the recipe.
    pub(crate) async fn paid(&self, recipe: Recipe, rows: usize) -> Result<()> {
        let what = format!("{rows} payments of {recipe:?}");
        self.until(&what, || Ok((self.rows(recipe)? >= rows).then_some(())))
            .await
    }

    /// Waits until this many attempts have got an answer; checks that all got the same.
    pub(crate) async fn one_receipt(&self, recipe: Recipe, attempts: usize) -> Result<()> {
        let what = format!("{attempts} answers of {recipe:?}");
        let receipts = self
            .until(&what, || {
                let receipts = self.database.answers(recipe)?;
                Ok((receipts.len() >= attempts).then_some(receipts))
            })
            .await?;
        let paid = self.database.payments(recipe)?;
        ensure!(
            paid.len() == 1 && receipts.iter().all(|receipt| *receipt == paid[0].0),
            "{paid:?} {receipts:?}"
        );
        Ok(())
    }

    /// Waits until the history has this many events of a type.
    pub(crate) async fn events(
        &self,
        workflow: &str,
        kind: &str,
        number: usize,
    ) -> Result<Vec<i64>> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let history = self.history(workflow).await?;
            let found: Vec<i64> = history
                .iter()
                .filter(|event| event["eventType"] == kind)
                .filter_map(|event| event["eventId"].as_str()?.parse().ok())
                .collect();
            if found.len() >= number {
                return Ok(found);
            }
            ensure!(
                Instant::now() < deadline,
                "{workflow} has {found:?} of {kind}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    pub(crate) fn rows(&self, recipe: Recipe) -> Result<usize> {
        Ok(self.database.payments(recipe)?.len())
    }

    async fn until<T>(&self, what: &str, check: impl Fn() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(value) = check()? {
                return Ok(value);
            }
            if Instant::now() > deadline {
                bail!("in vain waited for {what}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops a worker process, and says how many times one has died.
    pub(crate) fn deaths(&mut self) -> u32 {
        match &mut self.worker {
            Some(Hired::Process(done, thread)) => {
                done.store(true, Ordering::Relaxed);
                thread
                    .take()
                    .and_then(|thread| thread.join().ok())
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.deaths();
        if let Some(Hired::Thread(stop, thread)) = &mut self.worker {
            drop(stop.take());
            if let Some(Ok(Err(error))) = thread.take().map(JoinHandle::join) {
                eprintln!("{}: {error:#}", self.post.queue);
            }
        }
    }
}

//! Other processes: the same test target, started again to act as another instance of a service.
//!
//! [`Suite::run`](crate::Suite::run) looks first whether it was started by a case: then it does the
//! one job that it was asked for, on the place that it was given, and runs no case. What a child says
//! to its parent are lines on its standard output, marked so that other output does no harm.
//!
//! A harness takes part by [`Harness::locate`] and [`Harness::attach`]. Its `main` must start no
//! server before [`Suite::run`](crate::Suite::run), or ask [`is_child`] first.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child as Process, Command, ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use exactly_once_core::{Claimed, ExecuteOnce, IdempotencyStore};
use futures_util::future::BoxFuture;
use tokio::{
    runtime::Builder,
    sync::mpsc,
    time::{sleep, timeout},
};

use crate::{
    CaseFailure, CaseResult,
    cases::{idempotency::support::fresh, support},
    check::Expecting,
    context::Context,
    harness::Harness,
};

const JOB: &str = "EXACTLY_ONCE_CHILD";
const PLACE: &str = "EXACTLY_ONCE_CHILD_PLACE";
const ARGUMENT: &str = "EXACTLY_ONCE_CHILD_ARGUMENT";

/// What marks a line as said to the parent.
const SAYS: &str = "exactly-once-child ";
const ANSWER: &str = "answer ";
const FAILURE: &str = "failure ";

/// How long a child may take to say something.
const ANSWER_MAX: Duration = Duration::from_secs(45);

/// How long a child that is to be killed waits for it, before it ends by itself.
const STALL_MAX: Duration = Duration::from_secs(50);

/// Whether this process was started by a case, to act as another process.
#[must_use]
pub fn is_child() -> bool {
    env::var_os(JOB).is_some()
}

/// A job that a child can be asked for: from harness, store and argument to what it answers.
pub(crate) type Job<H> =
    fn(Arc<H>, <H as Harness>::Store, String) -> BoxFuture<'static, CaseResult<String>>;

/// Says a line to the parent.
#[allow(clippy::print_stdout)]
pub(crate) fn say(line: &str) {
    println!("{SAYS}{line}");
}

/// Does the job that this process was started for, if it was.
pub(crate) fn act<H: Harness>(harness: &Arc<H>, jobs: &[(&str, Job<H>)]) -> Option<ExitCode> {
    let asked = env::var(JOB).ok()?;
    let (place, argument) = (env::var(PLACE).unwrap_or_default(), env::var(ARGUMENT));
    let done = async {
        let (_, job) = jobs
            .iter()
            .find(|(name, _)| *name == asked)
            .expecting("a job that the suite knows")?;
        let guard = harness.attach(&place).await?;
        let store = harness.open(&guard).await?;
        job(Arc::clone(harness), store, argument.unwrap_or_default()).await
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let answer = match runtime {
        Ok(runtime) => runtime.block_on(done),
        Err(error) => Err(error.into()),
    };
    Some(match answer {
        Ok(answer) => {
            say(&format!("{ANSWER}{answer}"));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say(&format!(
                "{FAILURE}{}",
                failure.to_string().replace('\n', " | ")
            ));
            ExitCode::FAILURE
        }
    })
}

/// Another process that acts on a case's place. Killed when it is dropped.
pub(crate) struct Child {
    process: Process,
    lines: mpsc::UnboundedReceiver<String>,
}

impl Child {
    /// Starts a job on the case's own place.
    ///
    /// # Errors
    /// Ignored where the harness's places can't be found by another process.
    pub(crate) fn start<H: Harness>(
        cx: &Context<H>,
        job: &str,
        argument: &str,
    ) -> CaseResult<Self> {
        Self::start_at(cx, cx.guard(), job, argument)
    }

    /// Starts a job on another place.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(crate) fn start_at<H: Harness>(
        cx: &Context<H>,
        guard: &H::Guard,
        job: &str,
        argument: &str,
    ) -> CaseResult<Self> {
        let Some(place) = cx.harness().locate(guard) else {
            return cx.ignore("another process finds no place of this harness (`locate`)");
        };
        let mut process = Command::new(env::current_exe()?)
            .env(JOB, job)
            .env(PLACE, place)
            .env(ARGUMENT, argument)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let (said, lines) = mpsc::unbounded_channel();
        let stdout = process.stdout.take().expecting("the child's output")?;
        // A thread, for reading a pipe blocks; it ends with the child.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(SAYS) {
                    // No parent listens any more: then the child is about to be killed.
                    let _ = said.send(line.to_owned());
                }
            }
        });
        Ok(Self { process, lines })
    }

    async fn next(&mut self) -> CaseResult<String> {
        let line = timeout(ANSWER_MAX, self.lines.recv())
            .await
            .expecting("the child to speak")?;
        line.expecting("the child to speak before it ends")
    }

    /// Waits for the child's answer.
    ///
    /// # Errors
    /// The child's own failure.
    pub(crate) async fn answer(mut self) -> CaseResult<String> {
        loop {
            let line = self.next().await?;
            if let Some(answer) = line.strip_prefix(ANSWER) {
                return Ok(answer.to_owned());
            }
            if let Some(failure) = line.strip_prefix(FAILURE) {
                return Err(CaseFailure::unexpected(format!(
                    "in another process: {failure}"
                )));
            }
        }
    }

    /// Waits until the child says this.
    ///
    /// # Errors
    /// It said something else.
    pub(crate) async fn wait_for(&mut self, said: &str) -> CaseResult {
        let line = self.next().await?;
        crate::ensure_eq!(line, said, "what the other process says");
        Ok(())
    }

    /// Kills the child, as `kill -9` does, and waits for its end.
    ///
    /// # Errors
    /// It could not be killed.
    pub(crate) async fn kill(mut self) -> CaseResult {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Already ended, most likely.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The jobs on an idempotency store.
pub(crate) fn idempotency_jobs<H>() -> [(&'static str, Job<H>); 2]
where
    H: Harness,
    H::Store: IdempotencyStore,
{
    [
        ("execute", |harness, store, argument| {
            Box::pin(execute(harness, store, argument))
        }),
        ("claim_and_stall", |harness, store, name| {
            Box::pin(claim_and_stall(harness, store, name))
        }),
    ]
}

/// Executes `count` effects under the keys `name/0`, `name/1`, …; answers with their values.
/// The argument is `name count value`.
async fn execute<H>(harness: Arc<H>, store: H::Store, argument: String) -> CaseResult<String>
where
    H: Harness,
    H::Store: IdempotencyStore,
{
    let mut words = argument.split(' ');
    let (name, count, value) = (words.next(), words.next(), words.next());
    let (name, value) = (name.expecting("a name")?, value.expecting("a value")?);
    let mut values = Vec::new();
    for number in 0..count.expecting("a count")?.parse::<usize>()? {
        let name = format!("{name}/{number}");
        let claim = support::claim(&name)?;
        let done = support::retry(|| {
            let (harness, name, value) = (&harness, &name, value.to_owned());
            store.execute_once(&claim, async move |tx| {
                harness.write_effect(tx, name).await?;
                Ok(value)
            })
        });
        values.push(done.await?.value);
    }
    Ok(values.join(","))
}

/// Claims, writes, says so, and waits to be killed.
async fn claim_and_stall<H>(harness: Arc<H>, store: H::Store, name: String) -> CaseResult<String>
where
    H: Harness,
    H::Store: IdempotencyStore,
{
    let mut tx: <H::Store as exactly_once_core::Transactional>::Tx =
        fresh(&store, &support::claim(&name)?).await?;
    let written = harness.write_effect(&mut tx, &name).await;
    written.map_err(|error| error.into_error("write_effect", &store))?;
    say("claimed");
    sleep(STALL_MAX).await;
    Ok(format!("{:?}", Claimed::Fresh(tx)))
}

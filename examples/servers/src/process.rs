//! A running child: signals to its whole tree, its log, and killed when dropped.

use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::time::{Instant, sleep};

use crate::launch::Launch;

const POLL: Duration = Duration::from_millis(10);
const LOG_LINES: usize = 30;

/// A child process. Dropping it kills it and everything that it has started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When it can't be started; that it runs and then fails, shows in [`Process::ready`].
    pub fn start(launch: &Launch) -> Result<Self> {
        let child = launch.spawn()?;
        Ok(Self {
            child,
            name: launch.name(),
            log: launch.log_file().to_owned(),
        })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system can't tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("can't ask for the state of {}", self.name))
    }

    /// Sends a signal to this process alone.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended already ({status})", self.name);
        }
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("can't signal {}", self.name))
    }

    /// Stops the whole tree where it stands (SIGSTOP): alive to its clients, but silent.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.signal(Signal::STOP)?;
        signal_all(&descendants(self.id()), Signal::STOP);
        Ok(())
    }

    /// Lets a frozen tree go on (SIGCONT).
    ///
    /// # Errors
    /// When the process has ended.
    pub fn thaw(&mut self) -> Result<()> {
        signal_all(&descendants(self.id()), Signal::CONT);
        self.signal(Signal::CONT)
    }

    /// SIGKILL to the process and all that it has started, and waits until it is gone.
    pub fn kill(&mut self) {
        // The parent first, or it might notice that its children die and tidy up.
        let children = descendants(self.id());
        let _ = self.child.kill();
        signal_all(&children, Signal::KILL);
        let _ = self.child.wait();
    }

    /// Asks the process to end, and waits for it.
    ///
    /// # Errors
    /// When it has not ended within the limit; then it is killed.
    pub async fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(signal)?;
        }
        match self.wait(limit).await? {
            Some(status) => Ok(status),
            None => {
                self.kill();
                bail!("{} did not stop within {limit:?} and was killed", self.name)
            }
        }
    }

    /// Waits until it ends by itself, at most this long.
    ///
    /// # Errors
    /// When the system can't tell.
    pub async fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.ended()?;
            if ended.is_some() || Instant::now() >= deadline {
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }

    /// Waits until `check` answers that the server is ready.
    ///
    /// # Errors
    /// When the process ends first, or the limit passes: with the last lines of its log.
    pub async fn ready(&mut self, limit: Duration, check: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended while starting ({status}):\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            if check().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is not ready after {limit:?}:\n{}",
                    self.name,
                    self.log_tail()
                );
            }
            sleep(POLL).await;
        }
    }

    /// The last lines that it printed.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn signal_all(processes: &[u32], signal: Signal) {
    for process in processes {
        // One that has ended meanwhile is fine.
        if let Some(pid) = i32::try_from(*process).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// All processes below this one, by the parents that the kernel names. Process groups would not
/// do: a Postgres backend makes one of its own.
fn descendants(root: u32) -> Vec<u32> {
    let parents = all_parents();
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(process, _)| process),
        );
        next += 1;
    }
    found.split_off(1)
}

/// Every process with its parent, from `/proc/<pid>/stat`: `pid (name) state parent …`.
fn all_parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let parent_of = |process: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may hold anything, parentheses too, so look behind its last one.
        let (_, rest) = stat.rsplit_once(')')?;
        rest.split_whitespace().nth(1)?.parse().ok()
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|process| Some((process, parent_of(process)?)))
        .collect()
}

//! A server: a process that can be killed and started again on the same folder and ports.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::launch::Launch;
use crate::process::{Process, Signal};

/// How long a server may take to answer. Generous: the tests share few cores.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to stop when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// What all servers share. Tests kill and restart from several tasks at once, so every method
/// takes `&self`.
#[derive(Debug)]
pub struct Server {
    launch: Launch,
    // Before the folder: fields drop in this order, and a process must be gone first.
    process: Mutex<Option<Process>>,
    folder: TempDir,
}

impl Server {
    /// A server that has not been started.
    pub fn new(folder: TempDir, launch: Launch) -> Self {
        Self {
            launch,
            process: Mutex::new(None),
            folder,
        }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the process and waits until `check` says that it is ready.
    ///
    /// # Errors
    /// When it runs already, ends while starting, or is not ready in time.
    pub async fn start(&self, check: impl AsyncFn() -> bool) -> Result<()> {
        if self.slot().is_some() {
            bail!("{} runs already; kill or stop it first", self.launch.name());
        }
        // Outside the slot until it is ready, so that the lock isn't held while waiting.
        let mut process = Process::start(&self.launch)?;
        process.ready(READY_LIMIT, check).await?;
        *self.slot() = Some(process);
        Ok(())
    }

    /// SIGKILL, to all its processes at once. A server that is down already stays down.
    pub fn kill(&self) {
        // Dropping a process kills it.
        drop(self.slot().take());
    }

    /// Asks it by a signal to end, and waits for that.
    ///
    /// # Errors
    /// When it does not end in time; then it is killed.
    pub async fn stop(&self, signal: Signal) -> Result<()> {
        let process = self.slot().take();
        if let Some(mut process) = process {
            process.stop(signal, STOP_LIMIT).await?;
        }
        Ok(())
    }

    /// Sends a signal to its main process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running(|process| process.signal(signal))
    }

    /// Freezes all its processes: connections stay open, nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.running(Process::freeze)
    }

    /// Lets it go on after [`Server::freeze`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.running(Process::thaw)
    }

    /// The process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.slot().as_ref().map(Process::id)
    }

    /// What it has printed, over all its starts.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.launch.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn running(&self, action: impl FnOnce(&mut Process) -> Result<()>) -> Result<()> {
        let mut slot = self.slot();
        let process = slot.as_mut();
        action(process.with_context(|| format!("{} does not run", self.launch.name()))?)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! A program of ours as a child process that is killed and started again at the same address.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{Port, Process, launch::Launch, process::Signal};

const READY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(2);

/// The program itself where it is given, otherwise this one.
///
/// # Errors
/// Where the system can't tell which program this is.
pub fn program(told: Option<&Path>) -> Result<PathBuf> {
    match told {
        Some(program) => Ok(program.to_owned()),
        None => std::env::current_exe().context("which program is this?"),
    }
}

/// A service's process. It ends when this is dropped.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    process: Mutex<Process>,
    address: SocketAddr,
    _port: Port,
}

impl Service {
    /// Starts it with `--address` and a free one, and waits until it listens there.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start(launch: Launch) -> Result<Self> {
        Self::start_with(launch, "--address").await
    }

    /// As [`Self::start`], with another name of the argument.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start_with(launch: Launch, argument: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let launch = launch.argument(argument).argument(address.to_string());
        let process = begin(&launch, address).await?;
        Ok(Self {
            launch,
            process: Mutex::new(process),
            address,
            _port: port,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where Restate finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has printed, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.launch.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Waits until it has died by itself, at most this long; says whether it has.
    ///
    /// # Errors
    /// Where the system can't tell.
    pub async fn died(&self, within: Duration) -> Result<bool> {
        let deadline = Instant::now() + within;
        let mut process = self.process.lock().await;
        loop {
            if process.ended()?.is_some() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            sleep(POLL).await;
        }
    }

    /// Sends it a signal, and waits for nothing.
    ///
    /// # Errors
    /// Where it is gone.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        self.process.lock().await.signal(signal)
    }

    /// SIGKILL, now, and waits until it is gone.
    pub async fn kill(&self) {
        self.process.lock().await.kill();
    }

    /// Starts it again, after it has died.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn restart(&self) -> Result<()> {
        let mut process = self.process.lock().await;
        *process = begin(&self.launch, self.address).await?;
        Ok(())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// Where it does not stop.
    pub async fn stop(&self) -> Result<()> {
        self.process.lock().await.stop(Signal::TERM, STOP).await?;
        Ok(())
    }
}

async fn begin(launch: &Launch, address: SocketAddr) -> Result<Process> {
    let mut process = Process::start(launch)?;
    let listens = async || TcpStream::connect(address).await.is_ok();
    process.ready(READY, listens).await?;
    Ok(process)
}

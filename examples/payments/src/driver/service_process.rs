//! The service as a child process that is killed and started again, always at the same address.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use exactly_once_servers::{Port, Process, launch::Launch, process::Signal};
use tokio::{
    net::TcpStream,
    sync::Mutex,
    time::{Instant, sleep},
};

use super::DemoOptions;
use crate::control::Control;

const READY: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);

/// The service's process.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    process: Mutex<Process>,
    address: SocketAddr,
    database: PathBuf,
    _port: Port,
}

impl Service {
    /// Starts it.
    ///
    /// # Errors
    /// Where it does not get ready.
    pub async fn start(options: &DemoOptions, control: &Control) -> Result<Self> {
        let port = Port::reserve()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.number()));
        let folder = control.folder();
        let database = folder.join("payments.sqlite");
        let program = match &options.program {
            Some(program) => program.clone(),
            None => std::env::current_exe().context("which program is this?")?,
        };
        let launch = Launch::new(program, folder)
            .log(folder.join("service.log"))
            .argument("service")
            .argument("--database")
            .argument(&database)
            .argument("--control")
            .argument(folder)
            .argument("--address")
            .argument(address.to_string())
            .argument("--recipe")
            .argument(options.recipe.name());
        let process = begin(&launch, address).await?;
        Ok(Self {
            launch,
            process: Mutex::new(process),
            address,
            database,
            _port: port,
        })
    }

    /// Where Restate finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its SQLite file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.database.clone()
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
            sleep(Duration::from_millis(2)).await;
        }
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

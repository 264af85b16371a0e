//! The servers, `serve` and both tills: how they start, die and come back.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use exactly_once_servers::{Port, Postgres, Restate, Service, launch::Launch, tools};
use tempfile::TempDir;
use tokio::process::Command;

use crate::{driver::Recipe, evidence, load::ITEMS};

/// What the tills and `serve` are made of.
const FILES: [(&str, &str); 8] = [
    ("effects.toml", include_str!("../effects.toml")),
    ("till.ts", include_str!("../handlers/till.ts")),
    ("naive_till.ts", include_str!("../handlers/naive_till.ts")),
    ("order.ts", include_str!("../handlers/order.ts")),
    ("tsconfig.json", include_str!("../handlers/tsconfig.json")),
    ("till.py", include_str!("../handlers/till.py")),
    ("naive_till.py", include_str!("../handlers/naive_till.py")),
    ("order.py", include_str!("../handlers/order.py")),
];

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// `exactly-once serve`.
    Serve,
    /// The till in TypeScript.
    Ts,
    /// The till in Python.
    Py,
    /// The Postgres server.
    Postgres,
    /// The Restate server.
    Restate,
}

impl Victim {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Ts => "till in TypeScript",
            Self::Py => "till in Python",
            Self::Postgres => "Postgres",
            Self::Restate => "Restate",
        }
    }
}

/// All of it. It ends when this is dropped.
#[derive(Debug)]
pub struct World {
    /// The Restate server.
    pub restate: Restate,
    postgres: Postgres,
    serve: Service,
    ts: Service,
    py: Service,
    admin: String,
    http: reqwest::Client,
    replays: AtomicU64,
    folder: TempDir,
    _admin_port: Port,
}

impl World {
    /// Starts everything, with so many pieces of each item in stock.
    ///
    /// # Errors
    /// Where something is not installed or does not start.
    pub async fn start(program: &Path, recipe: Recipe, pieces: i64) -> Result<Self> {
        let folder = tempfile::tempdir().context("can't make a temporary folder")?;
        let work = folder.path();
        for (name, text) in FILES {
            std::fs::write(work.join(name), text)?;
        }
        let (restate, postgres) = tokio::try_join!(Restate::start(), Postgres::start(18))?;
        let (ledger, stock) = (postgres.url(), work.join("stock.sqlite"));
        evidence::create(&ledger, &stock, &ITEMS, pieces).await?;
        let ingress = format!("ingress = \"{}\"\nregister =", restate.ingress_url());
        let file = include_str!("../effects.toml").replacen("register =", &ingress, 1);
        std::fs::write(work.join("effects.toml"), file)?;
        make_wrappers(program, work).await?;
        let admin_port = Port::reserve()?;
        let admin = format!("127.0.0.1:{}", admin_port.number());
        let serve = launch(program, work, "serve", &ledger)
            .argument("serve")
            .arguments(["--config", "effects.toml", "--admin", &admin])
            .variable("RUST_LOG", "warn,exactly_once=info");
        let name = match recipe {
            Recipe::Ours => "till",
            Recipe::Naive => "naive_till",
        };
        let ts = launch(tools::node()?, work, "till_ts", &ledger)
            .argument(work.join("out").join(format!("{name}.js")))
            .variable("CRASH_FILE", work.join("crash_ts"));
        let py = launch(tools::python()?, work, "till_py", &ledger)
            .argument(work.join(format!("{name}.py")))
            .variable("PYTHONPATH", tools::python_sdk()?)
            .variable("CRASH_FILE", work.join("crash_py"));
        let (serve, ts, py) = tokio::try_join!(
            Service::start_with(serve, "--listen"),
            Service::start(ts),
            Service::start(py)
        )?;
        let world = Self {
            restate,
            postgres,
            serve,
            ts,
            py,
            admin: format!("http://{admin}"),
            http: reqwest::Client::builder().no_proxy().build()?,
            replays: AtomicU64::new(0),
            folder,
            _admin_port: admin_port,
        };
        world.register().await?;
        Ok(world)
    }

    async fn register(&self) -> Result<()> {
        for service in [&self.serve, &self.ts, &self.py] {
            let registered = self.restate.register(&service.url()).await;
            registered.with_context(|| format!("the log says: {}", service.log()))?;
        }
        Ok(())
    }

    /// Where Postgres is.
    #[must_use]
    pub fn ledger(&self) -> String {
        self.postgres.url()
    }

    /// The file of SQLite.
    #[must_use]
    pub fn stock(&self) -> PathBuf {
        self.folder.path().join("stock.sqlite")
    }

    /// What `serve` has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.serve.log()
    }

    /// Asks the till of this language to kill itself after its next commit, if it writes itself.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn arm(&self, victim: Victim) -> Result<()> {
        let name = match victim {
            Victim::Ts => "crash_ts",
            Victim::Py => "crash_py",
            _ => return Ok(()),
        };
        std::fs::write(self.folder.path().join(name), "")?;
        Ok(())
    }

    /// Waits for a till that was [armed](Self::arm), for so long.
    ///
    /// # Errors
    /// Where the system can't tell.
    pub async fn died(&self, victim: Victim, within: Duration) -> Result<bool> {
        match victim {
            Victim::Ts => self.ts.died(within).await,
            Victim::Py => self.py.died(within).await,
            _ => Ok(false),
        }
    }

    /// SIGKILL, then away for a while, then back.
    ///
    /// # Errors
    /// Where it does not come back.
    pub async fn kill(&self, victim: Victim, away: Duration) -> Result<()> {
        if victim == Victim::Serve {
            self.count_replays().await;
        }
        match victim {
            Victim::Serve => self.serve.kill().await,
            Victim::Ts => self.ts.kill().await,
            Victim::Py => self.py.kill().await,
            Victim::Postgres => self.postgres.kill(),
            Victim::Restate => self.restate.kill(),
        }
        tokio::time::sleep(away).await;
        match victim {
            Victim::Serve => self.serve.restart().await,
            Victim::Ts => self.ts.restart().await,
            Victim::Py => self.py.restart().await,
            Victim::Postgres => self.postgres.restart().await,
            Victim::Restate => self.restart_restate().await,
        }
        .with_context(|| format!("after a kill of {}", victim.words()))
    }

    /// It may come back and still wait for its own former self, for minutes; another start ends that.
    async fn restart_restate(&self) -> Result<()> {
        if self.restate.restart().await.is_ok() {
            return Ok(());
        }
        self.restate.kill();
        self.restate.restart().await
    }

    /// How many effects were answered from the receipt of an earlier attempt, as `serve` has counted: a
    /// little fewer than there were, since a kill takes the last ones along.
    pub async fn replays(&self) -> u64 {
        self.count_replays().await;
        self.replays.load(Ordering::Relaxed)
    }

    async fn count_replays(&self) {
        let url = format!("{}/metrics", self.admin);
        let Ok(answer) = self.http.get(url).send().await else {
            return;
        };
        let text = answer.text().await.unwrap_or_default();
        let replays: u64 = text
            .lines()
            .filter(|line| line.starts_with("exactly_once_operations_total"))
            .filter(|line| line.contains("outcome=\"replayed\""))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum();
        self.replays.fetch_add(replays, Ordering::Relaxed);
    }

    /// Stops the services in order, so that the audit reads what is there at rest.
    ///
    /// # Errors
    /// Where one does not stop.
    pub async fn stop(&self) -> Result<()> {
        // The tills keep nothing, and wait for Restate's connections to end.
        self.ts.kill().await;
        self.py.kill().await;
        self.serve.stop().await?;
        self.restate.stop().await
    }
}

fn launch(program: impl Into<PathBuf>, work: &Path, name: &str, ledger: &str) -> Launch {
    let stock = work.join("stock.sqlite");
    Launch::new(program, work)
        .log(work.join(format!("{name}.log")))
        .variable("LEDGER_URL", ledger)
        .variable("STOCK_URL", format!("sqlite:{}", stock.display()))
}

/// The typed wrappers of both languages; those for TypeScript are compiled with the tills.
async fn make_wrappers(program: &Path, work: &Path) -> Result<()> {
    for (language, file) in [("ts", "shopdb.ts"), ("py", "shopdb.py")] {
        let mut command = Command::new(program);
        command.args(["serve", "--config", "effects.toml", "--types", language]);
        std::fs::write(work.join(file), output(command, work).await?)?;
    }
    let sdk = tools::typescript_sdk()?;
    let modules = work.join("node_modules");
    std::os::unix::fs::symlink(sdk.join("node_modules"), &modules)?;
    // ES modules, by the package that the files are in.
    std::fs::write(work.join("package.json"), r#"{"type": "module"}"#)?;
    let mut command = Command::new(tools::node()?);
    command.arg(modules.join("typescript/bin/tsc"));
    command.args(["--project", "tsconfig.json"]);
    output(command, work).await?;
    Ok(())
}

async fn output(mut command: Command, work: &Path) -> Result<Vec<u8>> {
    let output = command
        .current_dir(work)
        .kill_on_drop(true)
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{:?} failed: {}{}",
        command.as_std(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

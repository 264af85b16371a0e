//! Goal: a reader who follows the README, and nothing else, has a working handler on SQLite, and
//! takes it to Postgres by one feature and one URL.
//! Method: a crate outside of this workspace, made of the README's own two blocks, is built and run
//! against the real Restate server; it is killed, and asked again.
#![cfg(all(feature = "restate", feature = "rusqlite", feature = "tokio-postgres"))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, ensure};
use exactly_once_servers::{Port, Postgres, Process, Restate, launch::Launch};
use tokio::net::TcpStream;

const README: &str = include_str!("../../README.md");
const READY: Duration = Duration::from_secs(60);

/// The first block of this language under the heading.
fn block(language: &str) -> String {
    let (_, section) = README.split_once("\n## Quick start\n").unwrap();
    let (_, block) = section.split_once(&format!("\n```{language}")).unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// The statement in the sentence below the program.
fn table() -> &'static str {
    let begin = README.find("`CREATE TABLE payment").unwrap() + 1;
    README[begin..].split('`').next().unwrap()
}

struct Crate {
    folder: tempfile::TempDir,
    port: Port,
}

impl Crate {
    fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            port: Port::reserve()?,
        })
    }

    /// Builds the README's program with this feature and URL, and gives where it is.
    fn build(&self, feature: &str, url: &str) -> Result<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = block("toml").replace("\"rusqlite\"", &format!("{feature:?}"));
        // Not published yet: so cargo gets the paths of the two packages. The profile and the lock
        // file are this workspace's, so that what is built already is not built again.
        let manifest = format!(
            "[package]\nname = \"fresh\"\nversion = \"0.0.0\"\nedition = \"2024\"\n{manifest}\n\
             [workspace]\n[patch.crates-io]\n\
             exactly-once = {{ path = {:?} }}\nexactly-once-core = {{ path = {:?} }}\n\
             [profile.dev]\ndebug = \"line-tables-only\"\n[profile.dev.package.\"*\"]\n\
             debug = false\n[profile.dev.package.exactly-once-core]\nopt-level = 2\n",
            root.join("adapters"),
            root.join("core"),
        );
        let program = block("rust").replace("sqlite:shop.db", url).replace(
            "127.0.0.1:9080",
            &format!("127.0.0.1:{}", self.port.number()),
        );
        ensure!(
            program.contains(url) && manifest.contains(feature),
            "the README has changed"
        );
        let folder = self.folder.path();
        fs::create_dir_all(folder.join("src"))?;
        fs::write(folder.join("Cargo.toml"), manifest)?;
        fs::write(folder.join("src/main.rs"), program)?;
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let debug = Path::new(env!("CARGO_BIN_EXE_exactly-once"))
            .parent()
            .unwrap();
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet"])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", debug.parent().unwrap())
            .output()?;
        ensure!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let program = folder.join("fresh");
        fs::copy(debug.join("fresh"), &program)?;
        Ok(program)
    }

    /// Runs it, charges, kills it, starts it again and asks again: the same answer.
    async fn charge(&self, program: &Path) -> Result<()> {
        let launch = Launch::new(program, self.folder.path());
        let restate = Restate::start().await?;
        let client = reqwest::Client::builder()
            .no_proxy()
            .timeout(READY)
            .build()?;
        let mut charged = Vec::new();
        for _ in 0..2 {
            let mut service = Process::start(&launch)?;
            let listens = async || {
                TcpStream::connect(("127.0.0.1", self.port.number()))
                    .await
                    .is_ok()
            };
            service.ready(READY, listens).await?;
            restate
                .register(&format!("http://127.0.0.1:{}", self.port.number()))
                .await?;
            let url = format!("{}/restate/call/Till/charge", restate.ingress_url());
            let request = client.post(url).header("idempotency-key", "order-17");
            let request = request.header("content-type", "application/json");
            let answer = request.body("500").send().await?;
            charged.push((answer.status().as_u16(), answer.text().await?));
            service.kill();
        }
        let expected = (200, "500".to_owned());
        assert_eq!(charged, [expected.clone(), expected]);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_crate_works_on_sqlite_and_then_on_postgres() -> Result<()> {
    let fresh = Crate::new()?;
    let database = rusqlite::Connection::open(fresh.folder.path().join("shop.db"))?;
    database.execute_batch(table())?;
    let program = fresh.build("rusqlite", "sqlite:shop.db")?;
    fresh.charge(&program).await?;
    let count = "SELECT count(*) FROM payment WHERE cents = 500";
    let rows: i64 = database.query_row(count, [], |row| row.get(0))?;
    assert_eq!(rows, 1);

    let server = Postgres::start(15).await?;
    server.sql("postgres", table()).await?;
    let program = fresh.build("tokio-postgres", &server.url())?;
    fresh.charge(&program).await?;
    assert_eq!(server.sql("postgres", count).await?, "1");
    Ok(())
}

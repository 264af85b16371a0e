//! Goal: the password of a URL is in no log, span, error, `Debug` or answer of the command.
//! Method: everything is logged, at the lowest level; servers whose password is known and is wrong
//! are connected to, by every backend and every command; then all that was said is searched.
#![cfg(all(
    feature = "cli",
    feature = "redis",
    feature = "rusqlite",
    feature = "sqlx-postgres",
    feature = "tokio-postgres"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fmt::Debug,
    io::Write,
    process::Command,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use exactly_once::{
    AnyStore, Claim, ConnectByUrl, ExecuteOnce, Fingerprint, IdempotencyKey, Store, WorkError,
    observe::Observed,
    postgres::{SqlxPostgresStore, TokioPostgresStore},
    redis::RedisStore,
};
use exactly_once_servers::{Postgres, Redis};

const SECRET: &str = "s3cret-pl4nted";

/// All that was said, by whomever.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn note(&self, said: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{said:?}").unwrap();
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every command, once with a table and once as JSON.
fn every_command(heard: &Heard, url: &str) {
    let named = format!("named={url}");
    let commands: [&[&str]; 15] = [
        &["doctor"],
        &["migrate", "--yes"],
        &["adopt", "--yes"],
        &["key", "show", "k"],
        &["key", "forget", "k", "--yes"],
        &["expire", "--yes"],
        &["account", "show", "a"],
        &["account", "history", "a"],
        &["in-doubt", "list"],
        &["in-doubt", "show", "00"],
        &["in-doubt", "resolve", "00", "--yes"],
        &["in-doubt", "sweep", "--yes"],
        &["in-doubt", "forget", "--yes"],
        &["in-doubt", "list", "--store", &named],
        &["no-such-command"],
    ];
    for arguments in commands {
        for more in [&[][..], &["--json"], &["--help"]] {
            let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
                .args(arguments)
                .args(more)
                .env("EXACTLY_ONCE_URL", url)
                .output()
                .unwrap();
            heard.note(&String::from_utf8_lossy(&output.stdout));
            heard.note(&String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// One effect, a replay and a failure, in spans.
async fn work<S>(heard: &Heard, store: S) -> Result<()>
where
    S: Debug + exactly_once::IdempotencyStore,
{
    heard.note(&store);
    let store = Observed::new(store);
    let claim = |name: &str| -> exactly_once::Result<Claim> {
        Ok(Claim::new(
            IdempotencyKey::new(name)?,
            Fingerprint::of("work", name)?,
        ))
    };
    for _ in 0..2 {
        store
            .execute_once(&claim("k")?, async |_tx: &mut S::Tx| Ok(1))
            .await?;
    }
    let failed = store
        .execute_once(&claim("failed")?, async |_tx: &mut S::Tx| {
            Err::<i64, _>(WorkError::from_boxed("planted".into()))
        })
        .await;
    heard.note(&failed);
    store.close().await?;
    Ok(())
}

/// What every way to connect says.
async fn connect(heard: &Heard, url: &str) {
    let said = AnyStore::connect(url).await;
    heard.note(&said);
    if url.starts_with("postgres") {
        heard.note(&TokioPostgresStore::builder(url).connect().await.map(drop));
        heard.note(&SqlxPostgresStore::builder(url).connect().await.map(drop));
    } else {
        heard.note(&RedisStore::builder(url).connect().await.map(drop));
    }
    if let Err(error) = said {
        heard.note(&error.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_ever_said() -> Result<()> {
    let heard = Heard::default();
    let writer = heard.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();

    let postgres = Postgres::start(15).await?;
    let role = format!("CREATE ROLE planted SUPERUSER LOGIN PASSWORD '{SECRET}'");
    postgres.sql("postgres", &role).await?;
    let redis = Redis::start().await?;
    redis.cli(["CONFIG", "SET", "requirepass", SECRET]).await?;
    let by = |password: &str| {
        [
            format!(
                "postgres://planted:{password}@127.0.0.1:{}/postgres",
                postgres.port()
            ),
            format!("redis://:{password}@127.0.0.1:{}", redis.port()),
        ]
    };

    let [right_postgres, right_redis] = by(SECRET);
    work(
        &heard,
        TokioPostgresStore::builder(&right_postgres)
            .connect()
            .await?,
    )
    .await?;
    work(
        &heard,
        SqlxPostgresStore::builder(&right_postgres)
            .connect()
            .await?,
    )
    .await?;
    work(&heard, RedisStore::builder(&right_redis).connect().await?).await?;
    let wrong = by(&format!("{SECRET}-not"));
    let broken = [
        format!("postgres://planted:{SECRET}@127.0.0.1:1/db?connect_timeout=1"),
        format!("postgres://planted:{SECRET}@[broken/db"),
        format!("postgres://planted:{SECRET}@127.0.0.1/db?no_such_parameter={SECRET}"),
        format!("redis://:{SECRET}@127.0.0.1:1"),
        format!("redis://:{SECRET}@[broken"),
    ];
    for url in wrong.iter().chain(&broken) {
        connect(&heard, url).await;
    }
    for url in [
        &right_postgres,
        &right_redis,
        &wrong[0],
        &wrong[1],
        &broken[0],
        &broken[3],
    ] {
        every_command(&heard, url);
    }

    let text = heard.text();
    // It was listened to: our spans, a driver's own events, the command's answers.
    for proof in [
        "db.system.name",
        "redis",
        "password authentication failed",
        "max_prepared",
    ] {
        assert!(text.contains(proof), "nothing was heard of {proof}");
    }
    let leaks: Vec<&str> = text.lines().filter(|line| line.contains(SECRET)).collect();
    assert!(leaks.is_empty(), "the secret was said: {leaks:#?}");
    Ok(())
}

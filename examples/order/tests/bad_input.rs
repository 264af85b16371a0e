//! Goal: a transaction that is set up wrongly ends with a typed error, prepares nothing, and never
//! commits a part of its work in silence. On real servers, each backend.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exactly_once::{
    ErrorKind, Fingerprint, Namespace, Participation, PreparedTransactions, Rejection, Store,
    Timestamp, TransactionId,
    postgres::{Timeouts, TokioPostgresStore},
    redis::RedisStore,
    sqlite::SqliteStore,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_servers::{Postgres, Redis};
use tempfile::TempDir;

/// Long: nothing here may end by its deadline.
const PLENTY: Duration = Duration::from_secs(60);
const FORGET: Duration = Duration::from_secs(3600);
const LOCK: Duration = Duration::from_millis(200);

struct Bench {
    orders: TokioPostgresStore,
    stock: SqliteStore,
    quota: RedisStore,
    postgres: Postgres,
    redis: Redis,
    folder: TempDir,
}

impl Bench {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (postgres, redis) = tokio::try_join!(Postgres::start(18), Redis::start())?;
        let timeouts = Timeouts {
            lock: LOCK,
            ..Timeouts::default()
        };
        let orders = TokioPostgresStore::builder(postgres.url())
            .timeouts(timeouts)
            .connect()
            .await?;
        let stock = SqliteStore::builder(folder.path().join("stock.sqlite"))
            .lock_timeout(LOCK)
            .open()
            .await?;
        let quota = RedisStore::builder(redis.url()).connect().await?;
        postgres
            .sql("postgres", "CREATE TABLE work (name text NOT NULL)")
            .await?;
        rusqlite::Connection::open(folder.path().join("stock.sqlite"))?
            .execute_batch("CREATE TABLE work (name TEXT NOT NULL) STRICT")?;
        Ok(Self {
            orders,
            stock,
            quota,
            postgres,
            redis,
            folder,
        })
    }

    async fn transaction(&self, name: &str, deadline: Duration) -> Result<Participation> {
        participation(name, self.orders.now().await?, deadline)
    }

    async fn in_doubt(&self) -> Result<usize> {
        Ok(self.orders.in_doubt(None, 10).await?.entries.len()
            + self.stock.in_doubt(None, 10).await?.entries.len()
            + self.quota.in_doubt(None, 10).await?.entries.len())
    }

    /// How much work has been committed, in each database, by plain drivers.
    async fn committed(&self) -> Result<[usize; 3]> {
        let postgres = self
            .postgres
            .sql("postgres", "SELECT count(*) FROM work")
            .await?;
        let sqlite = rusqlite::Connection::open(self.folder.path().join("stock.sqlite"))?
            .query_row("SELECT count(*) FROM work", [], |row| row.get::<_, i64>(0))?;
        let redis = self.redis.cli(["LLEN", "work"]).await?;
        Ok([
            postgres.trim().parse()?,
            usize::try_from(sqlite)?,
            redis.trim().parse()?,
        ])
    }
}

fn participation(name: &str, now: Timestamp, deadline: Duration) -> Result<Participation> {
    let not_after = now.checked_add(deadline).context("out of range")?;
    Ok(Participation::new(
        &TransactionId::new(name)?,
        Fingerprint::of("test", name)?,
        not_after,
        not_after.checked_add(FORGET).context("out of range")?,
    )?)
}

macro_rules! work {
    (orders) => {
        async |tx| {
            let insert = "INSERT INTO work VALUES ('x')";
            tx.client()?.execute(insert, &[]).await?;
            Ok(())
        }
    };
    (stock) => {
        async |tx| {
            tx.run(|connection| connection.execute("INSERT INTO work VALUES ('x')", []))
                .await?;
            Ok(())
        }
    };
    (quota) => {
        async |tx| {
            tx.rpush("work", "x")?;
            Ok(())
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_under_two_names_is_refused_before_anything_begins() -> Result<()> {
    let bench = Bench::start().await?;
    let (orders, stock, quota) = (&bench.orders, &bench.stock, &bench.quota);
    // The same data by other ways: connections of their own, another user, another path.
    bench
        .postgres
        .sql(
            "postgres",
            "CREATE ROLE other SUPERUSER LOGIN PASSWORD 'other'",
        )
        .await?;
    let port = bench.postgres.port();
    let url = format!("postgres://other:other@127.0.0.1:{port}/postgres");
    let orders_too = TokioPostgresStore::builder(url).connect().await?;
    let link = bench.folder.path().join("link.sqlite");
    std::os::unix::fs::symlink(bench.folder.path().join("stock.sqlite"), &link)?;
    let stock_too = SqliteStore::open(&link).await?;
    let quota_too = RedisStore::builder(bench.redis.url()).connect().await?;

    let twice = bench.transaction("twice", PLENTY).await?;
    let transaction = || TwoPhaseCommit::new(orders, twice.clone());
    let refused = [
        transaction()
            .participant("one", orders, work!(orders))
            .participant("two", &orders_too, work!(orders))
            .participant("stock", stock, work!(stock))
            .run()
            .await,
        transaction()
            .participant("one", stock, work!(stock))
            .participant("orders", orders, work!(orders))
            .participant("two", &stock_too, work!(stock))
            .run()
            .await,
        transaction()
            .participant("one", quota, work!(quota))
            .participant("two", &quota_too, work!(quota))
            .run()
            .await,
    ];
    for refused in refused {
        let error = refused.err().context("it was run")?;
        ensure!(error.kind() == ErrorKind::Invalid, "{error:?}");
        ensure!(error.to_string().contains("one store"), "{error}");
    }
    ensure!(bench.committed().await? == [0, 0, 0], "some of it is there");
    ensure!(bench.in_doubt().await? == 0);

    // Another schema and another database of the server are other stores.
    let schema = TokioPostgresStore::builder(bench.postgres.url())
        .schema("elsewhere")
        .connect()
        .await?;
    let database = RedisStore::builder(format!("{}/1", bench.redis.url().trim_end_matches('/')))
        .connect()
        .await?;
    let outcome = transaction()
        .participant("orders", orders, work!(orders))
        .participant("schema", &schema, work!(orders))
        .participant("quota", quota, work!(quota))
        .participant("database", &database, async |_tx| Ok(()))
        .run()
        .await?;
    ensure!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
    ensure!(bench.committed().await? == [2, 0, 1]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_participant_one_name_twice_and_a_store_without_two_phase_are_refused() -> Result<()> {
    let bench = Bench::start().await?;
    let (orders, stock) = (&bench.orders, &bench.stock);

    let none = bench.transaction("none", PLENTY).await?;
    let refused = TwoPhaseCommit::new(orders, none).run().await;
    ensure!(refused.is_err_and(|error| error.kind() == ErrorKind::Invalid));

    let named = bench.transaction("one name", PLENTY).await?;
    let refused = TwoPhaseCommit::new(orders, named)
        .participant("stock", stock, work!(stock))
        .participant("stock", orders, work!(orders))
        .run()
        .await;
    ensure!(refused.is_err_and(|error| error.kind() == ErrorKind::Invalid));

    let plain = Postgres::options(18)
        .setting("max_prepared_transactions", "0")
        .start()
        .await?;
    let plain = TokioPostgresStore::builder(plain.url()).connect().await?;
    let without = bench.transaction("without", PLENTY).await?;
    let refused = TwoPhaseCommit::new(orders, without)
        .participant("stock", stock, work!(stock))
        .participant("plain", &plain, work!(orders))
        .run()
        .await;
    ensure!(refused.is_err_and(|error| error.kind() == ErrorKind::Configuration));

    ensure!(bench.in_doubt().await? == 0);
    ensure!(bench.committed().await? == [0, 0, 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_in_the_past_rolls_back_and_one_refusal_rolls_all_back() -> Result<()> {
    let bench = Bench::start().await?;
    let (orders, stock, quota) = (&bench.orders, &bench.stock, &bench.quota);
    let now = bench.orders.now().await?;
    let half_an_hour = i64::try_from(FORGET.as_micros() / 2)?;
    let past = Timestamp::from_micros(now.as_micros() - half_an_hour);
    let past = participation("past", past, Duration::from_secs(1))?;
    let late = TwoPhaseCommit::new(orders, past)
        .participant("orders", orders, work!(orders))
        .participant("stock", stock, work!(stock))
        .participant("quota", quota, work!(quota))
        .run()
        .await?;
    ensure!(
        matches!(late, TwoPhaseOutcome::RolledBack { refused: None }),
        "{late:?}"
    );

    let refused = bench.transaction("refused", PLENTY).await?;
    let outcome = TwoPhaseCommit::new(orders, refused)
        .participant("orders", orders, work!(orders))
        .participant("stock", stock, async |_tx| {
            Err(Rejection::new(422, "out of stock").into())
        })
        .participant("quota", quota, work!(quota))
        .run()
        .await?;
    let TwoPhaseOutcome::RolledBack {
        refused: Some((name, error)),
    } = outcome
    else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(name == "stock");
    ensure!(error.kind() == ErrorKind::Rejected { status: 422 });
    ensure!(bench.in_doubt().await? == 0);
    ensure!(bench.committed().await? == [0, 0, 0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_of_another_schema_is_refused_before_anything_begins() -> Result<()> {
    let bench = Bench::start().await?;
    let connect = || TokioPostgresStore::builder(bench.postgres.url());
    let absent = connect()
        .schema("elsewhere")
        .migrate_at_connect(false)
        .connect()
        .await;
    ensure!(absent.is_err_and(|error| error.kind() == ErrorKind::Configuration));

    let newer = "UPDATE exactly_once.schema_version SET version = 99";
    bench.postgres.sql("postgres", newer).await?;
    let newer = connect().connect().await;
    ensure!(newer.is_err_and(|error| error.kind() == ErrorKind::Configuration));

    let file = bench.folder.path().join("stock.sqlite");
    rusqlite::Connection::open(&file)?
        .execute_batch("UPDATE exactly_once_meta SET schema_version = 99")?;
    let newer = SqliteStore::builder(&file)
        .namespace(Namespace::new("other")?)
        .open()
        .await;
    ensure!(newer.is_err_and(|error| error.kind() == ErrorKind::Configuration));
    ensure!(bench.in_doubt().await? == 0);
    Ok(())
}

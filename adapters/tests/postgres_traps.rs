//! The traps of PostgreSQL, each with a test that fails where the store does not answer it.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

#[path = "support/postgres_world.rs"]
mod world;

use std::time::Duration;

use exactly_once::{
    Adjust, Amount, BalanceStore, BegunPrepared, Claimed, ErrorKind, FencingToken,
    IdempotencyStore, Namespace, OneShot, OneShotStore, OpenAccount, Outcome, PreparedStatus,
    PreparedTransactions, Receipt, Statement, Store, Transactional,
    postgres::{Timeouts, TokioPostgresStore, TokioPostgresTx},
};
use exactly_once_servers::{Pgbouncer, Postgres};
use world::{World, claim, major, participation, refused, timeouts, world};

async fn store(world: &World) -> TokioPostgresStore {
    connect(&world.url()).await
}

async fn connect(url: &str) -> TokioPostgresStore {
    let builder = TokioPostgresStore::builder(url).timeouts(timeouts());
    builder.connect().await.unwrap()
}

async fn fresh(store: &TokioPostgresStore, name: &str) -> TokioPostgresTx {
    match store.claim(&claim(name)).await.unwrap() {
        Claimed::Fresh(tx) => tx,
        other => panic!("{other:?}"),
    }
}

async fn begun(
    store: &TokioPostgresStore,
    name: &str,
) -> (TokioPostgresTx, exactly_once::Participation) {
    let participation = participation(store, name).await;
    match store.begin_prepared(&participation).await.unwrap() {
        BegunPrepared::Fresh(tx) => (tx, participation),
        other => panic!("{other:?}"),
    }
}

fn receipt() -> Receipt {
    Receipt::from_bytes("r")
}

// 1. Off by default, and a reload does not turn it on.
#[tokio::test(flavor = "multi_thread")]
async fn two_phase_off_is_found_at_connect() {
    let server = Postgres::options(major())
        .setting("max_prepared_transactions", "0")
        .start()
        .await
        .unwrap();
    let builder = || TokioPostgresStore::builder(server.url());
    let words = ["max_prepared_transactions", "ALTER SYSTEM", "RESTART"];
    let answer = builder().require_two_phase(true).connect().await;
    refused(answer, ErrorKind::Configuration, &words);
    let store = builder().connect().await.unwrap();
    assert_eq!(store.capabilities().two_phase, exactly_once::TwoPhase::None);
    let answer = store
        .begin_prepared(&participation(&store, "t").await)
        .await;
    refused(answer, ErrorKind::Configuration, &words);
}

// 1. Slots full is 53200: try later, nothing left.
#[tokio::test(flavor = "multi_thread")]
async fn no_free_slot_leaves_nothing() {
    let server = Postgres::options(major())
        .setting("max_prepared_transactions", "1")
        .start()
        .await
        .unwrap();
    let store = connect(&server.url()).await;
    let (one, first) = begun(&store, "one").await;
    store.prepare(one, &first).await.unwrap();
    let (two, second) = begun(&store, "two").await;
    refused(
        store.prepare(two, &second).await,
        ErrorKind::Busy,
        &["max_prepared_transactions"],
    );
    assert_eq!(
        store.prepared_status(&second).await.unwrap(),
        PreparedStatus::None
    );
    store.commit_prepared(&first).await.unwrap();
    let (two, second) = begun(&store, "two").await;
    store.prepare(two, &second).await.unwrap();
    store.rollback_prepared(&second).await.unwrap();
}

// 4, 13, 14. Nothing is taken from the server's defaults.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_defaults_change_nothing() {
    let world = world().await;
    world
        .sql("CREATE TABLE t (n int8); CREATE SCHEMA odd")
        .await;
    for (name, value) in [
        ("default_transaction_isolation", "serializable"),
        ("default_transaction_read_only", "on"),
        ("standard_conforming_strings", "off"),
        ("backslash_quote", "on"),
        ("synchronous_commit", "off"),
        ("search_path", "odd"),
        ("bytea_output", "escape"),
        ("datestyle", "German"),
        ("timezone", "'Pacific/Chatham'"),
        ("lock_timeout", "0"),
        ("statement_timeout", "0"),
    ] {
        let set = format!("ALTER DATABASE {} SET {name} = {value}", world.database);
        world.server.sql("postgres", &set).await.unwrap();
    }
    let nasty = "\\'; DROP TABLE t; -- \u{202e}\n";
    let store = store(&world)
        .await
        .with_namespace(Namespace::new(nasty).unwrap());
    let tx = fresh(&store, nasty).await;
    for (name, value) in [
        ("transaction_isolation", "read committed"),
        ("transaction_read_only", "off"),
        ("synchronous_commit", "on"),
        ("lock_timeout", "300ms"),
        ("statement_timeout", "10s"),
        // The user's own.
        ("search_path", "odd"),
    ] {
        let row = tx
            .client()
            .unwrap()
            .query_one(&format!("SHOW {name}"), &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, String>(0), value, "{name}");
    }
    tx.client()
        .unwrap()
        .execute("INSERT INTO public.t VALUES (1)", &[])
        .await
        .unwrap();
    let _ = store
        .complete(tx, &claim(nasty), &Receipt::from_bytes(nasty))
        .await
        .unwrap();
    match store.claim(&claim(nasty)).await.unwrap() {
        Claimed::Completed(Outcome::Applied(receipt)) => {
            assert_eq!(receipt.as_bytes(), nasty.as_bytes());
        }
        other => panic!("{other:?}"),
    }
    let effect = OneShot {
        claim: claim("one shot"),
        statements: vec![Statement::new("INSERT INTO public.t SELECT length($1)").bind(nasty)],
        receipt: receipt(),
    };
    store.execute_one_shot(&effect).await.unwrap();
    let length = nasty.chars().count().to_string();
    assert_eq!(
        world
            .sql("SET search_path = public; SELECT max(n) FROM t")
            .await,
        length
    );
    let (tx, participation) = begun(&store, nasty).await;
    store.prepare(tx, &participation).await.unwrap();
    assert_eq!(store.in_doubt(None, 9).await.unwrap().entries.len(), 1);
    store.commit_prepared(&participation).await.unwrap();
}

// 5. COMMIT and PREPARE in an aborted block succeed with the tag ROLLBACK, which drivers hide.
#[tokio::test(flavor = "multi_thread")]
async fn a_swallowed_error_is_never_a_silent_loss() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    // The trap is there: the driver's own commit says ok.
    let tx = store.begin().await.unwrap();
    tx.client()
        .unwrap()
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    assert!(
        tx.client()
            .unwrap()
            .execute("INSERT INTO nowhere VALUES (1)", &[])
            .await
            .is_err()
    );
    tx.client().unwrap().batch_execute("COMMIT").await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    drop(tx);

    let spoil = async |tx: &TokioPostgresTx| {
        tx.client()
            .unwrap()
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
        assert!(
            tx.client()
                .unwrap()
                .execute("INSERT INTO nowhere VALUES (1)", &[])
                .await
                .is_err()
        );
    };
    let tx = store.begin().await.unwrap();
    spoil(&tx).await;
    refused(
        store.commit(tx).await,
        ErrorKind::WorkFailed,
        &["swallowed"],
    );
    let tx = fresh(&store, "k").await;
    spoil(&tx).await;
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::WorkFailed, &["swallowed"]);
    let (tx, participation) = begun(&store, "t").await;
    spoil(&tx).await;
    refused(
        store.prepare(tx, &participation).await,
        ErrorKind::WorkFailed,
        &["swallowed"],
    );
    assert_eq!(
        store.prepared_status(&participation).await.unwrap(),
        PreparedStatus::None
    );
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
    world.nothing_open().await;
}

// 5. PREPARE and COMMIT outside of the transaction that was begun can't be reached.
#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_the_transaction_itself_is_told_so() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    for end in [
        "ROLLBACK",
        "COMMIT",
        "ROLLBACK; BEGIN",
        "COMMIT; BEGIN; INSERT INTO t VALUES (1)",
    ] {
        let before = world.sql("SELECT count(*) FROM t").await;
        let (tx, participation) = begun(&store, &format!("prepared {end}")).await;
        tx.client().unwrap().batch_execute(end).await.unwrap();
        let answer = store.prepare(tx, &participation).await;
        refused(
            answer,
            ErrorKind::Invalid,
            &["ended the transaction itself"],
        );
        assert!(store.in_doubt(None, 9).await.unwrap().entries.is_empty());
        let key = format!("completed {end}");
        let tx = fresh(&store, &key).await;
        tx.client().unwrap().batch_execute(end).await.unwrap();
        let answer = store.complete(tx, &claim(&key), &receipt()).await;
        refused(
            answer,
            ErrorKind::Invalid,
            &["ended the transaction itself"],
        );
        let tx = store.begin().await.unwrap();
        tx.client().unwrap().batch_execute(end).await.unwrap();
        assert!(store.commit(tx).await.is_err());
        assert_eq!(world.sql("SELECT count(*) FROM t").await, before, "{end}");
    }
    world.nothing_open().await;
}

// 6. A pool's connection with somebody's transaction open on it is not written in.
#[tokio::test(flavor = "multi_thread")]
async fn a_dirty_connection_of_the_users_pool_is_not_used() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let config = world.url().parse().unwrap();
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(1)
        .build()
        .unwrap();
    let builder = TokioPostgresStore::from_pool(pool.clone()).timeouts(timeouts());
    let store = builder.connect().await.unwrap();
    let leaks = [
        "BEGIN; INSERT INTO t VALUES (1)",
        "BEGIN ISOLATION LEVEL SERIALIZABLE; INSERT INTO t VALUES (1)",
        "BEGIN; INSERT INTO t VALUES (1); SAVEPOINT a",
    ];
    for (at, leak) in leaks.iter().enumerate() {
        let dirty = async || pool.get().await.unwrap().batch_execute(leak).await.unwrap();
        let key = format!("k{at}");
        dirty().await;
        let tx = fresh(&store, &key).await;
        let _ = store.complete(tx, &claim(&key), &receipt()).await.unwrap();
        dirty().await;
        assert!(store.lookup(claim(&key).key()).await.unwrap().is_some());
        dirty().await;
        let open = OpenAccount::new(
            claim(&key).key().clone(),
            exactly_once::AccountId::new(&*key).unwrap(),
        );
        store.open_account(&open).await.unwrap();
        let (tx, participation) = begun(&store, &key).await;
        store.prepare(tx, &participation).await.unwrap();
        dirty().await;
        store.commit_prepared(&participation).await.unwrap();
    }
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    world.nothing_open().await;
}

// 6. What is dropped closes its connection, and a pool of one goes on with a new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_transaction_rolls_back() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let builder = TokioPostgresStore::builder(world.url())
        .timeouts(timeouts())
        .pool_size(1);
    let store = builder.connect().await.unwrap();
    for round in 0..3 {
        let tx = fresh(&store, "k").await;
        tx.client()
            .unwrap()
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
        drop(tx);
        let (tx, _) = begun(&store, &format!("t{round}")).await;
        drop(tx);
    }
    world.nothing_open().await;
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
}

// 7. Only the role that prepared may finish; identifiers of other databases are not ours.
#[tokio::test(flavor = "multi_thread")]
async fn another_role_and_another_database() {
    let (world, elsewhere) = (world().await, world().await);
    let app = format!("app_{}", world.database);
    world
        .sql(&format!("CREATE ROLE {app} LOGIN PASSWORD 'app'"))
        .await;
    let owner = store(&world).await;
    let url = world
        .url()
        .replace("postgres:throwaway", &format!("{app}:app"));
    let builder = || TokioPostgresStore::builder(&url).timeouts(timeouts());
    // Without rights: told which. With the least of rights: fine, and no DDL is tried.
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["42501"],
    );
    world
        .sql(&format!("GRANT USAGE ON SCHEMA exactly_once TO {app}"))
        .await;
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["GRANT"],
    );
    world
        .sql(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA exactly_once TO {app}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA exactly_once TO {app}"
        ))
        .await;
    let other = builder().connect().await.unwrap();
    other.migrate().await.unwrap();
    let (tx, participation) = begun(&owner, "t").await;
    owner.prepare(tx, &participation).await.unwrap();
    let answer = other.commit_prepared(&participation).await;
    refused(answer, ErrorKind::Configuration, &["role that prepared"]);
    let answer = other.rollback_prepared(&participation).await;
    refused(answer, ErrorKind::Configuration, &["role that prepared"]);
    // The same name in another database of the cluster is another transaction.
    let far = store(&elsewhere).await;
    assert!(far.in_doubt(None, 9).await.unwrap().entries.is_empty());
    assert_eq!(
        far.prepared_status(&participation).await.unwrap(),
        PreparedStatus::None
    );
    refused(
        far.commit_prepared(&participation).await,
        ErrorKind::NotPrepared,
        &[],
    );
    let BegunPrepared::Fresh(tx) = far.begin_prepared(&participation).await.unwrap() else {
        panic!("it is another one");
    };
    far.prepare(tx, &participation).await.unwrap();
    owner.commit_prepared(&participation).await.unwrap();
    far.rollback_prepared(&participation).await.unwrap();
}

// 8. A key that is held is told in time, and the request behind it is compared all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_key_is_in_progress_or_a_mismatch() {
    let world = world().await;
    let store = store(&world).await;
    let tx = fresh(&store, "k").await;
    let started = std::time::Instant::now();
    assert!(matches!(
        store.claim(&claim("k")).await.unwrap(),
        Claimed::InProgress { .. }
    ));
    let other = exactly_once::Claim::new(
        claim("k").key().clone(),
        exactly_once::Fingerprint::of("test", "another").unwrap(),
    );
    assert!(matches!(
        store.claim(&other).await.unwrap(),
        Claimed::Mismatch
    ));
    assert!(started.elapsed() < Duration::from_secs(5));
    store.rollback(tx).await.unwrap();
    assert!(matches!(
        store.claim(&other).await.unwrap(),
        Claimed::Fresh(_)
    ));
    world.nothing_open().await;
}

// 9, 10. Work that can't be prepared is refused for good, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_prepared_leaves_nothing() {
    let world = world().await;
    world
        .sql(
            "CREATE TABLE parents (id int8 PRIMARY KEY); \
             CREATE TABLE children (parent int8 REFERENCES parents DEFERRABLE INITIALLY DEFERRED, \
             UNIQUE (parent) DEFERRABLE INITIALLY DEFERRED); INSERT INTO parents VALUES (1)",
        )
        .await;
    let store = store(&world).await;
    for (at, work) in [
        "CREATE TEMPORARY TABLE x (n int8)",
        "NOTIFY channel",
        "LISTEN channel",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_export_snapshot()",
        "INSERT INTO children VALUES (7)",
        "INSERT INTO children VALUES (1), (1)",
    ]
    .iter()
    .enumerate()
    {
        let (tx, participation) = begun(&store, &format!("t{at}")).await;
        tx.client().unwrap().batch_execute(work).await.unwrap();
        refused(
            store.prepare(tx, &participation).await,
            ErrorKind::Refused,
            &[],
        );
        assert_eq!(
            store.prepared_status(&participation).await.unwrap(),
            PreparedStatus::None
        );
        store.rollback_prepared(&participation).await.unwrap();
    }
    assert!(store.in_doubt(None, 9).await.unwrap().entries.is_empty());
    world.nothing_open().await;
}

// 12. A statement timeout must not acknowledge a commit that no standby has.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_a_standby_is_not_acknowledged() {
    let server = Postgres::start(major()).await.unwrap();
    let impatient = Timeouts {
        lock: Duration::from_millis(300),
        statement: Duration::from_millis(700),
        reply: Duration::from_millis(1_500),
        ..Timeouts::default()
    };
    let builder = TokioPostgresStore::builder(server.url()).timeouts(impatient);
    let store = builder.connect().await.unwrap();
    let tx = fresh(&store, "k").await;
    let (prepared, participation) = begun(&store, "t").await;
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let answer = store.complete(tx, &claim("k"), &receipt()).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
    let answer = store.prepare(prepared, &participation).await;
    refused(answer, ErrorKind::Ambiguous, &[]);
}

// 14. Behind a transaction pooler, nothing of a session leaks.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaks_through_a_transaction_pooler() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let pooler = Pgbouncer::start(&world.server).await.unwrap();
    let store = connect(&pooler.database_url(&world.database)).await;
    for round in 0..20 {
        let name = format!("k{round}");
        let tx = fresh(&store, &name).await;
        let _ = store.complete(tx, &claim(&name), &receipt()).await.unwrap();
        let effect = OneShot {
            claim: claim(&format!("one shot {round}")),
            statements: vec![Statement::new("INSERT INTO t VALUES ($1)").bind(round)],
            receipt: receipt(),
        };
        store.execute_one_shot(&effect).await.unwrap();
        let refusal = OneShot {
            claim: claim(&format!("refused {round}")),
            statements: vec![Statement::new("INSERT INTO t VALUES ($1 / 0)").bind(round)],
            receipt: receipt(),
        };
        assert!(store.execute_one_shot(&refusal).await.is_err());
        let (tx, participation) = begun(&store, &name).await;
        store.prepare(tx, &participation).await.unwrap();
        store.commit_prepared(&participation).await.unwrap();
    }
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "20");
    let (client, connection) =
        tokio_postgres::connect(&pooler.database_url(&world.database), tokio_postgres::NoTls)
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..20 {
        let messages = client
            .simple_query(
                "SELECT current_setting('lock_timeout'), current_setting('statement_timeout'), \
                 (SELECT count(*) FROM pg_prepared_statements WHERE name !~ '^exactly_once_[0-9a-f]{32}$')",
            )
            .await
            .unwrap();
        for message in messages {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                assert_eq!([row.get(0), row.get(1), row.get(2)], [Some("0"); 3]);
            }
        }
    }
}

// 15. Ten sessions at CREATE TABLE IF NOT EXISTS fail; under a lock they don't.
#[tokio::test(flavor = "multi_thread")]
async fn ten_migrate_at_once() {
    let world = world().await;
    for round in 0..5 {
        let schema = format!("odd \"schema\" \\' {round}");
        let connects = (0..10).map(|_| {
            TokioPostgresStore::builder(world.url())
                .schema(&schema)
                .timeouts(timeouts())
                .pool_size(1)
                .connect()
        });
        for connected in futures_util::future::join_all(connects).await {
            connected.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_tables_is_refused() {
    let world = world().await;
    let builder = || TokioPostgresStore::builder(world.url());
    let words = ["migrate()"];
    let answer = builder().migrate_at_connect(false).connect().await;
    refused(answer, ErrorKind::Configuration, &words);
    builder().connect().await.unwrap();
    builder().migrate_at_connect(false).connect().await.unwrap();
    world
        .sql("UPDATE exactly_once.schema_version SET version = 999")
        .await;
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["999"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unsafe_disk_settings_are_refused() {
    let server = Postgres::options(major())
        .fsync(false)
        .start()
        .await
        .unwrap();
    let builder = || TokioPostgresStore::builder(server.url());
    let words = ["fsync", "ALTER SYSTEM SET fsync = on"];
    refused(builder().connect().await, ErrorKind::Configuration, &words);
    let store = builder()
        .accept_unsafe_durability(true)
        .connect()
        .await
        .unwrap();
    assert_eq!(
        store.capabilities().durability,
        exactly_once::Durability::Process
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_urls_are_typed_and_keep_the_password() {
    let world = world().await;
    let url = world.url();
    let secret = url.replace("throwaway", "sesame-42");
    let kind = |url: String| async move {
        let builder = TokioPostgresStore::builder(url);
        assert!(!format!("{builder:?}").contains("sesame-42"));
        let error = builder.connect().await.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("sesame-42"),
            "{error}"
        );
        error.kind()
    };
    assert_eq!(kind(secret.clone()).await, ErrorKind::Configuration);
    assert_eq!(
        kind(format!("{url}_missing")).await,
        ErrorKind::Configuration
    );
    for broken in [
        "nonsense sesame-42",
        "postgres://a:sesame-42@h:port/d",
        "postgres://u:sesame-42@h/d?x=y",
    ] {
        assert_eq!(
            kind(broken.to_owned()).await,
            ErrorKind::Configuration,
            "{broken}"
        );
    }
    let nobody = "postgres://u:sesame-42@127.0.0.1:1/d".to_owned();
    assert_eq!(kind(nobody).await, ErrorKind::Unavailable);
}

// Opposing transfers and adjustments meet in one order; what does not fit is told as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_with_nested_use_is_busy_and_not_a_deadlock() {
    let world = world().await;
    let starved = Timeouts {
        acquire: Duration::from_millis(200),
        ..timeouts()
    };
    let builder = TokioPostgresStore::builder(world.url())
        .timeouts(starved)
        .pool_size(1);
    let store = builder.connect().await.unwrap();
    let tx = fresh(&store, "k").await;
    let key = claim("a").key().clone();
    let adjust = Adjust::new(
        key,
        exactly_once::AccountId::new("a").unwrap(),
        Amount::new(1),
    );
    refused(store.adjust(&adjust).await, ErrorKind::Busy, &["pool"]);
    let _ = store.complete(tx, &claim("k"), &receipt()).await.unwrap();
    let lease = exactly_once::LeaseStore::release(&store, &claim("l"), FencingToken::new(1)).await;
    lease.unwrap();
    store.close().await.unwrap();
    refused(store.now().await, ErrorKind::Unavailable, &["closed"]);
}

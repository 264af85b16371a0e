//! Traps 3, 4 and 16: identifiers of prepared transactions are cluster-wide, short, and one code
//! says two things; and names are as long as ours may be.

use std::time::Duration;

use exactly_once::{
    BalanceStore, BegunPrepared, ErrorKind, IdempotencyStore, Namespace, OneShot, OneShotStore,
    OpenAccount, PreparedStatus, PreparedTransactions, Statement, Store,
    postgres::TokioPostgresStore,
};
use exactly_once_servers::Postgres;
use tokio_postgres::NoTls;

use crate::{
    connect, fresh, prepared, receipt, run, store,
    world::{World, claim, major, participation, refused, world},
};

/// The identifiers that are prepared in this world.
async fn identifiers(world: &World) -> Vec<String> {
    let sql = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()";
    world.sql(sql).await.lines().map(str::to_owned).collect()
}

// 3. 42710: the identifier is taken. What was to be prepared is rolled back, and reported so.
#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_in_use_leaves_nothing() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    let first = prepared(&store, "t").await;
    let gid = identifiers(&world).await.remove(0);
    // As a person would who cleans up by hand; the name is fresh again then.
    world.sql(&format!("ROLLBACK PREPARED '{gid}'")).await;
    let BegunPrepared::Fresh(tx) = store.begin_prepared(&first).await.unwrap() else {
        panic!("it is not fresh");
    };
    run(&tx, "INSERT INTO t VALUES (1)").await;
    let (client, connection) = tokio_postgres::connect(&world.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = format!("BEGIN; SELECT 1; PREPARE TRANSACTION '{gid}'");
    client.batch_execute(&sql).await.unwrap();
    refused(
        store.prepare(tx, &first).await,
        ErrorKind::Busy,
        &["identifier is in use"],
    );
    world.nothing_open().await;
    world.sql(&format!("ROLLBACK PREPARED '{gid}'")).await;
    assert_eq!(
        store.prepared_status(&first).await.unwrap(),
        PreparedStatus::None
    );
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
}

// 3. 42704 is said of what was committed, rolled back and never prepared: the marker keeps them
// apart.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_identifier_is_looked_up() {
    let world = world().await;
    let store = store(&world).await;
    let never = participation(&store, "never").await;
    let (committed, undone) = (prepared(&store, "a").await, prepared(&store, "b").await);
    store.commit_prepared(&committed).await.unwrap();
    store.rollback_prepared(&undone).await.unwrap();
    let (answers, kinds) = (
        [
            store.commit_prepared(&committed).await,
            store.rollback_prepared(&undone).await,
        ],
        [
            (store.commit_prepared(&never).await, ErrorKind::NotPrepared),
            (store.commit_prepared(&undone).await, ErrorKind::RolledBack),
            (
                store.rollback_prepared(&committed).await,
                ErrorKind::Committed,
            ),
        ],
    );
    for answer in answers {
        answer.unwrap();
    }
    for (answer, kind) in kinds {
        refused(answer, kind, &[]);
    }
}

// 3. 55000 "is busy": another session is finishing it. Held open here by a standby that never
// answers, which leaves the other session waiting inside its COMMIT PREPARED.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_session_is_finishing_is_busy_and_not_off() {
    let server = Postgres::start(major()).await.unwrap();
    let store = connect(&server.url()).await;
    let transaction = prepared(&store, "t").await;
    let gid = server.sql("postgres", "SELECT gid FROM pg_prepared_xacts");
    let gid = gid.await.unwrap();
    server
        .set("synchronous_standby_names", "nobody")
        .await
        .unwrap();
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let other = tokio::spawn(async move {
        let sql = format!("COMMIT PREPARED '{gid}'");
        client.batch_execute(&sql).await
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while server.sql("postgres", waits).await.unwrap() != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for answer in [
        store.commit_prepared(&transaction).await,
        store.rollback_prepared(&transaction).await,
    ] {
        let error = answer.unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    }
    server.set("synchronous_standby_names", "").await.unwrap();
    other.await.unwrap().unwrap();
    store.commit_prepared(&transaction).await.unwrap();
    let answer = store.rollback_prepared(&transaction).await;
    refused(answer, ErrorKind::Committed, &[]);
}

// 4, 16. The longest names, which compress badly: an identifier stays short and plain, and an index
// takes them all.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_names_fit_everywhere() {
    let world = world().await;
    let random: String = (0..255_u32)
        .map(|at| char::from(33 + (at.wrapping_mul(2_654_435_761) >> 16) as u8 % 94))
        .collect();
    let store = store(&world)
        .await
        .with_namespace(Namespace::new(&*random).unwrap());
    let tx = fresh(&store, &random).await;
    let _ = store
        .complete(tx, &claim(&random), &receipt())
        .await
        .unwrap();
    let account = exactly_once::AccountId::new(&*random).unwrap();
    let open = OpenAccount::new(claim("open").key().clone(), account);
    store.open_account(&open).await.unwrap();
    let transaction = prepared(&store, &random).await;
    let gid = identifiers(&world).await.remove(0);
    assert!(gid.len() <= 199, "{} bytes", gid.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    assert!(gid.bytes().all(plain), "{gid}");
    store.commit_prepared(&transaction).await.unwrap();
    assert!(Namespace::new(format!("{random}x")).is_err());
}

// 4. What no identifier and no text of the server can hold is refused, and nothing is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_cannot_hold_is_refused() {
    let world = world().await;
    world.sql("CREATE TABLE t (name text)").await;
    for schema in [&"x".repeat(64), "a\0b", "", "pg_mine"] {
        let builder = TokioPostgresStore::builder(world.url()).schema(schema);
        refused(
            builder.connect().await,
            ErrorKind::Configuration,
            &["schema"],
        );
    }
    let store = store(&world).await;
    let effect = OneShot {
        claim: claim("k"),
        statements: vec![Statement::new("INSERT INTO t VALUES ($1)").bind("a\0b")],
        receipt: receipt(),
    };
    let answer = store.execute_one_shot(&effect).await;
    refused(answer, ErrorKind::Invalid, &[]);
    assert_eq!(store.lookup(claim("k").key()).await.unwrap(), None);
    assert_eq!(world.sql("SELECT count(*) FROM t").await, "0");
    // Of 200 bytes, with all that quoting could stumble over.
    let nasty = "'\"\\$;".repeat(40);
    let transaction = prepared(&store, &nasty).await;
    store.commit_prepared(&transaction).await.unwrap();
}

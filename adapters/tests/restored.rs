//! Goal: a copy of a store's data is distinguished from its original, and a store that was restored to an
//! earlier state raises an alarm instead of a silent difference. Method: real copies of a file and of a
//! database, beside their originals and in their place.
#![cfg(all(feature = "rusqlite", feature = "tokio-postgres"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{fs, path::Path, time::Duration};

use exactly_once::{
    AnyStore, AnyTx, BegunPrepared, ConnectByUrl, Decision, DecisionRegister, ErrorKind,
    Fingerprint, Participants, Participation, PreparedStatus, PreparedTransactions, Store,
    TransactionId, identity_of,
    two_phase::{SweepReport, Sweeper, TwoPhaseCommit, TwoPhaseOutcome},
};
use exactly_once_conformance::faults::proxy::Proxy;
use exactly_once_servers::Postgres;

async fn connect(url: &str) -> AnyStore {
    AnyStore::connect(url).await.unwrap()
}

/// A transaction that is late in so many milliseconds.
async fn within(register: &AnyStore, name: &str, millis: u64) -> Participation {
    let not_after = register.now().await.unwrap();
    let not_after = not_after
        .checked_add(Duration::from_millis(millis))
        .unwrap();
    let forget_after = not_after.checked_add(Duration::from_secs(3_600)).unwrap();
    let request = Fingerprint::of("order", name).unwrap();
    let name = TransactionId::new(name).unwrap();
    Participation::new(&name, request, not_after, forget_after).unwrap()
}

async fn entitled(work: Participation, register: &AnyStore, other: &AnyStore) -> Participation {
    let held = identity_of(register).await.unwrap();
    let other = identity_of(other).await.unwrap();
    work.entitled(held, Participants::of([held, other]))
}

async fn prepare(store: &AnyStore, work: &Participation) {
    let BegunPrepared::Fresh(tx) = store.begin_prepared(work).await.unwrap() else {
        panic!("it is not fresh");
    };
    store.prepare(tx, work).await.unwrap();
}

async fn wait(store: &AnyStore, work: &Participation) {
    while store.now().await.unwrap() <= work.not_after() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(
    orders: &AnyStore,
    stock: &AnyStore,
    name: &str,
) -> exactly_once::Result<TwoPhaseOutcome> {
    let work = within(orders, name, 60_000).await;
    TwoPhaseCommit::new(orders, work)
        .participant("orders", orders, async |_tx: &mut AnyTx| Ok(()))
        .participant("stock", stock, async |_tx: &mut AnyTx| Ok(()))
        .run()
        .await
}

async fn sweep(orders: &AnyStore, stock: &AnyStore) -> SweepReport {
    let sweeper = Sweeper::new(orders.clone());
    let sweeper = sweeper.participant("orders", orders.clone()).unwrap();
    let sweeper = sweeper.participant("stock", stock.clone()).unwrap();
    sweeper.sweep().await.unwrap()
}

/// A copy beside its original: distinguished where they meet, and two stores once the copy is adopted.
async fn distinguished(original_url: &str, copy_url: &str) {
    let (original, copy) = (connect(original_url).await, connect(copy_url).await);
    let both = original.identity().await.unwrap();
    assert_eq!(copy.identity().await.unwrap(), both, "a copy keeps it");
    let refused = run(&original, &copy, "met").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(
        refused.to_string().contains("exactly-once adopt"),
        "{refused}"
    );
    for store in [&original, &copy] {
        let page = store.in_doubt(None, 9).await.unwrap();
        assert_eq!(page.entries, [], "nothing was begun");
    }
    for (register, other) in [(&original, &copy), (&copy, &original)] {
        let report = sweep(register, other).await;
        let said: Vec<_> = report.failed.iter().map(ToString::to_string).collect();
        assert!(
            said.len() == 1 && said[0].contains("exactly-once adopt"),
            "{said:?}"
        );
    }

    let adopted = copy.adopt().await.unwrap();
    assert_ne!(adopted, both);
    copy.close().await.unwrap();
    let copy = connect(copy_url).await;
    assert_eq!(copy.identity().await.unwrap(), adopted);
    assert_eq!(connect(original_url).await.identity().await.unwrap(), both);
    for (orders, stock, name) in [(&original, &copy, "one"), (&copy, &original, "two")] {
        let outcome = run(orders, stock, name).await.unwrap();
        assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
        let report = sweep(orders, stock).await;
        assert!(
            report.failed.is_empty() && report.alarms.is_empty(),
            "{report:?}"
        );
    }
}

fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

/// A backup, as SQLite's own makes it, of a file that may be in use.
fn back_up(from: &Path, to: &Path) {
    let from = rusqlite::Connection::open(from).unwrap();
    let to = to.to_str().unwrap();
    from.execute("VACUUM INTO ?1", [to]).unwrap();
}

/// Puts a backup in the place of a file whose store is closed.
fn restore(backup: &Path, file: &Path) {
    for end in ["-wal", "-shm"] {
        let mut beside = file.as_os_str().to_owned();
        beside.push(end);
        // It is there if the last connection has not ended yet.
        let _ = fs::remove_file(beside);
    }
    fs::rename(backup, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_file_is_told_from_its_original() {
    let folder = tempfile::tempdir().unwrap();
    let [original, copy] = ["shop.db", "copy.db"].map(|name| folder.path().join(name));
    connect(&url_of(&original)).await.close().await.unwrap();
    back_up(&original, &copy);
    distinguished(&url_of(&original), &url_of(&copy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_made_from_a_template_is_told_from_its_original() {
    let server = Postgres::start(15).await.unwrap();
    let original = server.create_database("shop").await.unwrap();
    connect(&original).await.close().await.unwrap();
    let copy = "CREATE DATABASE copy TEMPLATE shop";
    server.sql("postgres", copy).await.unwrap();
    distinguished(&original, &server.database_url("copy")).await;
}

// The participant's half of a commit is gone with a restore: lost, until it is settled.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_was_restored_to_before_its_vote_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let [orders, stock, backup] =
        ["orders.db", "stock.db", "backup.db"].map(|name| folder.path().join(name));
    connect(&url_of(&stock)).await.close().await.unwrap();
    back_up(&stock, &backup);
    let url = url_of(&stock);
    let orders = connect(&url_of(&orders)).await;
    lost(&orders, &url, async || restore(&backup, &stock)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_to_before_its_vote_is_lost() {
    let server = Postgres::start(15).await.unwrap();
    let stock = server.create_database("stock").await.unwrap();
    connect(&stock).await.close().await.unwrap();
    let backup = "CREATE DATABASE backup TEMPLATE stock";
    server.sql("postgres", backup).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let orders = connect(&url_of(&folder.path().join("orders.db"))).await;
    lost(&orders, &stock, async || {
        for sql in [
            "DROP DATABASE stock WITH (FORCE)",
            "ALTER DATABASE backup RENAME TO stock",
        ] {
            server.sql("postgres", sql).await.unwrap();
        }
    })
    .await;
}

async fn lost(orders: &AnyStore, stock_url: &str, restore: impl AsyncFnOnce()) {
    let stock = connect(stock_url).await;
    let work = within(orders, "lost", 1_500).await;
    let work = entitled(work, orders, &stock).await;
    for store in [orders, &stock] {
        prepare(store, &work).await;
    }
    let decided = orders.decide(&work, Decision::Commit).await.unwrap();
    assert_eq!(decided, Decision::Commit);
    stock.commit_prepared(&work).await.unwrap();
    stock.close().await.unwrap();
    restore().await;
    let stock = connect(stock_url).await;
    for store in [orders, &stock] {
        wait(store, &work).await;
    }
    for _ in 0..2 {
        let report = sweep(orders, &stock).await;
        let kinds: Vec<_> = report
            .alarms
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Lost], "{report:?}");
        assert!(
            report.alarms[0].to_string().contains("\"stock\""),
            "{report:?}"
        );
        assert_eq!(report.unfinished.len(), 1, "{report:?}");
    }
    let status = orders.prepared_status(&work).await.unwrap();
    assert_eq!(status, PreparedStatus::Committed);
}

// The register forgot its decision with a restore: what was committed by it disagrees with what is
// rolled back now, and that is reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_was_restored_to_before_its_decision_is_heuristic() {
    let folder = tempfile::tempdir().unwrap();
    let [orders_file, stock_file, backup] =
        ["orders.db", "stock.db", "backup.db"].map(|name| folder.path().join(name));
    let (orders_url, stock_url) = (url_of(&orders_file), url_of(&stock_file));
    let (orders, stock) = (connect(&orders_url).await, connect(&stock_url).await);
    let work = within(&orders, "heuristic", 1_500).await;
    let work = entitled(work, &orders, &stock).await;
    for store in [&orders, &stock] {
        prepare(store, &work).await;
    }
    back_up(&orders_file, &backup);
    let decided = orders.decide(&work, Decision::Commit).await.unwrap();
    assert_eq!(decided, Decision::Commit);
    stock.commit_prepared(&work).await.unwrap();
    orders.close().await.unwrap();
    restore(&backup, &orders_file);
    let orders = connect(&orders_url).await;
    wait(&orders, &work).await;
    for _ in 0..2 {
        let report = sweep(&orders, &stock).await;
        let kinds: Vec<_> = report
            .alarms
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Heuristic], "{report:?}");
        assert!(
            report.alarms[0].to_string().contains("\"stock\""),
            "{report:?}"
        );
    }
    let entry = orders.decision(&work).await.unwrap().unwrap();
    assert_eq!(
        (entry.decision, entry.finished),
        (Decision::Rollback, false)
    );
}

// A copy of the register never saw the decision: beside its original it undoes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_register_rolls_nothing_back_beside_its_original() {
    let folder = tempfile::tempdir().unwrap();
    let [orders_file, stock_file, backup] =
        ["orders.db", "stock.db", "backup.db"].map(|name| folder.path().join(name));
    let orders = connect(&url_of(&orders_file)).await;
    let stock = connect(&url_of(&stock_file)).await;
    back_up(&orders_file, &backup);
    let copy = connect(&url_of(&backup)).await;
    let work = within(&orders, "copied", 1_500).await;
    let work = entitled(work, &orders, &stock).await;
    for store in [&orders, &stock] {
        prepare(store, &work).await;
    }
    let decided = orders.decide(&work, Decision::Commit).await.unwrap();
    assert_eq!(decided, Decision::Commit);
    wait(&orders, &work).await;
    let wrong = Sweeper::new(copy);
    let wrong = wrong.participant("stock", stock.clone()).unwrap();
    let wrong = wrong.participant("orders", orders.clone()).unwrap();
    for report in [wrong.sweep().await, wrong.resolve(&work).await] {
        let report = report.unwrap();
        let kinds: Vec<_> = report
            .failed
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Invalid], "{report:?}");
        assert_eq!(report.rolled_back, 0, "{report:?}");
    }
    for store in [&orders, &stock] {
        let status = store.prepared_status(&work).await.unwrap();
        assert_eq!(status, PreparedStatus::Prepared);
    }
    assert_eq!(sweep(&orders, &stock).await.committed, 2);
}

/// Orders with the register, and a stock that takes its time, so that there is time between a decision
/// and its end.
async fn slow_stock() -> (Postgres, Proxy, AnyStore, AnyStore) {
    let server = Postgres::start(15).await.unwrap();
    let orders = server.create_database("orders").await.unwrap();
    let stock = server.create_database("stock").await.unwrap();
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into());
    let proxy = proxy.await.unwrap();
    let direct = format!(":{}/", server.port());
    let stock = stock.replace(&direct, &format!(":{}/", proxy.addr().port()));
    let (orders, stock) = (connect(&orders).await, connect(&stock).await);
    proxy.set_delay(Duration::from_millis(500));
    (server, proxy, orders, stock)
}

/// Does this to the decision as soon as it stands.
async fn change_the_decision(server: &Postgres, change: &str) {
    let count = "SELECT count(*) FROM exactly_once.decisions";
    while server.sql("orders", count).await.unwrap().trim() == "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.sql("orders", change).await.unwrap();
}

const LOST: &str = "DELETE FROM exactly_once.decisions";
const OTHERWISE: &str = "UPDATE exactly_once.decisions SET committed = false";
const FINISHED: &str = "SELECT count(*) FROM exactly_once.decisions WHERE finished";

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_is_restored_under_a_coordinator_is_not_finished() {
    for (change, kind) in [(LOST, ErrorKind::Lost), (OTHERWISE, ErrorKind::Heuristic)] {
        let (server, _proxy, orders, stock) = slow_stock().await;
        let (ran, ()) = tokio::join!(
            run(&orders, &stock, "restored"),
            change_the_decision(&server, change)
        );
        let error = ran.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(server.sql("orders", FINISHED).await.unwrap().trim(), "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_is_restored_under_a_sweeper_is_not_finished() {
    for (change, kind) in [(LOST, ErrorKind::Lost), (OTHERWISE, ErrorKind::Heuristic)] {
        let (server, proxy, orders, stock) = slow_stock().await;
        proxy.set_delay(Duration::ZERO);
        let work = within(&orders, "restored", 2_000).await;
        let work = entitled(work, &orders, &stock).await;
        for store in [&orders, &stock] {
            prepare(store, &work).await;
        }
        let decided = orders.decide(&work, Decision::Commit).await.unwrap();
        assert_eq!(decided, Decision::Commit, "in time");
        wait(&orders, &work).await;
        proxy.set_delay(Duration::from_millis(500));
        // The orders are committed first: by then the sweeper has read the decision.
        let committed = async {
            while orders.prepared_status(&work).await.unwrap() != PreparedStatus::Committed {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.sql("orders", change).await.unwrap();
        };
        let (report, ()) = tokio::join!(sweep(&orders, &stock), committed);
        let kinds = Vec::from_iter(report.alarms.iter().map(exactly_once::Error::kind));
        assert_eq!(kinds, [kind], "{report:?}");
        assert_eq!(server.sql("orders", FINISHED).await.unwrap().trim(), "0");
    }
}

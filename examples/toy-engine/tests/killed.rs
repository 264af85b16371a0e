//! The program is killed again and again, and started again: each step happened once.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    fs::OpenOptions,
    io::Write,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use exactly_once::engine::{Effects, Step};
use exactly_once::memory::{MemoryStore, MemoryTx};
use exactly_once_toy_engine::{Failure, run};
use rusqlite::Connection;

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_exactly-once-toy-engine"))
        .args(["order-17", folder.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn finish(folder: &Path) -> Output {
    start(folder).wait_with_output().expect("it ends")
}

fn lines(folder: &Path) -> usize {
    let journal = std::fs::read_to_string(folder.join("order-17.journal"));
    journal.map_or(0, |text| text.lines().count())
}

#[test]
fn a_program_that_is_killed_at_each_line_of_its_journal_pays_three_times_and_ships_once() {
    let folder = tempfile::tempdir().unwrap();
    // Two lines for each of four steps. At each number of lines, one process is killed.
    for line in 1..8 {
        let mut process = start(folder.path());
        while lines(folder.path()) < line && process.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let ended = finish(folder.path());
    assert!(ended.status.success(), "{ended:?}");
    let again = finish(folder.path());
    assert_eq!(
        again.stdout, ended.stdout,
        "a finished run answers the same"
    );

    let db = Connection::open(folder.path().join("shop.db")).unwrap();
    for (table, rows) in [("payment", 3), ("parcel", 1)] {
        let count = format!("SELECT count(*) FROM {table}");
        let found: i64 = db.query_row(&count, [], |row| row.get(0)).unwrap();
        assert_eq!(found, rows, "{table}");
    }
}

/// One effect, whose journal is then damaged as a crash would.
async fn pay(folder: &Path, store: &MemoryStore) -> std::io::Result<Result<i64, Failure>> {
    run(folder, "run", async |ctx| {
        let work = async |tx: &mut MemoryTx| Ok(tx.add("paid", 5)?);
        ctx.execute_once(store, Step::named("pay"), &5, work).await
    })
    .await
}

#[tokio::test]
async fn a_torn_last_line_is_cut_off_wherever_it_is_torn_and_its_step_runs_under_the_same_key() {
    let (folder, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
    assert_eq!(pay(folder.path(), &store).await.unwrap().unwrap(), 5);
    let path = folder.path().join("run.journal");
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let paid = pay(folder.path(), &store).await.unwrap().unwrap();
        assert_eq!(paid, 5, "cut at byte {length}: {store:?}");
        assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at byte {length}");
    }
}

#[tokio::test]
async fn a_line_in_the_middle_that_is_none_is_an_error_and_nothing_runs() {
    let (folder, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
    let mut journal = OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.path().join("run.journal"))
        .unwrap();
    journal.write_all(b"no line of ours\n").unwrap();
    assert!(pay(folder.path(), &store).await.is_err());
    assert_eq!(store.get("paid"), None);
}

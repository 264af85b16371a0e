//! The traces that the model of the protocol found for mistakes of entitlement, on real PostgreSQL,
//! SQLite and Redis.
//!
//! Goal: the schedule that breaks a wrong protocol does no harm to the right one: all or none, nothing
//! in doubt, and an alarm where an operator has made that impossible; and each mistake does go wrong.
//! Method: each kept trace (`core/tests/two_phase_model/traces`) whose world has more than one flow's
//! own participants, register and sweeper is replayed step by step, on four stores, the store of
//! another register, a restored copy of the first store and one that was adopted. At its end come the
//! library's own sweepers, first as the trace configures them, and then the right one.

#![cfg(all(feature = "tokio-postgres", feature = "rusqlite", feature = "redis"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod bench;
mod replay;
mod trace;

use std::{path::Path, time::Duration};

use bench::Bench;
use futures_util::future::join_all;
use replay::Replay;
use trace::Trace;

/// How long a transaction has until its deadline; doubled where the machine was too slow for it.
const TIME: Duration = Duration::from_secs(5);

fn traces() -> Vec<Trace> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/two_phase_model/traces");
    let files = std::fs::read_dir(folder).unwrap();
    let read = |file: std::io::Result<std::fs::DirEntry>| Trace::read(&file.unwrap().path());
    files.filter_map(read).collect()
}

/// Replays the trace until its steps were in time; gives what is wrong in the end.
async fn replayed(bench: &Bench, trace: &Trace, broken: bool) -> Vec<String> {
    let mut time = TIME;
    loop {
        let mut replay = Replay::begin(bench, trace, broken, time).await;
        if replay.run().await {
            return replay.anomalies().await;
        }
        assert!(time < TIME * 32, "{}: the machine is too slow", trace.name);
        time *= 2;
    }
}

async fn right_and_wrong(bench: Bench) {
    let traces = traces();
    assert!(traces.len() >= 12, "only {} traces", traces.len());
    let right = join_all(traces.iter().map(|trace| replayed(&bench, trace, false)));
    let wrong = join_all(traces.iter().map(|trace| replayed(&bench, trace, true)));
    let (right, wrong) = futures_util::future::join(right, wrong).await;
    for (trace, anomalies) in traces.iter().zip(right) {
        assert!(anomalies.is_empty(), "{}: {anomalies:#?}", trace.name);
    }
    let mut harmless = Vec::new();
    for (trace, anomalies) in traces.iter().zip(wrong) {
        println!("{}: {}", trace.name, anomalies.join("; "));
        if anomalies.is_empty() {
            harmless.push(&trace.name);
        }
    }
    assert!(harmless.is_empty(), "did no harm: {harmless:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    right_and_wrong(Bench::postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    right_and_wrong(Bench::sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() {
    right_and_wrong(Bench::redis().await).await;
}

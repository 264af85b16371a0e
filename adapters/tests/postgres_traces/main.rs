//! The traces that the model of the protocol found for its deliberate mistakes, on a real server.
//!
//! Goal: the schedule that breaks a wrong protocol does no harm to the right one: one outcome for
//! all participants, nothing in doubt, no lock. And the mistake does go wrong, so that the schedule
//! shows something. Method: each kept trace (`core/tests/two_phase_model/traces`) is a barrier
//! script: its steps are made one after the other, each attempt with connections of its own, so
//! that zombies are real; first by the right code, and then with the mistake where one can be made
//! around a right store.
//!
//! What can't: mistakes within one statement of the store, as reading the clock before the marker;
//! and those of a sweeper or register whose harm is done by the sweep after the trace's end, which
//! is made by the right code here. The model shows those.

#![cfg(feature = "tokio-postgres")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod bench;
mod mistake;
mod replay;
mod trace;

use std::{path::Path, time::Duration};

use bench::Bench;
use futures_util::future::join_all;
use mistake::Mistake;
use replay::Replay;
use trace::Trace;

/// How long a transaction has until its deadline; doubled where the machine was too slow for it.
const TIME: Duration = Duration::from_secs(4);

fn traces() -> Vec<Trace> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/tests/two_phase_model/traces");
    let mut traces: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|file| Trace::read(&file.unwrap().path()))
        .collect();
    traces.sort_by(|one, other| one.name.cmp(&other.name));
    traces
}

/// Replays the trace until its steps were in time; gives what is wrong in the end.
async fn replayed(bench: &Bench, trace: &Trace, mistake: Option<Mistake>) -> Vec<String> {
    let mut time = TIME;
    loop {
        let mut replay = Replay::begin(bench, trace, mistake, time).await;
        if replay.run().await {
            return replay.anomalies().await;
        }
        assert!(time < TIME * 32, "{}: the machine is too slow", trace.name);
        time *= 2;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trace_harms_the_right_code() {
    let bench = Bench::start().await;
    let traces = traces();
    assert!(traces.len() >= 20, "only {} traces", traces.len());
    let ended = traces.iter().map(|trace| replayed(&bench, trace, None));
    for (trace, anomalies) in traces.iter().zip(join_all(ended).await) {
        assert!(anomalies.is_empty(), "{}: {anomalies:#?}", trace.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_goes_wrong_where_it_can_be_made() {
    let bench = Bench::start().await;
    let traces = traces();
    let made: Vec<_> = traces
        .iter()
        .filter_map(|trace| Some((trace, Mistake::named(&trace.name)?)))
        .collect();
    assert_eq!(made.len(), Mistake::COUNT, "a mistake has no trace");
    let ended = made
        .iter()
        .map(|(trace, mistake)| replayed(&bench, trace, Some(*mistake)));
    let mut harmless = Vec::new();
    for ((trace, _), anomalies) in made.iter().zip(join_all(ended).await) {
        println!("{}: {}", trace.name, anomalies.join("; "));
        if anomalies.is_empty() {
            harmless.push(&trace.name);
        }
    }
    assert!(harmless.is_empty(), "did no harm: {harmless:?}");
}

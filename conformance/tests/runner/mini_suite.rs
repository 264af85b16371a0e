//! The small suite: one case for each way in which a case can end.
#![allow(clippy::print_stdout)]

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use exactly_once_conformance::check::Expecting as _;
use exactly_once_conformance::runner::{self, Case, CaseInfo, Trial, Variant};
use exactly_once_conformance::{CaseFailure, CaseResult, ensure, ensure_eq, ensure_matches};

const CONTRACT: &str = "design §0, Mini";

macro_rules! info {
    ($id:literal, $path:literal, $goal:literal) => {
        CaseInfo::new($id, $path)
            .goal($goal)
            .contract(CONTRACT)
            .mistake("off by one")
    };
}

#[derive(Debug, thiserror::Error)]
#[error("the store is away")]
struct Away(#[source] io::Error);

async fn draws(case: Case) -> CaseResult {
    println!("draw {} {}", case.name(), case.rng().bits());
    Ok(())
}

async fn wrong_sum(case: Case) -> CaseResult {
    case.step("adding");
    ensure!(1 < 2, "an order");
    ensure_matches!(Some(1), Some(_), "some");
    let one = ensure_matches!(Some(1), Some(one) => one, "some");
    ensure_eq!(one + 2, 4, "the sum of {one} and 2 <&>");
    Ok(())
}

async fn fails_with_an_error(_case: Case) -> CaseResult {
    let refused = io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens");
    Err::<(), _>(Away(refused)).expecting("the store to answer")
}

async fn panics(case: Case) -> CaseResult {
    case.step("about to panic");
    let none: Option<u8> = None;
    assert!(none.is_some(), "the answer was {none:?}");
    Ok(())
}

async fn hangs(case: Case) -> CaseResult {
    case.step("waiting for a lock");
    std::future::pending().await
}

async fn finds_out(_case: Case) -> CaseResult {
    Err(CaseFailure::ignored(
        "this server turned out to have no tides",
    ))
}

/// Passes only if another of its kind runs at the same time.
async fn meets_another(_case: Case) -> CaseResult {
    static HERE: AtomicUsize = AtomicUsize::new(0);
    HERE.fetch_add(1, SeqCst);
    for _ in 0..300 {
        if HERE.load(SeqCst) >= 2 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ensure!(false, "another case at the same time");
    Ok(())
}

pub(crate) fn run(adapter: &str) -> ExitCode {
    let mut trials = Vec::new();
    for variant in [Variant::Typed, Variant::Erased] {
        trials.extend([
            Trial::new(
                info!("M01", "mini::good::m01_draws", "a number"),
                variant,
                draws,
            ),
            Trial::new(
                info!("M02", "mini::bad::m02_wrong_sum", "sums"),
                variant,
                wrong_sum,
            ),
            Trial::new(
                info!("M03", "mini::bad::m03_error", "an answer"),
                variant,
                fails_with_an_error,
            ),
            Trial::new(
                info!("M04", "mini::bad::m04_panics", "no panic"),
                variant,
                panics,
            ),
            Trial::new(
                info!("M05", "mini::bad::m05_hangs", "an end"),
                variant,
                hangs,
            )
            .timeout(Duration::from_millis(200)),
            Trial::ignored(
                info!("M06", "mini::left::m06_needs_a_moon", "tides"),
                variant,
                "this adapter declares no moon",
            ),
            Trial::new(
                info!("M08", "mini::left::m08_finds_out", "tides"),
                variant,
                finds_out,
            ),
            Trial::new(
                info!("M07", "mini::meet::m07_meets_another", "company"),
                variant,
                meets_another,
            ),
        ]);
    }
    if std::env::var_os("MINI_SUITE_DOWN").is_some() {
        for down in [
            info!("D01", "mini::down::d01_first", "an answer"),
            info!("D02", "mini::down::d02_second", "an answer"),
            info!("D03", "mini::down::d03_third", "an answer"),
        ] {
            let down = down.mistake("the server is down");
            trials.push(Trial::new(down, Variant::Typed, fails_with_an_error));
        }
    }
    if std::env::var_os("MINI_SUITE_TWICE").is_some() {
        let again = info!("M01", "mini::good::m01_draws", "a number");
        trials.push(Trial::new(again, Variant::Typed, draws));
    }
    runner::run(adapter, trials)
}

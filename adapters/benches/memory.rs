//! What erasing a store's type costs, on the store in memory, where nothing else is slow:
//! `./dev bench memory`.
//!
//! [`AnyStore`] boxes each future. A call of a database takes 50 µs and more; so the *difference*
//! of the two stores here, for one call, is set against the quickest call of a real one.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use exactly_once::{AnyStore, Claim, IdempotencyStore, OneShot, OneShotStore, Receipt};
use exactly_once::{Fingerprint, IdempotencyKey, memory::MemoryStore};
use exactly_once_bench::{Options, report, results::Report, statistics::Spread};

/// Calls of one slice.
const CALLS: u32 = 20_000;

/// The quickest exactly-once write on a disk that we have measured, by far: SQLite with many
/// callers in one commit.
const QUICKEST: Duration = Duration::from_micros(20);

fn replayed() -> Result<OneShot> {
    Ok(OneShot {
        claim: Claim::new(
            IdempotencyKey::new("charge/1")?,
            Fingerprint::of("charge", &1)?,
        ),
        statements: Vec::new(),
        receipt: Receipt::json(&1)?,
    })
}

async fn slice<S: OneShotStore + IdempotencyStore>(store: &S, effect: &OneShot) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(store.execute_one_shot(black_box(effect)).await?);
    }
    Ok(begun.elapsed().as_secs_f64() / f64::from(CALLS) * 1e9)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let options = Options::from_command_line();
    let typed = MemoryStore::new();
    let erased = AnyStore::new(typed.clone());
    let effect = replayed()?;
    typed.execute_one_shot(&effect).await?;
    let (mut costs, mut noise, mut nanoseconds) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds.max(2) * 20 {
        let first = slice(&typed, &effect).await?;
        let boxed = slice(&erased, &effect).await?;
        let again = slice(&erased, &effect).await?;
        let last = slice(&typed, &effect).await?;
        costs.push((boxed + again - first - last) / 2.0);
        noise.push(last - first);
        nanoseconds.push((first + last) / 2.0);
    }
    let (cost, noise) = (Spread::of(&costs), Spread::of(&noise));
    let share = cost.median / QUICKEST.as_secs_f64() / 1e7;
    let verdict = if share < 3.0 { "reached" } else { "SHORT" };
    let mut report = Report::new("memory", "the store in memory", &options);
    report.notes.push(format!(
        "Erased against typed: {:.0} ns more for a call [{:.0} to {:.0}; typed against itself {:.0} \
         to {:.0}], where a replay in memory takes {:.0} ns. Of the quickest call on a real disk \
         ({QUICKEST:?}) that is {share:.2} %; wanted < 3 %: {verdict}",
        cost.median,
        cost.lower,
        cost.upper,
        noise.lower,
        noise.upper,
        Spread::of(&nanoseconds).median,
    ));
    report::publish(&report, &options.reports).context("the report")
}

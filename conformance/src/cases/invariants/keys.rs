//! Keys and leases under random load: attempts that are dropped and cut, and zombies.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::{
    Claimed, Error, FencingToken, IdempotencyStore, LeaseStore, Leased, Outcome, Retention,
    Settled, Store,
};
use tokio::task::yield_now;

use super::{Place, hold};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race, receipt, retry},
    },
    context::Context,
    ensure, ensure_eq, ensure_matches,
    faults::polls::drop_at_poll,
    harness::Harness,
    seed::CaseRng,
};

const WORKERS: usize = 4;
const KEYS: usize = 8;

/// One step of a worker.
#[derive(Clone, Debug)]
enum Step {
    /// An attempt at a key's effect, that dies at this poll.
    Attempt { key: usize, dies_at: usize },
    /// A lease on a key, that is then given up, released or finalized.
    Lease { key: usize, end: usize },
    /// All connections are cut.
    Cut,
}

fn draw(rng: &mut CaseRng, steps: usize) -> Vec<Step> {
    let mut step = || match rng.below(12) {
        0 => Step::Cut,
        1..=4 => Step::Lease {
            key: rng.below(KEYS),
            end: rng.below(8),
        },
        _ => {
            let dies_at = if rng.one_in(3) {
                usize::MAX
            } else {
                1 + rng.below(10)
            };
            Step::Attempt {
                key: rng.below(KEYS),
                dies_at,
            }
        }
    };
    (0..steps).map(|_| step()).collect()
}

/// A lease that was granted: when it was asked for, when it was answered, and its token.
struct Grant {
    key: usize,
    asked: usize,
    answered: usize,
    token: FencingToken,
}

#[derive(Default)]
struct Seen {
    clock: usize,
    outcomes: Vec<(usize, Outcome)>,
    grants: Vec<Grant>,
}

type SharedSeen = Arc<Mutex<Seen>>;

fn note<T>(seen: &SharedSeen, add: impl FnOnce(&mut Seen) -> T) -> T {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.clock += 1;
    add(&mut seen)
}

fn name(key: usize) -> String {
    format!("v9/{key}")
}

/// One attempt at the effect of a key; each attempt's receipt is its own.
async fn attempt<H: Harness<Store: IdempotencyStore>>(
    place: &Place<H>,
    key: usize,
    own: &str,
    seen: &SharedSeen,
) -> CaseResult {
    let claim = claim(&name(key))?;
    let store = &place.frail;
    match store.claim(&claim).await? {
        Claimed::Completed(outcome) => note(seen, |seen| seen.outcomes.push((key, outcome))),
        Claimed::Fresh(mut tx) => {
            yield_now().await;
            if let Err(error) = place.harness.write_effect(&mut tx, &name(key)).await {
                return Err(error.into_error("write_effect", store).into());
            }
            yield_now().await;
            let receipt = receipt(own);
            let outcome = match store.complete(tx, &claim, &receipt).await? {
                Settled::Recorded => Outcome::Applied(receipt),
                Settled::Superseded(outcome) => outcome,
            };
            note(seen, |seen| seen.outcomes.push((key, outcome)));
        }
        Claimed::InProgress { .. } => {}
        other => ensure_matches!(other, Claimed::InProgress { .. }, "no mismatch"),
    }
    Ok(())
}

/// Leases keys of their own, since a lease may be given up and block an attempt.
async fn lease<H: Harness<Store: LeaseStore>>(
    place: &Place<H>,
    key: usize,
    end: usize,
    seen: &SharedSeen,
) -> CaseResult {
    let claim = claim(&format!("v11/{key}"))?;
    let asked = note(seen, |seen| seen.clock);
    let ttl = place.harness.tick() * 2;
    let Leased::Granted(lease) = place.frail.lease(&claim, ttl).await? else {
        return Ok(());
    };
    let token = lease.token;
    note(seen, |seen| {
        let answered = seen.clock;
        seen.grants.push(Grant {
            key,
            asked,
            answered,
            token,
        });
    });
    yield_now().await;
    match end {
        0..=3 => place.frail.release(&claim, token).await?,
        4 if key.is_multiple_of(4) => {
            place
                .frail
                .finalize(&claim, token, &Outcome::Applied(receipt("v11")))
                .await?;
        }
        _ => {}
    }
    Ok(())
}

async fn run<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    harness: Arc<H>,
    schedule: Vec<Step>,
) -> CaseResult {
    let place = Arc::new(Place::fresh(harness).await?);
    let (seen, schedule) = (SharedSeen::default(), Arc::new(schedule));
    let workers = (0..WORKERS).map(|worker| {
        let (place, seen) = (Arc::clone(&place), Arc::clone(&seen));
        let schedule = Arc::clone(&schedule);
        async move {
            for (number, step) in schedule.iter().enumerate().skip(worker).step_by(WORKERS) {
                // What went wrong is the next attempt's affair.
                match step {
                    Step::Cut => place.cut(),
                    Step::Attempt { key, dies_at } => {
                        let own = format!("{worker}/{number}");
                        drop(drop_at_poll(*dies_at, attempt(&place, *key, &own, &seen)).await);
                    }
                    Step::Lease { key, end } => drop(lease(&place, *key, *end, &seen).await),
                }
                yield_now().await;
            }
        }
    });
    race(workers.collect::<Vec<_>>()).await?;
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    audit(&place, &seen).await
}

async fn audit<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    place: &Place<H>,
    seen: &Seen,
) -> CaseResult {
    for key in 0..KEYS {
        // What was dropped may hold the key a moment longer: ask as an engine does.
        let claim = claim(&name(key))?;
        let known = retry(|| async {
            match place.direct.claim(&claim).await? {
                Claimed::InProgress { retry_after } => {
                    let kind = exactly_once_core::ErrorKind::InProgress { retry_after };
                    Err(Error::new(kind, "claim", place.direct.backend()))
                }
                Claimed::Completed(outcome) => Ok(Some(outcome)),
                Claimed::Fresh(_) | Claimed::Mismatch => Ok(None),
            }
        })
        .await?;
        for (_, outcome) in seen.outcomes.iter().filter(|(of, _)| *of == key) {
            ensure_eq!(
                Some(outcome),
                known.as_ref(),
                "V3, V9: the outcome of key {key}"
            );
        }
        let effects = place.effects(&name(key)).await?;
        ensure_eq!(
            effects,
            u64::from(known.is_some()),
            "V2, V3: effects of key {key}"
        );
    }
    for one in &seen.grants {
        for two in seen.grants.iter().filter(|two| two.key == one.key) {
            ensure!(
                one.answered >= two.asked || one.token < two.token,
                seen: (one.token, two.token),
                "V11: tokens of key {} to grow",
                one.key
            );
        }
    }
    place.ensure_idle().await
}

/// Goal: V2, V3, V9, V11 and V14 of keys and leases. Method: attempts that die at random points,
/// several at one key, and leases that are given up; then an audit.
async fn v9_one_receipt_for_all<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let mut rng = cx.case().rng();
    for _ in 0..cx.case().scaled(4, 1) {
        let schedule = draw(&mut rng, cx.case().scaled(160, 60));
        hold(&cx, schedule, run::<H>).await?;
    }
    Ok(())
}

/// Goal: V13, rows are bounded after expiry. Method: complete keys with a short retention, let it
/// pass, expire in batches: all of them go, and one that lasts stays.
async fn v13_rows_are_bounded<H: Harness<Store: IdempotencyStore + LeaseStore>>(
    cx: Context<H>,
) -> CaseResult {
    let brief = Retention::new(cx.tick())?;
    for number in 0..20 {
        let claim = claim(&format!("v13/{number}"))?;
        let claim = if number == 0 {
            claim
        } else {
            claim.with_retention(brief)
        };
        let tx = ensure_matches!(
            cx.store().claim(&claim).await?, Claimed::Fresh(tx) => tx, "a new key to be fresh");
        let settled = cx.store().complete(tx, &claim, &receipt("v13")).await?;
        ensure_eq!(settled, Settled::Recorded, "the completion");
    }
    tokio::time::sleep(cx.tick() * 2 + Duration::from_millis(10)).await;
    let mut removed = 0;
    for _ in 0..10 {
        let store = cx.store();
        let batch = retry(|| store.expire(7)).await?;
        ensure!(batch <= 7, seen: batch, "at most 7 keys in a batch");
        removed += batch;
    }
    ensure_eq!(removed, 19, "keys removed");
    for number in 0..20 {
        let key = crate::cases::support::key(&format!("v13/{number}"))?;
        let known = cx.store().lookup(&key).await?.is_some();
        ensure_eq!(known, number == 0, "whether key {number} is still known");
    }
    Ok(())
}

cases! { "invariants::keys" for IdempotencyStore where LeaseStore, "core::IdempotencyStore, Contract";
    V9 v9_one_receipt_for_all: "under random faults one receipt for all observers, one effect, growing tokens: V2, V3, V9, V11, V14",
        "see which invariant is named; the schedule shows the shortest way to it";
    V13 v13_rows_are_bounded: "rows are bounded after expiry",
        "expiry is by age of the claim, or removes one batch only";
}

//! Balances under random load: transfers, adjustments and sets by clients that are dropped and cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once_core::{BalanceStore, Change, ChangeKind, Error, Expected, Store};

use super::{Place, hold};
use crate::{
    CaseResult,
    cases::{
        balance::{
            model::{Answer, Op, ask},
            support::{adjust, ensure_sound, open, set, transfer},
        },
        cases,
        support::{amount, race, retry},
    },
    context::Context,
    ensure, ensure_eq,
    faults::polls::drop_at_poll,
    harness::Harness,
    seed::CaseRng,
};

const HOLDERS: [&str; 4] = ["v/a", "v/b", "v/c", "v/d"];
const CLIENTS: usize = 4;
const START: i64 = 1_000;

/// One operation of one client, and what goes wrong with its first attempt.
#[derive(Clone, Debug)]
struct Step {
    client: usize,
    op: Op,
    /// The first attempt is dropped at this poll.
    dropped_at: Option<usize>,
    /// All connections are cut before it.
    cut: bool,
}

fn draw(rng: &mut CaseRng, steps: usize, transfers: bool) -> CaseResult<Vec<Step>> {
    let mut schedule: Vec<Step> = Vec::new();
    for number in 0..steps {
        let key = format!("v/{number}");
        let holder = HOLDERS[rng.below(HOLDERS.len())];
        let other = HOLDERS[rng.below(HOLDERS.len())];
        let by = rng.within(-400..=400);
        let op = match rng.below(8) {
            // A retry of an engine that lost its memory: the same key from another client.
            0 if number > 0 => schedule[rng.below(number)].op.clone(),
            1 => Op::Set(set(&key, holder, Expected::Any, by.abs())?),
            2..=5 if transfers && holder != other => {
                Op::Transfer(transfer(&key, &[(holder, -by), (other, by)])?)
            }
            _ => Op::Adjust(adjust(&key, holder, by)?),
        };
        let dropped_at = rng.one_in(4).then(|| 1 + rng.below(12));
        let (client, cut) = (rng.below(CLIENTS), rng.one_in(16));
        schedule.push(Step {
            client,
            op,
            dropped_at,
            cut,
        });
    }
    Ok(schedule)
}

/// The answer that a client got to a step; whether an earlier attempt of it may still land.
type Told = Vec<(Step, Answer)>;

async fn run<H: Harness<Store: BalanceStore>>(harness: Arc<H>, schedule: Vec<Step>) -> CaseResult {
    let place = Arc::new(Place::fresh(harness).await?);
    for holder in HOLDERS {
        let opening = open(&format!("open/{holder}"), holder)?.with_amount(amount(START));
        place.direct.open_account(&opening).await?;
    }
    let told = Arc::new(Mutex::new(Told::new()));
    let clients = (0..CLIENTS).map(|client| {
        let (place, told) = (Arc::clone(&place), Arc::clone(&told));
        let steps: Vec<Step> = schedule
            .iter()
            .filter(|step| step.client == client)
            .cloned()
            .collect();
        async move {
            for step in steps {
                let answer = answered(&place, &step).await?;
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((step, answer));
                tokio::task::yield_now().await;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(clients.collect::<Vec<_>>()).await? {
        ended?;
    }
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    audit(&place, &told).await
}

/// One step as an engine makes it: again until it is answered.
async fn answered<H: Harness<Store: BalanceStore>>(
    place: &Place<H>,
    step: &Step,
) -> Result<Answer, Error> {
    if step.cut {
        place.cut();
    }
    if let Some(k) = step.dropped_at
        && let Some(Ok(answer)) = drop_at_poll(k, ask(&place.frail, &step.op)).await
    {
        return Ok(answer);
    }
    retry(|| ask(&place.frail, &step.op)).await
}

async fn audit<H: Harness<Store: BalanceStore>>(place: &Place<H>, told: &Told) -> CaseResult {
    let mut changes: BTreeMap<String, Vec<Change>> = BTreeMap::new();
    let mut sum = 0;
    for holder in HOLDERS {
        // V5 and V6.
        let (state, history) = ensure_sound(&place.direct, holder).await?;
        sum += state.amount.get();
        let mut keys = BTreeSet::new();
        for change in history {
            ensure!(keys.insert(change.key.clone()), seen: change, "V2: each operation once");
            ensure!(change.after >= amount(0), seen: change, "V7: the floor never to be broken");
            changes
                .entry(change.key.as_str().to_owned())
                .or_default()
                .push(change);
        }
    }
    let (mut outside, mut transfers) = (0, 0);
    for legs in changes.values() {
        let moved: i64 = legs.iter().map(|change| change.delta.get()).sum();
        if legs
            .iter()
            .any(|change| change.kind == ChangeKind::Transfer)
        {
            ensure_eq!(
                (moved, legs.len()),
                (0, 2),
                "V1: the sum of a transfer, and its legs"
            );
            transfers += 1;
        } else {
            ensure_eq!(legs.len(), 1, "V2: how often an operation was applied");
            outside += moved;
        }
    }
    ensure_eq!(
        sum,
        outside,
        "V1: the sum of all balances, beside {transfers} transfers"
    );
    for (step, answer) in told {
        let key = match &step.op {
            Op::Adjust(operation) => operation.key.as_str(),
            Op::Set(operation) => operation.key.as_str(),
            Op::Transfer(operation) => operation.key().as_str(),
            Op::Open(_) | Op::Close(_) | Op::Balance(_) => continue,
        };
        let stored = changes.get(key).map_or(&[][..], Vec::as_slice);
        match answer {
            Answer::Done { changes, .. } => {
                let mut changes = changes.clone();
                changes.sort_by(|one, two| one.account.cmp(&two.account));
                let mut stored = stored.to_vec();
                stored.sort_by(|one, two| one.account.cmp(&two.account));
                ensure_eq!(
                    stored,
                    changes,
                    "V3, V9: what is stored of the acknowledged {key}"
                );
            }
            // An attempt that was dropped or cut may land later, when it fits.
            Answer::Refused(kind) => {
                let same = told.iter().filter(|(other, _)| other.op == step.op);
                let only_refused = same.clone().all(|(other, answer)| {
                    let sure = other.dropped_at.is_none();
                    sure && matches!(answer, Answer::Refused(_))
                });
                let calm = !told.iter().any(|(other, _)| other.cut) || place.proxy.is_none();
                ensure!(
                    !(only_refused && calm) || stored.is_empty(),
                    seen: stored,
                    "V4: nothing to be stored of {key}, which was refused as {kind:?}"
                );
            }
            Answer::State(_) => {}
        }
    }
    place.ensure_idle().await
}

/// Goal: V1 to V7, V9 and V14 of balances. Method: random transfers, adjustments and sets by four
/// clients whose calls are dropped and cut at random, and retried; then the books are audited.
async fn v1_books_balance<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let transfers = cx.store().capabilities().transfers_across_shards;
    let mut rng = cx.case().rng();
    for _ in 0..cx.case().scaled(4, 1) {
        let schedule = draw(&mut rng, cx.case().scaled(150, 60), transfers)?;
        hold(&cx, schedule, run::<H>).await?;
    }
    Ok(())
}

cases! { "invariants::balances" for BalanceStore, "core::BalanceStore, Contract";
    V1 v1_books_balance: "under random load and faults the books balance: V1 to V7, V9, V14",
        "see which invariant is named; the schedule shows the shortest way to it";
}

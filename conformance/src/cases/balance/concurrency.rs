//! Concurrency: any number of callers, and the account goes through one change after the other.

use std::collections::BTreeSet;

use exactly_once_core::{AccountId, BalanceStore, ErrorKind, Expected, Store};

use super::{
    model::{Answer, BalanceModel, Books, Op, ask},
    random::Draw,
    support::{adjust, close, ensure_held, ensure_sound, held, open, opened, set},
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{account, amount, race, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    faults::polls::drop_at_poll,
    harness::Harness,
    history::{Recorder, linearizability::check},
    seed::CaseRng,
};

/// Goal: of N callers with one key, one applies it and all get its receipt. Method: 32 racers with
/// the same adjustment, for several rounds.
async fn b50_racers_with_one_key<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b50", 0).await?;
    let rounds = cx.case().scaled(4, 1) as i64;
    for round in 0..rounds {
        let operation = adjust(&format!("k{round}"), "b50", 7)?;
        let racers = (0..32).map(|_| {
            let (store, operation) = (cx.store().clone(), operation.clone());
            async move { retry(|| store.adjust(&operation)).await }
        });
        let mut receipts = Vec::new();
        let mut firsts = 0;
        for answer in race(racers.collect::<Vec<_>>()).await? {
            let applied = answer?;
            firsts += usize::from(!applied.replayed);
            receipts.push(applied.change);
        }
        // A racer whose first answer was lost learns by its own retry: then none is the first.
        ensure!(firsts <= 1, seen: firsts, "at most one racer to be the first");
        receipts.dedup();
        ensure_eq!(receipts.len(), 1, "different receipts among the racers");
        ensure_held(&cx, "b50", 7 * (round + 1), round + 2).await?;
    }
    ensure_sound(cx.store(), "b50").await?;
    Ok(())
}

/// Goal: the key of an opening, of a set and of a closing is raced as an adjustment's is. Method: 16
/// racers with one opening, then with one set, then with one closing; all get the receipt of the first.
async fn b47_racers_that_open_set_and_close<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    let opening = open("open", "b47")?.with_amount(amount(5));
    let setting = set("set", "b47", Expected::Any, 0)?;
    let closing = close("close", "b47")?;
    for step in ["open", "set", "close"] {
        let racers = (0..16).map(|_| {
            let store = cx.store().clone();
            let (opening, setting, closing) = (opening.clone(), setting.clone(), closing.clone());
            async move {
                match step {
                    "open" => retry(|| store.open_account(&opening)).await,
                    "set" => retry(|| store.compare_and_set(&setting)).await,
                    _ => retry(|| store.close_account(&closing)).await,
                }
            }
        });
        let mut receipts = Vec::new();
        let mut firsts = 0;
        for answer in race(racers.collect::<Vec<_>>()).await? {
            let applied = answer.expecting(&format!("every racer to {step} under the one key"))?;
            firsts += usize::from(!applied.replayed);
            receipts.push(applied.change);
        }
        ensure!(firsts <= 1, seen: firsts, "at most one racer to {step} first");
        receipts.dedup();
        ensure_eq!(
            receipts.len(),
            1,
            "different receipts of the racers that {step}"
        );
    }
    let (state, _) = ensure_sound(cx.store(), "b47").await?;
    ensure_eq!(
        (state.open, state.version.get()),
        (false, 3),
        "the account in the end"
    );
    Ok(())
}

/// Goal: N callers with N keys: each is applied, the sum is exact, and each version is given once.
async fn b51_racers_with_keys_of_their_own<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b51", 0).await?;
    let (racers, each) = (16, cx.case().scaled(10, 3));
    let tasks = (0..racers).map(|racer| {
        let store = cx.store().clone();
        async move {
            let mut versions = Vec::new();
            for number in 0..each {
                let delta = (racer * each + number) as i64 + 1;
                let operation = adjust(&format!("{racer}/{number}"), "b51", delta)?;
                let change = retry(|| store.adjust(&operation)).await?.change;
                ensure_eq!(change.delta.get(), delta, "the delta in the receipt");
                versions.push(change.version.get());
            }
            CaseResult::Ok(versions)
        }
    });
    let mut versions = BTreeSet::new();
    for given in race(tasks.collect::<Vec<_>>()).await? {
        versions.extend(given?);
    }
    let total = (racers * each) as i64;
    ensure_eq!(
        versions,
        (2..=total + 1).collect(),
        "the versions given to the callers"
    );
    ensure_held(&cx, "b51", total * (total + 1) / 2, total + 1).await?;
    ensure_sound(cx.store(), "b51").await?;
    Ok(())
}

/// Goal: no update is lost. Method: N callers read, and set the amount they have read plus one by
/// the version they have read, until it goes through.
async fn b52_lost_update<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b52", 0).await?;
    let (racers, each) = (8, cx.case().scaled(6, 2) as i64);
    let tasks = (0..racers).map(|racer| {
        let store = cx.store().clone();
        async move {
            let holder = account("b52")?;
            let (mut done, mut attempt) = (0, 0);
            while done < each {
                attempt += 1;
                let Some(state) = retry(|| store.balance(&holder)).await? else {
                    return Err(CaseFailure::new("the account to be known", "it is not"));
                };
                let by = Expected::Version(state.version);
                let key = format!("{racer}/{attempt}");
                let operation = set(&key, "b52", by, state.amount.get() + 1)?;
                match retry(|| store.compare_and_set(&operation)).await {
                    Ok(_) => done += 1,
                    Err(error) if matches!(error.kind(), ErrorKind::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(tasks.collect::<Vec<_>>()).await? {
        ended?;
    }
    ensure_held(&cx, "b52", racers * each, racers * each + 1).await?;
    ensure_sound(cx.store(), "b52").await?;
    Ok(())
}

/// Goal: concurrent operations are linearizable: each takes effect at one moment between its call
/// and its answer. Method: four clients at random on two accounts, with calls that are dropped half
/// way (their effect is a *maybe*) and retried; then an order is searched for.
async fn b53_linearizable<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let transfers = cx.store().capabilities().transfers_across_shards;
    for round in 0..cx.case().scaled(20, 4) {
        cx.case().step(format!("round {round}"));
        let holders = [format!("b53/{round}/x"), format!("b53/{round}/y")];
        let initial = Books::default();
        let recorder = Recorder::new();
        let clients = (0..4).map(|client| {
            let store = cx.store().clone();
            let recorder = recorder.clone();
            let mut rng = cx.case().seed().derive(&format!("{round}/{client}")).rng();
            let prefix = format!("{round}/{client}/");
            let draw = Draw::new(rng.clone(), &prefix, &holders, transfers);
            async move { client_of(&store, draw, &mut rng, &recorder).await }
        });
        for ended in race(clients.collect::<Vec<_>>()).await? {
            ended?;
        }
        check(&BalanceModel { initial }, &recorder.history())
            .map_err(|failure| failure.note(format!("round {round}")))?;
    }
    Ok(())
}

/// How many operations each client of B53 asks for.
const CLIENT_STEPS: usize = 10;

async fn client_of<S: BalanceStore>(
    store: &S,
    mut draw: Draw,
    rng: &mut CaseRng,
    recorder: &Recorder<Op, Answer>,
) -> CaseResult {
    // What this client believes, to draw versions that are right at times.
    let mut belief = Books::default();
    for _ in 0..CLIENT_STEPS {
        let op = draw.next(&belief)?;
        belief.apply(&op);
        loop {
            let call = recorder.begin(op.clone());
            let k = if rng.one_in(4) {
                1 + rng.below(6)
            } else {
                usize::MAX
            };
            match drop_at_poll(k, ask(store, &op)).await {
                Some(Ok(answer)) => {
                    call.answered(answer);
                    break;
                }
                Some(Err(error)) if error.kind() != ErrorKind::Ambiguous => call.never(),
                // Dropped, or the answer lost: as an engine does, again with the same key.
                Some(Err(_)) | None => call.maybe(),
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
    Ok(())
}

/// Goal: of N debits of which only one fits, one goes through. Method: racers for the last unit;
/// the others get *insufficient funds*, and the floor holds.
async fn b48_racers_for_the_last_unit<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    for round in 0..cx.case().scaled(6, 2) {
        let holder = format!("b48/{round}");
        opened(&cx, &holder, 1).await?;
        let racers = (0..8)
            .map(|racer| {
                let store = cx.store().clone();
                let operation = adjust(&format!("{round}/{racer}"), &holder, -1)?;
                Ok(async move { retry(|| store.adjust(&operation)).await })
            })
            .collect::<CaseResult<Vec<_>>>()?;
        let mut winners = 0;
        for answer in race(racers).await? {
            match answer {
                Ok(_) => winners += 1,
                Err(error) if error.kind() == ErrorKind::InsufficientFunds => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure_eq!(winners, 1, "debits that went through");
        ensure_held(&cx, &holder, 0, 2).await?;
        ensure_sound(cx.store(), &holder).await?;
    }
    Ok(())
}

/// Goal: readers see whole changes. Method: poll balance and history while writers add; a balance
/// at a version must be the history's sum up to it.
async fn b49_readers_see_whole_changes<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b49", 0).await?;
    let each = cx.case().scaled(40, 10) as i64;
    let writers = (0..4_i64).map(|writer| {
        let store = cx.store().clone();
        async move {
            for number in 0..each {
                let operation = adjust(&format!("{writer}/{number}"), "b49", number % 7)?;
                retry(|| store.adjust(&operation)).await?;
            }
            CaseResult::Ok(())
        }
    });
    let writing = tokio::spawn(race(writers.collect::<Vec<_>>()));
    let holder: AccountId = account("b49")?;
    while !writing.is_finished() {
        let state = held(&cx, "b49").await?;
        let store = cx.store();
        let page = retry(|| store.history(&holder, None, 1_000)).await?;
        let sum = page
            .changes
            .iter()
            .filter(|change| change.version <= state.version)
            .map(|change| change.delta.get())
            .sum::<i64>();
        let until = page
            .changes
            .iter()
            .filter(|change| change.version <= state.version)
            .count();
        ensure_eq!(
            until as i64,
            state.version.get(),
            "changes up to the version that was read"
        );
        ensure_eq!(
            sum,
            state.amount.get(),
            "the sum of the deltas up to version {until}"
        );
        tokio::task::yield_now().await;
    }
    for ended in writing.await?? {
        ended?;
    }
    ensure_eq!(
        held(&cx, "b49").await?.version.get(),
        4 * each + 1,
        "the version in the end"
    );
    Ok(())
}

cases! { "balance::concurrency" for BalanceStore, "core::BalanceStore, Contract";
    B48 b48_racers_for_the_last_unit: "of N debits of which one fits, one goes through",
        "the overdraft is checked in one statement, and the debit made in another";
    B49 b49_readers_see_whole_changes: "readers never see a balance without its history",
        "balance and history are written in two transactions";
    B50 b50_racers_with_one_key: "of N callers with one key, one applies it and all get its receipt",
        "the key is looked up before the transaction, or has no unique index";
    B47 b47_racers_that_open_set_and_close: "the key of every kind of operation is raced alike",
        "one operation looks its key up before its transaction, where another has a unique index";
    B51 b51_racers_with_keys_of_their_own: "N callers with N keys: exact sum, each version once",
        "the balance is read, changed in the client and written back without a lock";
    B52 b52_lost_update: "no update is lost between a read and a set by its version",
        "the version is compared in the client";
    B53 b53_linearizable: "each operation takes effect at one moment between call and answer",
        "reads from a replica or cache, or two statements without a common lock";
}

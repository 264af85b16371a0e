//! Open: a transaction whose work is done, and that ends only after others have come; however it ends.

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, Error, Participation, PreparedTransactions,
    Transactional,
};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    balances::prepare_once,
    support::{commit, ensure_effects, ensure_nothing_left, fresh, participation, rollback},
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, opened, reaches_any_account},
        cases,
        support::retry,
    },
    context::Context,
    harness::Harness,
};

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Commit,
    Alone,
    Prepare,
}

const ENDS: [End; 3] = [End::Commit, End::Alone, End::Prepare];

/// Whether it went through; if not, it must be something that is tried again.
pub(super) fn went_through(answer: Result<(), Error>) -> CaseResult<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.is_retryable() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Adds one in a transaction, lets the rival come, and ends the transaction. Says whether it went through.
async fn added_beside<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: &Context<H>,
    name: &str,
    end: End,
    rival: impl FnOnce() -> JoinHandle<CaseResult>,
) -> CaseResult<bool> {
    let (store, work) = (cx.store(), participation(cx, name).await?);
    let mut tx = match end {
        End::Commit => store.begin().await?,
        End::Alone | End::Prepare => fresh(store, &work).await?,
    };
    let one = adjust(&format!("{name}/one"), name, 1)?;
    store.adjust_in(&mut tx, &one).await?;
    cx.write(&mut tx, name).await?;
    let rival = rival();
    sleep(cx.tick() * 2).await;
    let through = went_through(match end {
        End::Commit => store.commit(tx).await,
        End::Alone => store.commit_alone(tx, &work).await,
        End::Prepare => store.prepare(tx, &work).await,
    })?;
    if through && end == End::Prepare {
        commit(store, &work).await?;
    }
    rival.await??;
    ensure_effects(cx, name, u64::from(through)).await?;
    Ok(through)
}

/// Goal: however a transaction ends, it loses nothing of what changed its account since its work. Method:
/// add in one that is committed, in one phase or two, or plainly; outside, take meanwhile.
async fn t24_changed_since_the_work<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for end in ENDS {
        let name = format!("t24/{end:?}");
        opened(&cx, &name, 10).await?;
        let take = adjust(&format!("{name}/take"), &name, -10)?;
        let store = cx.store().clone();
        let rival = || {
            tokio::spawn(async move {
                retry(|| store.adjust(&take)).await?;
                Ok(())
            })
        };
        let through = added_beside(&cx, &name, end, rival).await;
        let through = through.map_err(|failure| failure.note(format!("ended by {end:?}")))?;
        let one = i64::from(through);
        ensure_held(&cx, &name, one, 2 + one).await?;
        ensure_sound(cx.store(), &name).await?;
    }
    ensure_nothing_left(&cx).await
}

/// Goal: nor does it go through what was prepared since. Method: as before, but the rival prepares, and is
/// committed in the end: both changes are made, or the transaction had to try again.
async fn t24_prepared_since_the_work<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for end in ENDS {
        let name = format!("t24/{end:?}");
        opened(&cx, &name, 10).await?;
        let take = adjust(&format!("{name}/take"), &name, -10)?;
        let work = participation(&cx, &format!("{name}/rival")).await?;
        let rival = || rival_prepares(cx.store(), &work, &take);
        let through = added_beside(&cx, &name, end, rival).await;
        let through = through.map_err(|failure| failure.note(format!("ended by {end:?}")))?;
        commit(cx.store(), &work).await?;
        let one = i64::from(through);
        ensure_held(&cx, &name, one, 2 + one).await?;
        ensure_sound(cx.store(), &name).await?;
    }
    ensure_nothing_left(&cx).await
}

/// An attempt at a prepared change that goes on until it has prepared.
pub(super) fn rival_prepares<S: BalanceTransaction + PreparedTransactions>(
    store: &S,
    work: &Participation,
    change: &Adjust,
) -> JoinHandle<CaseResult> {
    let (store, work, change) = (store.clone(), work.clone(), change.clone());
    tokio::spawn(async move {
        retry(|| prepare_once(&store, &work, &change)).await?;
        Ok(())
    })
}

/// Goal: an error that the work swallowed is not committed in one phase either. Method: write, spoil,
/// commit in one phase: an error, and nothing stays.
async fn t46_swallowed_error_alone<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let (store, work) = (cx.store(), participation(&cx, "t46").await?);
    let mut tx = fresh(store, &work).await?;
    cx.write(&mut tx, "t46").await?;
    if !cx.harness().spoil(&mut tx).await {
        return cx.ignore("no statement of this store's transactions can fail and be swallowed");
    }
    if store.commit_alone(tx, &work).await.is_ok() {
        return Err(CaseFailure::new(
            "the commit in one phase to report the error that the work has swallowed",
            "it said that everything is committed",
        ));
    }
    ensure_effects(&cx, "t46", 0).await?;
    rollback(store, &work).await?;
    ensure_nothing_left(&cx).await
}

cases! { "prepared::open" for BalanceTransaction where PreparedTransactions, "core::PreparedTransactions, Contract";
    T24 t24_changed_since_the_work: "however a transaction ends, it loses nothing that changed since its work",
        "what was read is compared by a plain commit only, and not in one phase or two";
    T24 t24_prepared_since_the_work: "however a transaction ends, it does not go through what was prepared since",
        "reservations are looked at when something is read, and not when it is committed";
    T46 t46_swallowed_error_alone: "a swallowed error is not committed in one phase either",
        "the probe stands before PREPARE only";
}

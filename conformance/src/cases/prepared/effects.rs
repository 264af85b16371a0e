//! Effects under a key, beside what is prepared: what is reserved is reserved for them, too.

use exactly_once_core::{BalanceTransaction, IdempotencyStore, PreparedTransactions, Settled};
use tokio::time::sleep;

use super::{
    open::rival_prepares,
    support::{commit, ensure_nothing_left, participation},
};
use crate::{
    CaseResult,
    cases::{
        balance::support::{adjust, ensure_held, ensure_sound, opened, reaches_any_account},
        cases,
        idempotency::support::fresh,
        support::{claim, receipt, retry},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Balances, and prepared transactions that change them.
pub(crate) trait PreparedBalances: BalanceTransaction + PreparedTransactions {}

impl<S: BalanceTransaction + PreparedTransactions> PreparedBalances for S {}

/// Goal: an effect does not go through what was prepared since its work, nor over its receipt. Method: add
/// under a claim; a rival prepares a debit of the same account; complete; commit the rival.
async fn t24_completed_beside_the_prepared<
    H: Harness<Store: IdempotencyStore + PreparedBalances>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t24", 10).await?;
    let (store, claim) = (cx.store(), claim("t24")?);
    let mut tx = fresh(store, &claim).await?;
    store.adjust_in(&mut tx, &adjust("one", "t24", 1)?).await?;
    cx.write(&mut tx, "t24").await?;
    let work = participation(&cx, "t24").await?;
    let rival = rival_prepares(store, &work, &adjust("take", "t24", -10)?);
    sleep(cx.tick() * 2).await;
    let settled = store.complete(tx, &claim, &receipt("24")).await;
    let through = matches!(settled, Ok(Settled::Recorded));
    if let Err(error) = &settled {
        ensure!(error.is_retryable(), seen: error, "the effect to be tried again");
    }
    rival.await??;
    commit(store, &work).await?;
    let one = i64::from(through);
    ensure_held(&cx, "t24", one, 2 + one).await?;
    ensure_eq!(cx.effects("t24").await?, u64::from(through), "effects");
    let known = retry(|| store.lookup(claim.key())).await?;
    ensure_eq!(known.is_some(), through, "whether its key is completed");
    ensure_sound(store, "t24").await?;
    ensure_nothing_left(&cx).await
}

cases! { "prepared::effects" for IdempotencyStore where PreparedBalances, "core::PreparedTransactions, core::IdempotencyStore";
    T24 t24_completed_beside_the_prepared: "an effect does not go through what was prepared since its work",
        "reservations are looked at by plain commits and other prepares only";
}

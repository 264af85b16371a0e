//! Words: each refusal of a key or a lease has the one text of `core::refusals`.

use exactly_once_core::{LeaseStore, adapter::refusals};

use super::support::{LONG, applied, granted};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, other_claim, worded},
    },
    context::Context,
    harness::Harness,
};

/// Goal: one event has one text on every backend. Method: renew, finalize and release with another
/// request, with a stale token, and finalize twice with different outcomes; compare the words.
async fn i110_refusals_have_one_text<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let store = cx.store();
    let gone = claim("i110/released")?;
    let (claim, other) = (claim("i110")?, other_claim("i110", "another request")?);
    let lease = granted(store, &claim, LONG).await?;
    let mismatch = refusals::mismatch("", "");
    let renewed = store.renew(&other, lease.token, LONG).await;
    worded(renewed, &mismatch, "renewing for another request")?;
    let finalized = store.finalize(&other, lease.token, &applied("x")).await;
    worded(finalized, &mismatch, "finalizing for another request")?;
    let released = store.release(&other, lease.token).await;
    worded(released, &mismatch, "releasing for another request")?;

    store
        .finalize(&claim, lease.token, &applied("first"))
        .await?;
    let twice = store
        .finalize(&claim, lease.token, &applied("second"))
        .await;
    worded(
        twice,
        &refusals::another_outcome("", ""),
        "finalizing with another outcome",
    )?;
    let fenced = refusals::fenced("", "");
    let renewed = store.renew(&claim, lease.token, LONG).await;
    worded(renewed, &fenced, "renewing what is finalized")?;

    let lease = granted(store, &gone, LONG).await?;
    store.release(&gone, lease.token).await?;
    let finalized = store.finalize(&gone, lease.token, &applied("late")).await;
    worded(finalized, &fenced, "finalizing what was released")?;
    let held = granted(store, &gone, LONG).await?;
    let released = store.release(&gone, lease.token).await;
    worded(released, &fenced, "releasing what another attempt holds")?;
    store.release(&gone, held.token).await?;
    Ok(())
}

cases! { "lease::words" for LeaseStore, "core::refusals";
    I110 i110_refusals_have_one_text: "each refusal of a lease has the one text of the core",
        "the store words its own refusals, so a caller can't tell two backends' events to be one";
}

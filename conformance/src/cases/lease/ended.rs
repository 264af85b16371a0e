//! Ended: what is released or finalized has ended, for its own holder too; and namespaces are apart.

use exactly_once_core::{ErrorKind, LeaseStore, Leased, Store};

use super::support::{LONG, applied, done, granted};
use crate::{
    CaseResult,
    cases::{
        cases,
        prepared::support::until,
        support::{claim, other_claim, refused},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: who has released a key has no right to it any more. Method: release; renew and finalize with
/// the same token; the key is free, for another request as well, and has no outcome.
async fn i69_released_is_over<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (claim, other) = (claim("i69")?, other_claim("i69", "another request")?);
    let lease = granted(cx.store(), &claim, LONG).await?;
    cx.store().release(&claim, lease.token).await?;
    let answer = cx.store().renew(&claim, lease.token, LONG).await;
    refused(answer, ErrorKind::Fenced, "renewing what was released")?;
    let answer = cx
        .store()
        .finalize(&claim, lease.token, &applied("late"))
        .await;
    refused(answer, ErrorKind::Fenced, "finalizing what was released")?;
    let next = granted(cx.store(), &other, LONG).await?;
    ensure!(next.token > lease.token, seen: (lease.token, next.token), "a greater token");
    let answer = cx.store().release(&claim, lease.token).await;
    refused(
        answer,
        ErrorKind::Mismatch,
        "releasing again what another request holds",
    )?;
    let answer = cx.store().lease(&other, LONG).await?;
    ensure_matches!(
        answer,
        Leased::InProgress { .. },
        "the next holder's lease to be in force"
    );
    Ok(())
}

/// Goal: an outcome is not taken back by the one who recorded it. Method: finalize; release and renew
/// with the same token; the outcome stands.
async fn i69_finalized_is_over<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i69")?;
    let lease = granted(cx.store(), &claim, LONG).await?;
    cx.store()
        .finalize(&claim, lease.token, &applied("done"))
        .await?;
    // Whether it reports that there is nothing to give back is the store's to choose.
    if let Err(error) = cx.store().release(&claim, lease.token).await {
        ensure_eq!(
            error.kind(),
            ErrorKind::Fenced,
            "the refusal of its release"
        );
    }
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("done"),
        "the outcome"
    );
    let answer = cx.store().renew(&claim, lease.token, LONG).await;
    refused(answer, ErrorKind::Fenced, "renewing what is finalized")?;
    ensure_eq!(
        done(cx.store(), &claim).await?,
        applied("done"),
        "the outcome"
    );
    Ok(())
}

/// Goal: who comes late and was not overtaken may go on, or give the key back. Method: let leases end;
/// renew one, which is in force then; release the other, which is free then, for another request too.
async fn i66_late_renewal_and_release<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let (kept, given) = (claim("i66/kept")?, claim("i66/given")?);
    let store = cx.store();
    let late = granted(store, &kept, cx.tick()).await?;
    until(store, late.deadline).await?;
    let renewed = store.renew(&kept, late.token, LONG).await;
    let renewed = renewed.expecting("a late renewal of what nobody else has")?;
    ensure!(renewed.token == late.token && renewed.deadline > late.deadline,
        seen: (late, renewed), "the same token, and a later deadline");
    let answer = store.lease(&kept, LONG).await?;
    ensure_matches!(answer, Leased::InProgress { .. }, "it to be in force again");
    let late = granted(store, &given, cx.tick()).await?;
    until(store, late.deadline).await?;
    let released = store.release(&given, late.token).await;
    released.expecting("a late release of what nobody else has")?;
    granted(store, &other_claim("i66/given", "another request")?, LONG).await?;
    Ok(())
}

/// Goal: namespaces are apart. Method: the same key held in two; finalize one, release the other.
async fn i80l_namespaces_are_apart<H: Harness<Store: LeaseStore>>(cx: Context<H>) -> CaseResult {
    let claim = claim("i80")?;
    let here = cx.store().clone();
    let there = here.with_namespace(format!("{}/i80", here.namespace()).parse()?);
    let (mine, other) = (
        granted(&here, &claim, LONG).await?,
        granted(&there, &claim, LONG).await?,
    );
    // Two namespaces may count alike.
    if mine.token != other.token {
        let answer = there.release(&claim, mine.token).await;
        refused(
            answer,
            ErrorKind::Fenced,
            "releasing with the other namespace's token",
        )?;
    }
    here.finalize(&claim, mine.token, &applied("here")).await?;
    let answer = there.lease(&claim, LONG).await?;
    ensure_matches!(
        answer,
        Leased::InProgress { .. },
        "the other namespace's lease to be in force"
    );
    there.release(&claim, other.token).await?;
    granted(&there, &claim, LONG).await?;
    ensure_eq!(
        done(&here, &claim).await?,
        applied("here"),
        "the outcome here"
    );
    Ok(())
}

cases! { "lease::ended" for LeaseStore, "core::LeaseStore, methods";
    I66 i66_late_renewal_and_release: "who comes late and was not overtaken may renew or release",
        "the deadline is compared where the token should be";
    I69 i69_released_is_over: "who has released a key has no right to it any more",
        "release only sets the deadline back, and the token goes on being current";
    I69 i69_finalized_is_over: "an outcome is not taken back by the one who recorded it",
        "release and renew compare the token and not the state";
    I80L i80l_namespaces_are_apart: "leases of two namespaces are apart",
        "the namespace is missing in the key of a lease";
}

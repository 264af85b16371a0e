//! What a store declares about itself, held against what it does.

use std::time::Duration;

use exactly_once_core::{
    ClaimMode, Claimed, IdempotencyStore, MAX_NAME_BYTES, Store, Transactional,
};

use super::support::{ensure_recorded, fresh};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, receipt},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// A wait that can't be meant.
const LONG_WAIT: Duration = Duration::from_secs(60);

/// Goal: a store that declares that keys are claimed first lets no rival start. Method: hold a key's
/// transaction; another handle's claim of it is never fresh, and a wait that it gets can be meant.
async fn i37_claimed_first<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    if cx.store().capabilities().claim != ClaimMode::First {
        return cx.ignore("the store declares that rivals may start (`ClaimMode::Optimistic`)");
    }
    let (claim, rival) = (claim("i37")?, cx.open().await?);
    let store = cx.store();
    let mut tx = fresh(store, &claim).await?;
    cx.write(&mut tx, "i37").await?;
    match rival.claim(&claim).await {
        Ok(Claimed::InProgress { retry_after }) => {
            ensure!(!retry_after.is_zero() && retry_after <= LONG_WAIT, seen: retry_after,
                "a wait that is no busy loop and not for ever");
        }
        Err(error) if error.is_retryable() => {}
        other => ensure!(false, seen: other, "a claimed key to be in progress for a rival"),
    }
    ensure_recorded(store.complete(tx, &claim, &receipt("37")).await)?;
    ensure_eq!(cx.effects("i37").await?, 1, "effects");
    rival.close().await?;
    Ok(())
}

/// Goal: what is declared can be meant, and is the same by every handle and in every namespace.
/// Method: compare.
async fn i38_declared_alike<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let declared = cx.store().capabilities();
    ensure!(declared.max_name_bytes >= MAX_NAME_BYTES, seen: declared,
        "names of {MAX_NAME_BYTES} bytes to be taken");
    ensure!(declared.max_receipt_bytes > 0, seen: declared, "some receipt to be taken");
    let other = cx.open().await?;
    ensure_eq!(
        other.capabilities(),
        declared,
        "what another handle declares"
    );
    let elsewhere = other.with_namespace("i38".parse()?);
    ensure_eq!(
        elsewhere.capabilities(),
        declared,
        "what it declares elsewhere"
    );
    ensure_eq!(
        elsewhere.namespace().as_str(),
        "i38",
        "the namespace of that handle"
    );
    ensure_eq!(elsewhere.backend(), other.backend(), "the backend's name");
    let tx = elsewhere.begin().await?;
    elsewhere.rollback(tx).await?;
    Ok(())
}

cases! { "idempotency::declared" for IdempotencyStore, "core::Capabilities";
    I37 i37_claimed_first: "a store that claims keys first lets no rival start",
        "the key is only written with the commit: declare `ClaimMode::Optimistic`";
    I38 i38_declared_alike: "what is declared can be meant and is the same by every handle",
        "capabilities are found out per handle, or lost by `with_namespace`";
}

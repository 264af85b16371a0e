//! Refusals: each changes nothing, is kept by its key, and stays true.

use std::fmt::Debug;

use exactly_once_core::{BalanceStore, Error, ErrorKind, Expected, Floor, Namespace, Store};

use super::{
    crash::zombie,
    support::{
        adjust, close, ensure_held, ensure_sound, needs_transfers, open, opened, set, transfer,
        version,
    },
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, amount, refused},
    },
    check::Expecting,
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Goal: a refusal is the answer of its key for good. Method: an overdraft is refused; once there is
/// money, the same key is refused in the same words, also after a reopen, and a new key goes through.
async fn b13_refusal_is_final<H: Harness<Store: BalanceStore>>(mut cx: Context<H>) -> CaseResult {
    opened(&cx, "b13", 1).await?;
    let operation = adjust("spend", "b13", -2)?;
    let told = cx.store().adjust(&operation).await;
    let first = told.err().expecting("an overdraft to be refused")?;
    ensure_eq!(first.kind(), ErrorKind::InsufficientFunds, "the refusal");
    ensure_held(&cx, "b13", 1, 1).await?;
    cx.store().adjust(&adjust("earn", "b13", 9)?).await?;
    for _ in 0..2 {
        let told = cx.store().adjust(&operation).await;
        let again = told.err().expecting("the refusal to stay one")?;
        ensure_eq!(again.to_string(), first.to_string(), "the refusal's words");
        cx.reopen().await?;
    }
    ensure_held(&cx, "b13", 10, 2).await?;
    let anew = cx.store().adjust(&adjust("anew", "b13", -2)?).await?;
    ensure_eq!(anew.change.after, amount(8), "the same under a new key");
    ensure_sound(cx.store(), "b13").await?;
    Ok(())
}

/// The answer is this refusal, before its reason is gone and after it.
fn both<T: Debug>(
    before: Result<T, Error>,
    after: Result<T, Error>,
    kind: ErrorKind,
    what: &str,
) -> CaseResult {
    refused(before, kind, what)?;
    refused(after, kind, &format!("{what}, asked again"))
}

/// Goal: every kind of refusal is final. Method: an account that is not open, an overflow, an opening
/// of what is open, a closing of what is not empty, a version that is yet to come; each again once
/// nothing stands against it any more.
async fn b13_every_refusal_is_final<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let store = cx.store();
    let early = adjust("early", "b13/e", 1)?;
    let before = store.adjust(&early).await;
    opened(&cx, "b13/e", i64::MAX).await?;
    let unknown = ErrorKind::UnknownAccount;
    both(
        before,
        store.adjust(&early).await,
        unknown,
        "an unknown account",
    )?;

    let over = adjust("over", "b13/e", 1)?;
    let before = store.adjust(&over).await;
    store.adjust(&adjust("down", "b13/e", -5)?).await?;
    both(
        before,
        store.adjust(&over).await,
        ErrorKind::Overflow,
        "one too many",
    )?;

    // Version 3 does not exist yet; then it does.
    let ahead = set("ahead", "b13/e", Expected::Version(version(3)?), 7)?;
    let before = store.compare_and_set(&ahead).await;
    store.adjust(&adjust("third", "b13/e", 1)?).await?;
    let conflict = ErrorKind::Conflict {
        current: Some(version(2)?),
    };
    both(
        before,
        store.compare_and_set(&ahead).await,
        conflict,
        "a later version",
    )?;

    let closing = close("closing", "b13/e")?;
    let before = store.close_account(&closing).await;
    let empty = set("empty", "b13/e", Expected::Any, 0)?;
    store.compare_and_set(&empty).await?;
    let conflict = ErrorKind::Conflict {
        current: Some(version(3)?),
    };
    both(
        before,
        store.close_account(&closing).await,
        conflict,
        "a closing",
    )?;

    let opening = open("opening", "b13/e")?;
    let before = store.open_account(&opening).await;
    store.close_account(&close("closed", "b13/e")?).await?;
    let conflict = ErrorKind::Conflict {
        current: Some(version(4)?),
    };
    both(
        before,
        store.open_account(&opening).await,
        conflict,
        "an opening",
    )?;
    let state = store.balance(&account("b13/e")?).await?;
    ensure_eq!(
        state.map(|state| state.open),
        Some(false),
        "whether it is open"
    );
    ensure_held(&cx, "b13/e", 0, 5).await?;
    ensure_sound(store, "b13/e").await?;
    Ok(())
}

/// Goal: a refused transfer is final, too. Method: its second leg is refused; once it would not be,
/// it is asked again.
async fn b13_refused_transfer_is_final<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    needs_transfers(&cx)?;
    opened(&cx, "b13/a", 0).await?;
    opened(&cx, "b13/b", 0).await?;
    let operation = transfer("move", &[("b13/a", 5), ("b13/b", -5)])?;
    let before = cx.store().transfer(&operation).await;
    cx.store().adjust(&adjust("earn", "b13/b", 5)?).await?;
    let after = cx.store().transfer(&operation).await;
    both(before, after, ErrorKind::InsufficientFunds, "a transfer")?;
    ensure_held(&cx, "b13/a", 0, 1).await?;
    ensure_held(&cx, "b13/b", 5, 2).await
}

/// Goal: the key of a refusal belongs to its request. Method: the key with another delta, floor,
/// account and kind, each of which would go through: mismatches.
async fn b13_key_of_a_refusal<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b13", 1).await?;
    opened(&cx, "b13/other", 100).await?;
    let operation = adjust("k", "b13", -2)?;
    let store = cx.store();
    let funds = ErrorKind::InsufficientFunds;
    refused(store.adjust(&operation).await, funds, "an overdraft")?;
    for (what, other) in [
        ("delta", adjust("k", "b13", 2)?),
        ("floor", operation.clone().with_floor(Floor::None)),
        ("account", adjust("k", "b13/other", -2)?),
    ] {
        let answer = store.adjust(&other).await;
        let what = format!("the key of a refusal with another {what}");
        refused(answer, ErrorKind::Mismatch, &what)?;
    }
    let other = store
        .compare_and_set(&set("k", "b13", Expected::Any, 5)?)
        .await;
    refused(
        other,
        ErrorKind::Mismatch,
        "a set under the key of a refusal",
    )?;
    ensure_held(&cx, "b13", 1, 1).await?;
    ensure_held(&cx, "b13/other", 100, 1).await
}

/// Goal: a refusal is kept in its own namespace. Method: refuse here; there, where nothing stands
/// against it, the same operation is applied; here it stays refused.
async fn b13_refusal_in_its_namespace<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b13", 1).await?;
    let operation = adjust("k", "b13", -2)?;
    let funds = ErrorKind::InsufficientFunds;
    refused(cx.store().adjust(&operation).await, funds, "an overdraft")?;
    let elsewhere = format!("{}/b13", cx.store().namespace());
    let other = cx.store().with_namespace(Namespace::new(elsewhere)?);
    let opening = open("open/b13", "b13")?.with_amount(amount(5));
    other.open_account(&opening).await?;
    let applied = other.adjust(&operation).await;
    let applied = applied.expecting("the same operation in another namespace to be applied")?;
    ensure_eq!(
        (applied.replayed, applied.change.after),
        (false, amount(3)),
        "the answer there"
    );
    refused(cx.store().adjust(&operation).await, funds, "it, here again")?;
    ensure_held(&cx, "b13", 1, 1).await
}

/// Goal: a zombie that lands after its retry was refused is refused, too, whatever was paid in
/// meanwhile: a caller has acted on the refusal. Method: the first attempt is held on its way until
/// its retry was refused and the account credited.
async fn b13_zombie_after_its_refusal<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b13", 0).await?;
    let late = adjust("k", "b13", -7)?;
    zombie(&cx, &late, Some(&adjust("later", "b13", 100)?)).await?;
    ensure_held(&cx, "b13", 100, 2).await?;
    ensure_sound(cx.store(), "b13").await?;
    Ok(())
}

cases! { "balance::refusals" for BalanceStore, "core::BalanceStore, Contract: a refusal is final";
    B13 b13_refusal_is_final: "a refusal changes nothing, and is the answer of its key for good",
        "a refused operation is not recorded under its key, and decided anew";
    B13 b13_every_refusal_is_final: "each kind of refusal is final",
        "only insufficient funds are recorded";
    B13 b13_refused_transfer_is_final: "a refused transfer is final",
        "only operations on one account are recorded";
    B13 b13_key_of_a_refusal: "the key of a refusal belongs to its request",
        "the refusal is recorded without the fingerprint";
    B13 b13_refusal_in_its_namespace: "a refusal is kept in its own namespace",
        "the namespace is missing where refusals are looked up";
    B13 b13_zombie_after_its_refusal: "a zombie that lands after its refusal changes nothing",
        "a refusal is told before it is recorded, or never recorded";
}

//! Replay: a key is applied once, and then answers with its own change for good.

use exactly_once_core::{
    Adjust, BalanceStore, CompareAndSet, ErrorKind, Expected, Floor, Namespace, Store, Version,
};

use super::support::{
    adjust, close, ensure_held, ensure_sound, held, needs_transfers, open, opened, set, transfer,
    version,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{amount, refused},
    },
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Goal: a retry gives the same receipt and changes nothing. Method: each kind of operation
/// three times.
async fn b10_same_receipt<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let opening = open("open", "b10")?.with_amount(amount(5));
    let adding = adjust("add", "b10", -5)?;
    let setting = set("set", "b10", Expected::Any, 0)?;
    let closing = close("close", "b10")?;
    let first = [
        cx.store().open_account(&opening).await?.change,
        cx.store().adjust(&adding).await?.change,
        cx.store().compare_and_set(&setting).await?.change,
        cx.store().close_account(&closing).await?.change,
    ];
    for attempt in 2..=3 {
        let again = [
            cx.store().open_account(&opening).await?,
            cx.store().adjust(&adding).await?,
            cx.store().compare_and_set(&setting).await?,
            cx.store().close_account(&closing).await?,
        ];
        for (again, first) in again.iter().zip(&first) {
            ensure_eq!(
                again.replayed,
                true,
                "attempt {attempt} to say that it is a replay"
            );
            ensure_eq!(again.change, *first, "the receipt of attempt {attempt}");
        }
    }
    ensure_held(&cx, "b10", 0, 4).await
}

/// Goal: the receipt is the original one also after a thousand later changes. Method: as said;
/// the replay must neither change the account nor tell of its present state.
async fn b11_after_many_later_changes<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b11", 100).await?;
    let operation = adjust("first", "b11", 7)?;
    let first = cx.store().adjust(&operation).await?.change;
    let later = cx.case().scaled(1_000, 60) as i64;
    for number in 0..later {
        cx.store()
            .adjust(&adjust(&format!("later/{number}"), "b11", 1)?)
            .await?;
    }
    let replay = cx.store().adjust(&operation).await?;
    ensure_eq!(replay.replayed, true, "whether it is a replay");
    ensure_eq!(
        replay.change,
        first,
        "the receipt after {later} later changes"
    );
    ensure_held(&cx, "b11", 107 + later, 2 + later).await
}

/// Goal: the receipt outlives the account. Method: close it, replay; open it again, replay.
async fn b12_after_the_account_is_closed<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    let opening = opened(&cx, "b12", 5).await?.change;
    let operation = adjust("spend", "b12", -5)?;
    let first = cx.store().adjust(&operation).await?.change;
    cx.store().close_account(&close("close", "b12")?).await?;
    ensure_eq!(
        cx.store().adjust(&operation).await?.change,
        first,
        "the receipt once closed"
    );
    let again = open("open/b12", "b12")?.with_amount(amount(5));
    let replay = cx.store().open_account(&again).await?;
    ensure_eq!(
        replay.change,
        opening,
        "the receipt of the first opening, once closed"
    );
    ensure_eq!(
        held(&cx, "b12").await?.open,
        false,
        "a replayed opening to open nothing"
    );
    cx.store().open_account(&open("anew", "b12")?).await?;
    ensure_eq!(
        cx.store().adjust(&operation).await?.change,
        first,
        "the receipt once open again"
    );
    ensure_held(&cx, "b12", 0, 4).await
}

/// Applies an adjustment, then the same key with one parameter changed: a mismatch.
async fn mismatch<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    what: &str,
    other: impl FnOnce(Adjust) -> CaseResult<Adjust>,
) -> CaseResult {
    opened(cx, "b14", 100).await?;
    opened(cx, "b14/other", 100).await?;
    let operation = adjust("k", "b14", 5)?;
    let first = cx.store().adjust(&operation).await?.change;
    let answer = cx.store().adjust(&other(operation.clone())?).await;
    refused(answer, ErrorKind::Mismatch, what)?;
    ensure_held(cx, "b14", 105, 2).await?;
    ensure_held(cx, "b14/other", 100, 1).await?;
    ensure_eq!(
        cx.store().adjust(&operation).await?.change,
        first,
        "the receipt afterwards"
    );
    Ok(())
}

/// Goal: a key belongs to its delta. Method: the same key with another delta.
async fn b14_other_delta_is_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    mismatch(&cx, "the same key with another delta", |operation| {
        Ok(Adjust {
            delta: amount(6),
            ..operation
        })
    })
    .await
}

/// Goal: a key belongs to its account. Method: the same key with another account.
async fn b14_other_account_is_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    mismatch(&cx, "the same key with another account", |operation| {
        Ok(Adjust {
            account: "b14/other".parse()?,
            ..operation
        })
    })
    .await
}

/// Goal: a key belongs to its expected version. Method: the same key with one.
async fn b14_other_version_is_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    mismatch(&cx, "the same key with an expected version", |operation| {
        Ok(operation.expecting(Version::FIRST))
    })
    .await
}

/// Goal: a key belongs to its floor. Method: the same key with one, equal to the account's own.
async fn b14_other_floor_is_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    mismatch(&cx, "the same key with a floor", |operation| {
        Ok(operation.with_floor(Floor::default()))
    })
    .await
}

/// Goal: a key belongs to its kind of operation. Method: the key of an adjustment for every other
/// kind, each of which would succeed under a key of its own.
async fn b14_other_kind_is_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b14", 5).await?;
    cx.store().adjust(&adjust("k", "b14", -5)?).await?;
    let mismatch = ErrorKind::Mismatch;
    refused(
        cx.store().close_account(&close("k", "b14")?).await,
        mismatch,
        "closing",
    )?;
    let other = cx.store().open_account(&open("k", "b14/new")?).await;
    refused(other, mismatch, "opening")?;
    let other = cx
        .store()
        .compare_and_set(&set("k", "b14", Expected::Any, 3)?)
        .await;
    refused(other, mismatch, "a compare-and-set")?;
    if needs_transfers(&cx).is_ok() {
        opened(&cx, "b14/rich", 5).await?;
        let gift = transfer("k", &[("b14/rich", -5), ("b14", 5)])?;
        refused(cx.store().transfer(&gift).await, mismatch, "a transfer")?;
        ensure_held(&cx, "b14/rich", 5, 1).await?;
    }
    ensure_held(&cx, "b14", 0, 2).await
}

/// Goal: a key belongs to all parameters of its operation, whatever kind that is. Method: a set and
/// an opening, each again with one parameter changed.
async fn b14_other_parameters_are_a_mismatch<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b14", 5).await?;
    opened(&cx, "b14/other", 5).await?;
    let mismatch = ErrorKind::Mismatch;
    let setting = set("set", "b14", Expected::Any, 7)?;
    let first = cx.store().compare_and_set(&setting).await?.change;
    let floor = Some(Floor::default());
    let others = [
        ("amount", set("set", "b14", Expected::Any, 8)?),
        ("account", set("set", "b14/other", Expected::Any, 7)?),
        (
            "version",
            set("set", "b14", Expected::Version(version(2)?), 7)?,
        ),
        (
            "floor",
            CompareAndSet {
                floor,
                ..setting.clone()
            },
        ),
    ];
    for (what, other) in others {
        let answer = cx.store().compare_and_set(&other).await;
        refused(answer, mismatch, &format!("a set with another {what}"))?;
    }
    let opening = open("open", "b14/new")?.with_amount(amount(3));
    let opened_first = cx.store().open_account(&opening).await?.change;
    let others = [
        ("amount", opening.clone().with_amount(amount(4))),
        ("floor", opening.clone().with_floor(Floor::None)),
        ("account", open("open", "b14/newer")?.with_amount(amount(3))),
    ];
    for (what, other) in others {
        let answer = cx.store().open_account(&other).await;
        refused(answer, mismatch, &format!("an opening with another {what}"))?;
    }
    let again = cx.store().compare_and_set(&setting).await?;
    ensure_eq!(
        (again.replayed, again.change),
        (true, first),
        "the set's replay"
    );
    let again = cx.store().open_account(&opening).await?;
    ensure_eq!(
        (again.replayed, again.change),
        (true, opened_first),
        "the opening's replay"
    );
    ensure_held(&cx, "b14", 7, 2).await?;
    ensure_held(&cx, "b14/other", 5, 1).await
}

/// Goal: namespaces are apart. Method: the same key and account in another one.
async fn b15_other_namespace<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b15", 1).await?;
    let operation = adjust("k", "b15", 10)?;
    cx.store().adjust(&operation).await?;
    let elsewhere = format!("{}/b15", cx.store().namespace());
    let other = cx.store().with_namespace(Namespace::new(elsewhere)?);
    let answer = other.adjust(&adjust("early", "b15", 10)?).await;
    refused(
        answer,
        ErrorKind::UnknownAccount,
        "a change in the other namespace",
    )?;
    other
        .open_account(&open("open/b15", "b15")?.with_amount(amount(500)))
        .await?;
    let applied = other.adjust(&operation).await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether the other namespace replays this one's key"
    );
    ensure_eq!(applied.change.after, amount(510), "the balance there");
    ensure_held(&cx, "b15", 11, 2).await?;
    ensure_sound(&other, "b15").await?;
    Ok(())
}

/// Goal: a winner does not get *conflict* on its retry because its own win moved the version.
/// Method: an adjustment and a compare-and-set with an expected version, each again.
async fn b16_stale_version_of_a_replay<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b16", 10).await?;
    let adding = adjust("add", "b16", 5)?.expecting(version(1)?);
    let first = cx.store().adjust(&adding).await?.change;
    let replay = cx.store().adjust(&adding).await?;
    ensure_eq!(
        replay.change,
        first,
        "the receipt of an adjustment whose version has moved"
    );
    let setting = set("set", "b16", Expected::Version(version(2)?), 40)?;
    let first = cx.store().compare_and_set(&setting).await?.change;
    let replay = cx.store().compare_and_set(&setting).await?;
    ensure_eq!(
        replay.change,
        first,
        "the receipt of a compare-and-set whose version has moved"
    );
    // Nor *insufficient funds* because its own win spent the money.
    let spending = adjust("spend", "b16", -40)?;
    let first = cx.store().adjust(&spending).await?.change;
    let replay = cx.store().adjust(&spending).await?;
    ensure_eq!(
        replay.change,
        first,
        "the receipt of a debit that left nothing"
    );
    ensure_held(&cx, "b16", 0, 4).await
}

/// Goal: a transfer is replayed whole. Method: again, also after later changes; then the same key
/// with the legs in another order, which is another request.
async fn b17_transfer_is_replayed<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    opened(&cx, "b17/a", 10).await?;
    opened(&cx, "b17/b", 10).await?;
    let operation = transfer("move", &[("b17/a", -10), ("b17/b", 10)])?;
    let first = cx.store().transfer(&operation).await?;
    cx.store().adjust(&adjust("later", "b17/b", 1)?).await?;
    let replay = cx.store().transfer(&operation).await?;
    ensure_eq!(replay.replayed, true, "whether it is a replay");
    ensure_eq!(
        replay.changes,
        first.changes,
        "the receipts of the transfer"
    );
    opened(&cx, "b17/c", 10).await?;
    let others = [
        ("the legs in another order", [("b17/b", 10), ("b17/a", -10)]),
        ("other amounts", [("b17/a", -9), ("b17/b", 9)]),
        ("another payee", [("b17/a", -10), ("b17/c", 10)]),
        ("another payer", [("b17/c", -10), ("b17/b", 10)]),
    ];
    for (what, legs) in others {
        let answer = cx.store().transfer(&transfer("move", &legs)?).await;
        refused(
            answer,
            ErrorKind::Mismatch,
            &format!("the same key with {what}"),
        )?;
    }
    ensure_held(&cx, "b17/c", 10, 1).await?;
    ensure_held(&cx, "b17/a", 0, 2).await?;
    ensure_held(&cx, "b17/b", 21, 3).await
}

cases! { "balance::replay" for BalanceStore, "core::BalanceStore, Contract";
    B10 b10_same_receipt: "a retry gives the same receipt and changes nothing",
        "the operation's record is not written, or not with the change";
    B11 b11_after_many_later_changes: "the receipt is the original one after a thousand later changes",
        "a replay answers with the current balance";
    B12 b12_after_the_account_is_closed: "the receipt outlives the account",
        "existence is checked before the replay, or closing removes the records";
    B14 b14_other_delta_is_a_mismatch: "a key belongs to its delta",
        "the parameters of a replay are ignored";
    B14 b14_other_account_is_a_mismatch: "a key belongs to its account",
        "records are looked up by account and key";
    B14 b14_other_version_is_a_mismatch: "a key belongs to its expected version",
        "only some parameters are compared";
    B14 b14_other_floor_is_a_mismatch: "a key belongs to its floor",
        "only some parameters are compared";
    B14 b14_other_kind_is_a_mismatch: "a key belongs to its kind of operation",
        "each kind of operation has keys of its own";
    B14 b14_other_parameters_are_a_mismatch: "a key of a set or an opening belongs to all its parameters",
        "only adjustments are compared, or only some parameters";
    B15 b15_other_namespace: "namespaces are apart",
        "the namespace is missing in a WHERE clause or key";
    B16 b16_stale_version_of_a_replay: "the replay check comes before version and funds",
        "the version is compared before the key is looked up";
    B17 b17_transfer_is_replayed: "a transfer is replayed whole",
        "only the first leg is recorded, or a replay reads the legs' current state";
}

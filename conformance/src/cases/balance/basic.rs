//! Basic: what each operation does, and what its receipt says.

use exactly_once_core::{
    Adjust, Applied, BalanceStore, Change, ChangeKind, ErrorKind, Expected, Floor, Store, Version,
};

use super::support::{
    adjust, close, ensure_held, ensure_sound, ensure_unknown, held, needs_transfers, open, opened,
    set, transfer,
};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, amount, key, refused},
    },
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Goal: an account that never was is reported as such, and nothing brings it about but opening it.
/// Method: every operation on it, then its balance.
async fn b01_unknown_account<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let unknown = ErrorKind::UnknownAccount;
    ensure_unknown(&cx, "b01").await?;
    refused(
        cx.store().adjust(&adjust("k1", "b01", 5)?).await,
        unknown,
        "an adjustment",
    )?;
    let by_version = set("k2", "b01", Expected::Version(Version::FIRST), 5)?;
    refused(
        cx.store().compare_and_set(&by_version).await,
        unknown,
        "a compare-and-set",
    )?;
    let any = set("k3", "b01", Expected::Any, 5)?;
    refused(
        cx.store().compare_and_set(&any).await,
        unknown,
        "an unconditional set",
    )?;
    refused(
        cx.store().close_account(&close("k4", "b01")?).await,
        unknown,
        "closing",
    )?;
    refused(
        cx.store().history(&account("b01")?, None, 10).await,
        unknown,
        "the history",
    )?;
    if cx.store().capabilities().transfers_across_shards {
        let gift = transfer("k5", &[("b01", -5), ("b01/other", 5)])?;
        refused(cx.store().transfer(&gift).await, unknown, "a transfer")?;
    }
    ensure_unknown(&cx, "b01").await
}

/// Goal: a credit adds. Method: open with 100, add 50, look by both handles.
async fn b02_credit<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b02", 100).await?;
    let applied = cx.store().adjust(&adjust("credit", "b02", 50)?).await?;
    ensure_eq!(
        applied.replayed,
        false,
        "whether the first call is a replay"
    );
    ensure_held(&cx, "b02", 150, 2).await?;
    ensure_held(&cx, "b02", 150, 2).await
}

/// Goal: a debit takes away. Method: open with 100, take 30, look by both handles.
async fn b03_debit<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b03", 100).await?;
    cx.store().adjust(&adjust("debit", "b03", -30)?).await?;
    ensure_held(&cx, "b03", 70, 2).await?;
    ensure_held(&cx, "b03", 70, 2).await
}

/// Goal: the receipt holds key, account, kind, delta, before, after and version, for every kind of
/// operation, and the history holds the same. Method: one of each; compare all fields.
async fn b04_receipt_is_complete<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let change = |name: &str, kind, delta, before, after, at| -> CaseResult<Applied> {
        let change = Change {
            key: key(name)?,
            account: account("b04")?,
            kind,
            delta: amount(delta),
            before: amount(before),
            after: amount(after),
            version: Version::new(at)?,
        };
        Ok(Applied {
            change,
            replayed: false,
        })
    };
    let expected = [
        change("open", ChangeKind::Open, 10, 0, 10, 1)?,
        change("add", ChangeKind::Adjust, -4, 10, 6, 2)?,
        change("set", ChangeKind::CompareAndSet, -6, 6, 0, 3)?,
        change("close", ChangeKind::Close, 0, 0, 0, 4)?,
        change("again", ChangeKind::CompareAndSet, 7, 0, 7, 5)?,
    ];
    let at = Expected::Version(Version::new(2)?);
    let seen = [
        cx.store()
            .open_account(&open("open", "b04")?.with_amount(amount(10)))
            .await?,
        cx.store().adjust(&adjust("add", "b04", -4)?).await?,
        cx.store()
            .compare_and_set(&set("set", "b04", at, 0)?)
            .await?,
        cx.store().close_account(&close("close", "b04")?).await?,
        cx.store()
            .compare_and_set(&set("again", "b04", Expected::Absent, 7)?)
            .await?,
    ];
    for (seen, expected) in seen.iter().zip(&expected) {
        ensure_eq!(
            seen,
            expected,
            "the receipt of a {:?}",
            expected.change.kind
        );
    }
    let (_, changes) = ensure_sound(cx.store(), "b04").await?;
    let expected: Vec<_> = expected.into_iter().map(|applied| applied.change).collect();
    ensure_eq!(changes, expected, "the history");
    Ok(())
}

/// Goal: a delta of zero is a change like any other. Method: add zero; version and history grow.
async fn b05_zero_delta_is_a_change<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b05", 9).await?;
    let applied = cx.store().adjust(&adjust("zero", "b05", 0)?).await?;
    ensure_eq!(
        applied.change.version.get(),
        2,
        "the version after adding zero"
    );
    ensure_held(&cx, "b05", 9, 2).await?;
    let again = cx.store().adjust(&adjust("zero", "b05", 0)?).await?;
    ensure_eq!(again.replayed, true, "whether its retry is a replay");
    ensure_eq!(
        ensure_sound(cx.store(), "b05").await?.1.len(),
        2,
        "changes in the history"
    );
    Ok(())
}

/// Goal: opening keeps floor and first amount; an open account can't be opened, and one with money
/// not be closed. Method: each, and the state after.
async fn b06_open_and_close<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let floor = Floor::At(amount(-5));
    let low = open("low", "b06")?
        .with_floor(floor)
        .with_amount(amount(-6));
    refused(
        cx.store().open_account(&low).await,
        ErrorKind::InsufficientFunds,
        "opening below the floor",
    )?;
    ensure_unknown(&cx, "b06").await?;
    let first = open("first", "b06")?
        .with_floor(floor)
        .with_amount(amount(-5));
    cx.store().open_account(&first).await?;
    let state = held(&cx, "b06").await?;
    ensure_eq!(
        (state.floor, state.open),
        (floor, true),
        "floor, and whether it is open"
    );
    let conflict = ErrorKind::Conflict {
        current: Some(Version::FIRST),
    };
    refused(
        cx.store().open_account(&open("second", "b06")?).await,
        conflict,
        "opening again",
    )?;
    refused(
        cx.store().close_account(&close("early", "b06")?).await,
        conflict,
        "closing early",
    )?;
    ensure_held(&cx, "b06", -5, 1).await?;
    cx.store().adjust(&adjust("pay", "b06", 5)?).await?;
    cx.store().close_account(&close("late", "b06")?).await?;
    let state = held(&cx, "b06").await?;
    ensure_eq!(
        (state.open, state.version.get()),
        (false, 3),
        "whether it is open, and version"
    );
    let closed = adjust("after", "b06", 1)?;
    refused(
        cx.store().adjust(&closed).await,
        ErrorKind::UnknownAccount,
        "a change once closed",
    )?;
    ensure_held(&cx, "b06", 0, 3).await
}

/// Goal: a transfer answers with a change for each leg, in the order of the legs. Method: three
/// legs in no alphabetical order, compared field by field.
async fn b07_transfer_receipt_is_complete<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    needs_transfers(&cx)?;
    let legs = [("b07/m", 30_i64), ("b07/z", -50), ("b07/a", 20)];
    for (holder, _) in legs {
        opened(&cx, holder, 50).await?;
    }
    let done = cx.store().transfer(&transfer("move", &legs)?).await?;
    ensure_eq!(done.replayed, false, "whether the first call is a replay");
    let expected = legs
        .iter()
        .map(|(holder, delta)| {
            Ok(Change {
                key: key("move")?,
                account: account(holder)?,
                kind: ChangeKind::Transfer,
                delta: amount(*delta),
                before: amount(50),
                after: amount(50 + delta),
                version: Version::new(2)?,
            })
        })
        .collect::<CaseResult<Vec<_>>>()?;
    ensure_eq!(done.changes, expected, "the changes of the transfer");
    for (holder, delta) in legs {
        ensure_held(&cx, holder, 50 + delta, 2).await?;
    }
    Ok(())
}

/// Goal: an operation's own floor counts for that operation alone. Method: overdraw with one, then
/// try without; a credit below the floor is allowed.
async fn b08_floor_of_one_operation<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b08", 10).await?;
    let credit_line = |operation: Adjust| operation.with_floor(Floor::At(amount(-20)));
    cx.store()
        .adjust(&credit_line(adjust("k1", "b08", -30)?))
        .await?;
    ensure_held(&cx, "b08", -20, 2).await?;
    let funds = ErrorKind::InsufficientFunds;
    refused(
        cx.store().adjust(&adjust("k2", "b08", -1)?).await,
        funds,
        "a debit without it",
    )?;
    let more = credit_line(adjust("k3", "b08", -1)?);
    refused(cx.store().adjust(&more).await, funds, "a debit beyond it")?;
    cx.store().adjust(&adjust("k4", "b08", 5)?).await?;
    ensure_held(&cx, "b08", -15, 3).await?;
    ensure_eq!(
        held(&cx, "b08").await?.floor,
        Floor::default(),
        "the account's own floor"
    );
    Ok(())
}

/// Goal: an account that is opened again has the floor of its new opening. Method: with another floor,
/// with none, and by a set of what is absent; debits go as far as it says.
async fn b09_reopened_with_its_own_floor<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    let opening = open("1", "b09")?.with_floor(Floor::At(amount(-5)));
    store.open_account(&opening).await?;
    store.close_account(&close("2", "b09")?).await?;
    store.open_account(&open("3", "b09")?).await?;
    let zero = Floor::At(amount(0));
    ensure_eq!(held(&cx, "b09").await?.floor, zero, "the second floor");
    let low = store.adjust(&adjust("4", "b09", -1)?).await;
    let funds = ErrorKind::InsufficientFunds;
    refused(low, funds, "a debit that only the first floor allows")?;
    store.close_account(&close("5", "b09")?).await?;
    let opening = open("6", "b09")?.with_floor(Floor::None);
    store.open_account(&opening).await?;
    ensure_eq!(held(&cx, "b09").await?.floor, Floor::None, "no floor");
    store.adjust(&adjust("7", "b09", -9)?).await?;
    store.adjust(&adjust("8", "b09", 9)?).await?;
    store.close_account(&close("9", "b09")?).await?;
    let floor = Floor::At(amount(-2));
    let setting = set("10", "b09", Expected::Absent, -2)?.with_floor(floor);
    store.compare_and_set(&setting).await?;
    ensure_eq!(held(&cx, "b09").await?.floor, floor, "the last floor");
    let low = store.adjust(&adjust("11", "b09", -1)?).await;
    refused(low, funds, "a debit below the last floor")?;
    ensure_held(&cx, "b09", -2, 9).await?;
    ensure_sound(store, "b09").await?;
    Ok(())
}

cases! { "balance::basic" for BalanceStore, "core::BalanceStore, methods";
    B01 b01_unknown_account: "an account that never was is unknown, and stays so",
        "an absent row is read as a balance of zero, or an UPDATE of no row as success";
    B02 b02_credit: "a credit adds its delta",
        "the amount is set instead of added to";
    B03 b03_debit: "a debit takes its delta away",
        "the sign is lost on the way to the database";
    B04 b04_receipt_is_complete: "receipt and history hold key, account, kind, delta, before, after, version",
        "the receipt is built from the state after the change, or of another statement";
    B05 b05_zero_delta_is_a_change: "a delta of zero has a version and a line in the history",
        "an update that changes no value is taken for none";
    B06 b06_open_and_close: "an account is opened once with its floor, and closed only when empty",
        "opening overwrites an account that is open, or the floor is not stored";
    B07 b07_transfer_receipt_is_complete: "a transfer answers with its changes in the order of its legs",
        "the changes come in the order in which accounts were locked";
    B09 b09_reopened_with_its_own_floor: "an account that is opened again has the floor of its new opening",
        "the row is updated, and the first floor stays in it";
    B08 b08_floor_of_one_operation: "an operation's floor counts for it alone",
        "the operation's floor is stored with the account, or ignored";
}

//! Numbers: whole numbers over all of `i64`, exact in balance, receipt and history.

use exactly_once_core::{Adjust, BalanceStore, ErrorKind, Expected, Floor};

use super::support::{
    MAX, MIN, adjust, ensure_held, ensure_sound, needs_transfers, open, opened,
    opened_without_floor, set, transfer,
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

/// Where a double stops being exact.
const TWO_53: i64 = 1 << 53;

/// Goal: up to the largest amount, and not one further. Method: to `i64::MAX` and one more; the
/// state is unchanged, and still a number that can be reckoned with.
async fn b30_up_to_the_largest<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b30", MAX - 5).await?;
    let applied = cx.store().adjust(&adjust("to", "b30", 5)?).await?;
    ensure_eq!(
        applied.change.after.get(),
        MAX,
        "the balance in the receipt"
    );
    for (name, delta) in [("over", 1), ("far", MAX)] {
        let answer = cx.store().adjust(&adjust(name, "b30", delta)?).await;
        refused(
            answer,
            ErrorKind::Overflow,
            "a credit beyond the largest amount",
        )?;
        ensure_held(&cx, "b30", MAX, 2).await?;
    }
    cx.store().adjust(&adjust("back", "b30", -1)?).await?;
    ensure_held(&cx, "b30", MAX - 1, 3).await?;
    ensure_sound(cx.store(), "b30").await?;
    Ok(())
}

/// Goal: down to the smallest amount, and not one further. Method: as B30, without a floor.
async fn b31_down_to_the_smallest<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened_without_floor(&cx, "b31", MIN + 5).await?;
    let applied = cx.store().adjust(&adjust("to", "b31", -5)?).await?;
    ensure_eq!(
        applied.change.after.get(),
        MIN,
        "the balance in the receipt"
    );
    for (name, delta) in [("over", -1), ("far", MIN)] {
        let answer = cx.store().adjust(&adjust(name, "b31", delta)?).await;
        refused(
            answer,
            ErrorKind::Overflow,
            "a debit beyond the smallest amount",
        )?;
        ensure_held(&cx, "b31", MIN, 2).await?;
    }
    cx.store().adjust(&adjust("back", "b31", 1)?).await?;
    ensure_held(&cx, "b31", MIN + 1, 3).await?;
    ensure_sound(cx.store(), "b31").await?;
    Ok(())
}

/// Goal: deltas at both ends are exact, and a set whose delta doesn't fit is an overflow. Method:
/// add MIN and MAX to what takes them; set across more than the range.
async fn b32_deltas_at_both_ends<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened_without_floor(&cx, "b32", 0).await?;
    let applied = cx.store().adjust(&adjust("min", "b32", MIN)?).await?;
    ensure_eq!(
        (applied.change.delta.get(), applied.change.after.get()),
        (MIN, MIN),
        "delta and balance after adding i64::MIN"
    );
    let answer = cx
        .store()
        .compare_and_set(&set("wide", "b32", Expected::Any, 0)?)
        .await;
    refused(
        answer,
        ErrorKind::Overflow,
        "a set from i64::MIN to 0, whose delta doesn't fit",
    )?;
    ensure_held(&cx, "b32", MIN, 2).await?;
    let applied = cx
        .store()
        .compare_and_set(&set("just", "b32", Expected::Any, -1)?)
        .await?;
    ensure_eq!(
        applied.change.delta.get(),
        MAX,
        "the delta of a set from i64::MIN to -1"
    );
    cx.store().adjust(&adjust("one", "b32", 1)?).await?;
    let applied = cx.store().adjust(&adjust("max", "b32", MAX)?).await?;
    ensure_eq!(
        applied.change.after.get(),
        MAX,
        "the balance after adding i64::MAX to 0"
    );
    ensure_sound(cx.store(), "b32").await?;
    Ok(())
}

/// Sets each amount and reads it back from balance, receipt, replay and history; and once more by
/// an adjustment from the amount before.
async fn exact_steps<H: Harness<Store: BalanceStore>>(
    cx: &Context<H>,
    holder: &str,
    amounts: &[i64],
) -> CaseResult {
    opened_without_floor(cx, holder, 0).await?;
    let (mut before, mut at) = (0, 1);
    for to in amounts.iter().copied() {
        let setting = set(&format!("set/{to}"), holder, Expected::Any, to)?;
        let applied = cx.store().compare_and_set(&setting).await?.change;
        ensure_eq!(
            (
                applied.before.get(),
                applied.delta.get(),
                applied.after.get()
            ),
            (before, to - before, to),
            "before, delta and after in the receipt"
        );
        ensure_held(cx, holder, to, at + 1).await?;
        let replay = cx.store().compare_and_set(&setting).await?.change;
        ensure_eq!(replay, applied, "the receipt of its replay");
        cx.store()
            .adjust(&adjust(&format!("down/{to}"), holder, -to)?)
            .await?;
        let adding = adjust(&format!("up/{to}"), holder, to)?;
        let applied = cx.store().adjust(&adding).await?.change;
        ensure_eq!(
            (
                applied.before.get(),
                applied.delta.get(),
                applied.after.get()
            ),
            (0, to, to),
            "before, delta and after in the receipt of an adjustment"
        );
        ensure_eq!(
            cx.store().adjust(&adding).await?.change,
            applied,
            "the receipt of its replay"
        );
        (before, at) = (to, at + 3);
        ensure_held(cx, holder, to, at).await?;
    }
    ensure_sound(cx.store(), holder).await?;
    Ok(())
}

/// Goal: exact where doubles are not. Method: around 2^53, in balance, receipt and history.
async fn b33_exact_beyond_2_53<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    exact_steps(
        &cx,
        "b33",
        &[TWO_53 - 1, TWO_53, TWO_53 + 1, TWO_53 + 2, TWO_53 + 3],
    )
    .await
}

/// Goal: the same below zero. Method: around −2^53.
async fn b34_exact_below_minus_2_53<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    exact_steps(
        &cx,
        "b34",
        &[-TWO_53 + 1, -TWO_53, -TWO_53 - 1, -TWO_53 - 2, -TWO_53 - 3],
    )
    .await
}

/// Goal: an overdraft by one is refused, to exactly the floor is fine. Method: floors 0, −5 and 7,
/// each by debit and by set.
async fn b35_overdraft_by_one<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    for floor in [0_i64, -5, 7] {
        let holder = format!("b35/{floor}");
        let opening = open(&format!("open/{holder}"), &holder)?
            .with_floor(Floor::At(amount(floor)))
            .with_amount(amount(floor + 10));
        cx.store().open_account(&opening).await?;
        let key = |name: &str| format!("{holder}/{name}");
        let funds = ErrorKind::InsufficientFunds;
        let answer = cx
            .store()
            .adjust(&adjust(&key("over"), &holder, -11)?)
            .await;
        refused(answer, funds, "an overdraft by one")?;
        let below = set(&key("below"), &holder, Expected::Any, floor - 1)?;
        refused(
            cx.store().compare_and_set(&below).await,
            funds,
            "a set one below the floor",
        )?;
        ensure_held(&cx, &holder, floor + 10, 1).await?;
        cx.store()
            .adjust(&adjust(&key("to"), &holder, -10)?)
            .await?;
        ensure_held(&cx, &holder, floor, 2).await?;
        let answer = cx.store().adjust(&adjust(&key("one"), &holder, -1)?).await;
        refused(answer, funds, "one below the floor")?;
        ensure_held(&cx, &holder, floor, 2).await?;
    }
    Ok(())
}

/// Goal: the check for funds is exact where doubles are not. Method: 2^53 against 2^53 + 1, and a
/// floor of −2^53 − 1.
async fn b36_overdraft_at_2_53<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b36", TWO_53).await?;
    let funds = ErrorKind::InsufficientFunds;
    let answer = cx
        .store()
        .adjust(&adjust("over", "b36", -TWO_53 - 1)?)
        .await;
    refused(answer, funds, "a debit of 2^53 + 1 from 2^53")?;
    cx.store().adjust(&adjust("one", "b36", 1)?).await?;
    cx.store()
        .adjust(&adjust("all", "b36", -TWO_53 - 1)?)
        .await?;
    ensure_held(&cx, "b36", 0, 3).await?;
    let down = |name: &str, delta: i64| -> CaseResult<Adjust> {
        Ok(adjust(name, "b36", delta)?.with_floor(Floor::At(amount(-TWO_53 - 1))))
    };
    let answer = cx.store().adjust(&down("below", -TWO_53 - 2)?).await;
    refused(answer, funds, "a debit to one below a floor of -2^53 - 1")?;
    cx.store().adjust(&down("to", -TWO_53 - 1)?).await?;
    ensure_held(&cx, "b36", -TWO_53 - 1, 4).await
}

/// Goal: a transfer is exact at the edge, for all its legs or for none. Method: into an account
/// that takes five more, six and then five.
async fn b37_two_legs_at_the_edge<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    needs_transfers(&cx)?;
    opened(&cx, "b37/from", 100).await?;
    opened(&cx, "b37/to", MAX - 5).await?;
    let over = transfer("over", &[("b37/from", -6), ("b37/to", 6)])?;
    refused(
        cx.store().transfer(&over).await,
        ErrorKind::Overflow,
        "a transfer beyond the edge",
    )?;
    ensure_held(&cx, "b37/from", 100, 1).await?;
    ensure_held(&cx, "b37/to", MAX - 5, 1).await?;
    cx.store()
        .transfer(&transfer("to", &[("b37/from", -5), ("b37/to", 5)])?)
        .await?;
    ensure_held(&cx, "b37/from", 95, 2).await?;
    ensure_held(&cx, "b37/to", MAX, 2).await
}

/// Goal: numbers are kept as numbers, not as a text of them: no `+`, `-0`, leading zero
/// or exponent. Method: every power of ten, up and back to zero, above and below it.
async fn b39_powers_of_ten<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let powers: Vec<i64> = (0..=18).map(|exponent| 10_i64.pow(exponent)).collect();
    opened_without_floor(&cx, "b39", 0).await?;
    let mut at = 1;
    for power in powers {
        for (name, delta, after) in [
            ("up", power, power),
            ("back", -power, 0),
            ("down", -power, -power),
            ("home", power, 0),
        ] {
            let operation = adjust(&format!("{name}/{power}"), "b39", delta)?;
            let applied = cx.store().adjust(&operation).await?.change;
            at += 1;
            ensure_eq!(applied.after.get(), after, "the balance in the receipt");
            ensure_held(&cx, "b39", after, at).await?;
        }
    }
    ensure_sound(cx.store(), "b39").await?;
    Ok(())
}

cases! { "balance::numbers" for BalanceStore, "core::BalanceStore, Contract: arithmetic is exact";
    B30 b30_up_to_the_largest: "up to i64::MAX, and not one further",
        "the sum wraps, saturates or becomes a float";
    B31 b31_down_to_the_smallest: "down to i64::MIN, and not one further",
        "the sum wraps, or the smallest amount is read as its own negative";
    B32 b32_deltas_at_both_ends: "deltas of i64::MIN and i64::MAX are exact; one that doesn't fit is an overflow",
        "the delta of a set is computed without a check";
    B33 b33_exact_beyond_2_53: "amounts are exact beyond 2^53",
        "amounts pass through a double: JSON, Lua's tonumber, a REAL column";
    B34 b34_exact_below_minus_2_53: "amounts are exact below -2^53",
        "amounts pass through a double";
    B35 b35_overdraft_by_one: "one below the floor is refused, to exactly the floor is fine",
        "`<` instead of `<=`, or the floor is checked before the change";
    B36 b36_overdraft_at_2_53: "the check for funds is exact beyond 2^53",
        "the check compares doubles though the sum is exact";
    B37 b37_two_legs_at_the_edge: "a transfer at the edge goes whole or not at all",
        "the first leg is applied before the second is decided";
    B39 b39_powers_of_ten: "powers of ten come back as they went",
        "numbers are formatted by a scripting language (1e+15, -0)";
}

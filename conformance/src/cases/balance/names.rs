//! Names: accounts and operations are called what they are called, byte by byte.

use exactly_once_core::{BalanceStore, MAX_NAME_BYTES};

use super::support::{adjust, close, ensure_held, ensure_sound, open, opened};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{account, amount},
    },
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Names that a store may take for one another, or for a part of a statement.
fn odd_names() -> Vec<String> {
    let long = "n".repeat(MAX_NAME_BYTES - 1);
    let mut names: Vec<String> = [
        "a",
        "A",
        " a",
        "a ",
        "a\t",
        "a\n",
        "á",
        "a\u{301}",
        "a%",
        "a_",
        "ab",
        "a*",
        "[a]",
        "a:b",
        "a/b",
        "a\\b",
        "a\\\\b",
        "it's",
        "it''s",
        "\"a\"",
        "{a}",
        "{a",
        "a}",
        "1",
        "01",
        "1.0",
        "1e0",
        "null",
        "NULL",
        "$1",
        "?1",
        "'; DROP TABLE effects; --",
        "\u{1}",
        "\u{202e}a",
        "🦀",
        "ß",
        "ss",
        "I",
        "ı",
    ]
    .map(str::to_owned)
    .into();
    names.extend([long.clone(), format!("{long}1"), format!("{long}2")]);
    names
}

/// Goal: accounts whose names look alike are different accounts. Method: open each with an amount of
/// its own, change it, and read all back, with their histories.
async fn b65_accounts_are_apart<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    let names = odd_names();
    for (number, name) in names.iter().enumerate() {
        cx.case().step(format!("the account {name:?}"));
        let first = open(&format!("open/{number}"), name)?.with_amount(amount(number as i64));
        let applied = cx.store().open_account(&first).await?;
        ensure_eq!(applied.replayed, false, "whether {name:?} was there");
        let change = adjust(&format!("add/{number}"), name, 1_000)?;
        cx.store().adjust(&change).await?;
    }
    for (number, name) in names.iter().enumerate() {
        ensure_held(&cx, name, number as i64 + 1_000, 2).await?;
        let (_, changes) = ensure_sound(cx.store(), name).await?;
        for change in changes {
            ensure_eq!(change.account, account(name)?, "the account in the history");
        }
    }
    Ok(())
}

/// Goal: operations whose keys look alike are different operations. Method: one unit under each key;
/// each is applied once, and its receipt and its line in the history have the key as it was given.
async fn b66_keys_are_apart<H: Harness<Store: BalanceStore>>(cx: Context<H>) -> CaseResult {
    opened(&cx, "b66", 0).await?;
    let names = odd_names();
    for (number, name) in names.iter().enumerate() {
        cx.case().step(format!("the key {name:?}"));
        let operation = adjust(name, "b66", 1)?;
        for replayed in [false, true] {
            let applied = cx.store().adjust(&operation).await?;
            ensure_eq!(applied.replayed, replayed, "whether {name:?} is a replay");
            ensure_eq!(
                applied.change.key.as_str(),
                name.as_str(),
                "the key in the receipt"
            );
            ensure_eq!(
                applied.change.version.get(),
                number as i64 + 2,
                "its version"
            );
        }
    }
    let (_, changes) = ensure_sound(cx.store(), "b66").await?;
    let keys: Vec<_> = changes
        .iter()
        .skip(1)
        .map(|change| change.key.as_str())
        .collect();
    ensure_eq!(keys, names, "the keys in the history");
    Ok(())
}

/// Goal: a closed account keeps its history, and goes on with it. Method: close one, read; open it
/// again, read.
async fn b67_closed_account_keeps_its_history<H: Harness<Store: BalanceStore>>(
    cx: Context<H>,
) -> CaseResult {
    opened(&cx, "b67", 5).await?;
    cx.store().adjust(&adjust("spend", "b67", -5)?).await?;
    cx.store().close_account(&close("close", "b67")?).await?;
    for _ in 0..2 {
        let (state, changes) = ensure_sound(cx.store(), "b67").await?;
        ensure_eq!(
            (state.open, changes.len()),
            (false, 3),
            "the closed account"
        );
    }
    cx.store()
        .open_account(&open("again", "b67")?.with_amount(amount(2)))
        .await?;
    let (state, changes) = ensure_sound(cx.store(), "b67").await?;
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    let expected = ["open/b67", "spend", "close", "again"];
    ensure_eq!(
        (state.open, keys),
        (true, expected.to_vec()),
        "the account opened again"
    );
    Ok(())
}

cases! { "balance::names" for BalanceStore, "core::names, core::BalanceStore";
    B65 b65_accounts_are_apart: "accounts whose names look alike are different accounts",
        "names are folded, trimmed, cut or quoted by doubling only";
    B66 b66_keys_are_apart: "operations whose keys look alike are different operations",
        "keys are folded, trimmed, cut or quoted by doubling only";
    B67 b67_closed_account_keeps_its_history: "a closed account keeps its history and goes on with it",
        "closing removes the account's rows";
}

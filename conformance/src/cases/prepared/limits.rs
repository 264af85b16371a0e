//! Limits: any name of a transaction is one, whole and verbatim.

use exactly_once_core::{
    MAX_NAME_BYTES, PreparedStatus, PreparedTransactions, Store, TransactionId,
};

use super::support::{
    all_in_doubt, commit, ensure_committed, ensure_effects, ensure_rolled_back, ensure_status,
    fresh, named, participation, prepared, rollback,
};
use crate::{CaseResult, cases::cases, context::Context, ensure, ensure_eq, harness::Harness};

/// Goal: names up to the limit can be prepared, longer ones are refused before any I/O. Method: 1,
/// 199, 200 and 255 bytes, by one repeated letter and by what doesn't compress; 256 are refused.
async fn t60_length_of_names<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t60").await?;
    let mut rng = cx.case().rng();
    for length in [1, 199, 200, MAX_NAME_BYTES] {
        // Up to `w`: noise of one byte must not be the other name of one byte.
        let noise: String = (0..length)
            .map(|_| char::from(rng.within(33..=119).unsigned_abs() as u8))
            .collect();
        for (kind, name) in [("same", "x".repeat(length)), ("noise", noise)] {
            let work = named(&pattern, &name)?;
            let effect = format!("t60/{kind}/{length}");
            prepared(&cx, &work, &effect).await?;
            commit(cx.store(), &work).await?;
            ensure_committed(&cx, &work, &effect).await?;
        }
    }
    ensure!(
        TransactionId::new("x".repeat(MAX_NAME_BYTES + 1)).is_err(),
        "a name of {} bytes to be refused when it is made",
        MAX_NAME_BYTES + 1
    );
    ensure!(
        TransactionId::new("").is_err(),
        "an empty name to be refused when it is made"
    );
    ensure!(
        TransactionId::new("a\0b").is_err(),
        "a name with NUL to be refused when it is made"
    );
    Ok(())
}

/// Names at which a statement made of strings goes wrong.
const ODD: [&str; 14] = [
    "'",
    "\"",
    "\\",
    "'; DROP TABLE effects; --",
    "\\'; ROLLBACK PREPARED 'x",
    "line\nbreak\r\n\ttab",
    " leading and trailing ",
    "%_*?[a-z]",
    "{hash}tag",
    "$1 :name ?1 @p",
    "é e\u{301} \u{202e}rtl",
    "🦀",
    "\u{1}\u{7f}\u{85}",
    "a:b/c\u{1f}d",
];

/// Goal: names are taken as they are, whatever they hold. Method: each odd name as transaction, and
/// as namespace, through commit and through rollback.
async fn t61_odd_names<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    let pattern = participation(&cx, "t61").await?;
    for (number, name) in ODD.iter().enumerate() {
        cx.case().step(format!("the name {name:?}"));
        let effect = format!("t61/{number}");
        let work = named(&pattern, name)?;
        prepared(&cx, &work, &effect).await?;
        ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
        if number % 2 == 0 {
            commit(cx.store(), &work).await?;
            ensure_committed(&cx, &work, &effect).await?;
        } else {
            rollback(cx.store(), &work).await?;
            ensure_rolled_back(&cx, &work, &effect).await?;
        }
        let store = cx.store().with_namespace(name.parse()?);
        let mut tx = fresh(&store, &work).await?;
        let effect = format!("t61/namespace/{number}");
        cx.write(&mut tx, &effect).await?;
        store.prepare(tx, &work).await?;
        ensure_eq!(
            all_in_doubt(&store, 10).await?.len(),
            1,
            "entries in doubt there"
        );
        commit(&store, &work).await?;
        ensure_eq!(
            store.prepared_status(&work).await?,
            PreparedStatus::Committed,
            "the status there"
        );
        ensure_effects(&cx, &effect, 1).await?;
    }
    Ok(())
}

/// Goal: names that differ in anything are two transactions. Method: long names that differ in
/// their last byte, names in another case, form or spacing; all prepared at once, by turns committed
/// and rolled back.
async fn t62_names_do_not_collide<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t62").await?;
    let long = "n".repeat(MAX_NAME_BYTES - 1);
    let names = [
        format!("{long}1"),
        format!("{long}2"),
        long.clone(),
        "t62/a".to_owned(),
        "t62/A".to_owned(),
        "t62/a ".to_owned(),
        "t62/\u{e9}".to_owned(),
        "t62/e\u{301}".to_owned(),
    ];
    for (number, name) in names.iter().enumerate() {
        prepared(&cx, &named(&pattern, name)?, &format!("t62/{number}")).await?;
    }
    ensure_eq!(
        all_in_doubt(cx.store(), 100).await?.len(),
        names.len(),
        "entries in doubt"
    );
    for (number, name) in names.iter().enumerate() {
        let work = named(&pattern, name)?;
        if number % 2 == 0 {
            commit(cx.store(), &work).await?;
        } else {
            rollback(cx.store(), &work).await?;
        }
    }
    for (number, name) in names.iter().enumerate() {
        let (work, effect) = (named(&pattern, name)?, format!("t62/{number}"));
        if number % 2 == 0 {
            ensure_committed(&cx, &work, &effect).await?;
        } else {
            ensure_rolled_back(&cx, &work, &effect).await?;
        }
    }
    Ok(())
}

cases! { "prepared::limits" for PreparedTransactions, "core::names";
    T60 t60_length_of_names: "names of 1 to 255 bytes can be prepared, longer ones are refused",
        "the name itself is the identifier of the prepared transaction, which has 199 bytes";
    T61 t61_odd_names: "names are taken as they are",
        "statements are made of strings, quoted by doubling only";
    T62 t62_names_do_not_collide: "names that differ in anything are two transactions",
        "names are cut, folded or normalised";
}

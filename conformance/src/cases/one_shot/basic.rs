//! Basic: one call applies statements and receipt, or answers with what was.

use exactly_once_core::{
    ErrorKind, IdempotencyStore, KeyState, OneShotStore, Outcome, Receipt, Store,
};

use super::support::{effect, ensure_done, executed, named, statement};
use crate::{
    CaseResult,
    cases::{
        cases,
        idempotency::support::{completed, ensure_recorded, fresh, replayed},
        support::{claim, other_claim, receipt, refused},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: an effect is applied once, and every call gets its receipt. Method: ten times; then by
/// claim.
async fn i02s_applied_once<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    for attempt in 0..10 {
        let effect = named(&cx, "i02", &format!("attempt {attempt}"))?;
        let done = executed(cx.store(), &effect).await?;
        ensure_done(&done, "attempt 0", attempt > 0)?;
    }
    ensure_eq!(cx.effects("i02").await?, 1, "effects of ten calls");
    let outcome = replayed(cx.store(), &claim("i02")?).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("attempt 0")),
        "the outcome by claim"
    );
    Ok(())
}

/// Goal: statements are applied in full, and may be none. Method: none; three of them.
async fn i03s_any_number_of_statements<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let none = effect(&claim("i03/none")?, Vec::new(), receipt("none"));
    ensure_done(&executed(cx.store(), &none).await?, "none", false)?;
    ensure_done(&executed(cx.store(), &none).await?, "none", true)?;
    let one = statement(&cx, "i03")?;
    let three = effect(
        &claim("i03")?,
        vec![one.clone(), one.clone(), one],
        receipt("three"),
    );
    ensure_done(&executed(cx.store(), &three).await?, "three", false)?;
    ensure_done(&executed(cx.store(), &three).await?, "three", true)?;
    ensure_eq!(cx.effects("i03").await?, 3, "effects of three statements");
    Ok(())
}

/// Goal: a refused statement undoes the whole, and the refusal is final. Method: an effect before and
/// after a statement that the database refuses; then the same request without that statement, which
/// is refused as well, in the same words; a new key goes through.
async fn i06s_refused_statement<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let good = statement(&cx, "i06")?;
    let Some(bad) = cx.harness().refused_statement() else {
        return cx.ignore("this harness has no statement that is refused (`refused_statement`)");
    };
    for (at, statements) in [
        vec![good.clone(), bad.clone()],
        vec![bad.clone(), good.clone()],
    ]
    .into_iter()
    .enumerate()
    {
        let claim = claim(&format!("i06/{at}"))?;
        let refused = executed(cx.store(), &effect(&claim, statements, receipt("bad"))).await;
        let refused = refused.err().expecting("a refused statement to be told")?;
        ensure_eq!(refused.kind(), ErrorKind::Refused, "the refusal");
        let mended = effect(&claim, vec![good.clone()], receipt("good"));
        for _ in 0..2 {
            let again = executed(cx.store(), &mended).await;
            let again = again.err().expecting("the refusal to stay one")?;
            // The record may say more: what a driver keeps for the cause of its error.
            let same = again.to_string().starts_with(&refused.to_string());
            ensure!(same, seen: again, "the refusal in the same words: {refused}");
        }
        ensure_eq!(cx.effects("i06").await?, 0, "effects of a refused effect");
        let known = cx.store().lookup(claim.key()).await?;
        ensure_matches!(
            known.map(|record| record.state),
            Some(KeyState::Completed {
                outcome: Outcome::Rejected(_),
                ..
            }),
            "the key of a refused effect"
        );
    }
    let anew = effect(&claim("i06/anew")?, vec![good], receipt("good"));
    ensure_done(&executed(cx.store(), &anew).await?, "good", false)?;
    ensure_eq!(cx.effects("i06").await?, 1, "effects under a new key");
    Ok(())
}

/// Goal: a statement that changes another number of rows than it must is refused with the whole.
/// Method: expect none, two, and then one.
async fn i07s_expected_rows<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let (claim_of, one) = (claim, statement(&cx, "i07")?);
    for wrong in [0, 2] {
        let claim = claim_of(&format!("i07/{wrong}"))?;
        let statements = vec![one.clone(), one.clone().expecting_rows(wrong)];
        let answer = executed(cx.store(), &effect(&claim, statements, receipt("7"))).await;
        refused(
            answer,
            ErrorKind::Refused,
            "an effect on another number of rows",
        )?;
        ensure_eq!(cx.effects("i07").await?, 0, "effects of a refused one");
    }
    let statements = vec![one.expecting_rows(1)];
    let right = effect(&claim_of("i07")?, statements, receipt("7"));
    let done = executed(cx.store(), &right).await?;
    ensure_done(&done, "7", false)?;
    ensure_eq!(cx.effects("i07").await?, 1, "effects");
    Ok(())
}

/// Goal: both forms share their keys. Method: complete by transaction, ask one-shot, and reverse;
/// and a key whose transaction is open is not executed.
async fn i08s_same_keys_as_transactions<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claimed, one_shot) = (claim("i08/tx")?, named(&cx, "i08/shot", "shot")?);
    completed(&cx, cx.store(), &claimed, "i08/tx", &receipt("tx")).await?;
    let again = effect(&claimed, vec![statement(&cx, "i08/tx")?], receipt("shot"));
    ensure_done(&executed(cx.store(), &again).await?, "tx", true)?;
    ensure_done(&executed(cx.store(), &one_shot).await?, "shot", false)?;
    let outcome = replayed(cx.store(), &one_shot.claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("shot")),
        "the one-shot outcome by claim"
    );
    let held = named(&cx, "i08/held", "rival")?;
    let store = cx.store();
    let tx = fresh(store, &held.claim).await?;
    let rival = cx.store().execute_one_shot(&held).await;
    let settled = store.complete(tx, &held.claim, &receipt("holder")).await;
    if rival.is_err() {
        ensure_recorded(settled)?;
    }
    let done = executed(cx.store(), &held).await?;
    let expected = if rival.is_ok() { "rival" } else { "holder" };
    ensure_done(&done, expected, true)?;
    ensure_eq!(
        cx.effects("i08/held").await?,
        u64::from(rival.is_ok()),
        "the rival's effects"
    );
    Ok(())
}

/// Goal: another request under the key is a mismatch and has no effect. Method: the same key with
/// another fingerprint.
async fn i20s_other_request<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let first = named(&cx, "i20", "first")?;
    ensure_done(&executed(cx.store(), &first).await?, "first", false)?;
    let other = other_claim("i20", "another request")?;
    let other = effect(&other, vec![statement(&cx, "i20")?], receipt("other"));
    let answer = executed(cx.store(), &other).await;
    refused(answer, ErrorKind::Mismatch, "another request under the key")?;
    ensure_eq!(cx.effects("i20").await?, 1, "effects");
    ensure_done(&executed(cx.store(), &first).await?, "first", true)
}

/// Goal: receipts come back byte for byte, and one that is too large is refused with its effect.
/// Method: all byte values, none, the largest, one byte more; that one also under a key that has an outcome.
async fn i76s_receipts_are_bytes<H: Harness<Store: OneShotStore>>(cx: Context<H>) -> CaseResult {
    let largest = cx.store().capabilities().max_receipt_bytes;
    let receipts = [
        Vec::new(),
        (0..=255).collect(),
        cx.case().rng().bytes(largest),
    ];
    for (number, bytes) in receipts.into_iter().enumerate() {
        let receipt = Receipt::from_bytes(bytes);
        let effect = effect(
            &claim(&format!("i76/{number}"))?,
            Vec::new(),
            receipt.clone(),
        );
        for _ in 0..2 {
            let outcome = executed(cx.store(), &effect).await?.outcome;
            let same = outcome == Outcome::Applied(receipt.clone());
            ensure!(same, seen: outcome, "receipt {number} as it was");
        }
    }
    let huge = Receipt::from_bytes(vec![b'x'; largest + 1]);
    // Another version of the program stored less.
    let grown = effect(&claim("i76/0")?, Vec::new(), huge.clone());
    let outcome = executed(cx.store(), &grown).await?.outcome;
    let same = outcome == Outcome::Applied(Receipt::from_bytes(Vec::new()));
    ensure!(same, seen: outcome, "the receipt of an effect that was applied");
    let huge = effect(&claim("i76")?, vec![statement(&cx, "i76")?], huge);
    let answer = executed(cx.store(), &huge).await;
    refused(answer, ErrorKind::TooLarge, "a receipt of one byte over")?;
    ensure_eq!(
        cx.effects("i76").await?,
        0,
        "effects whose receipt was refused"
    );
    ensure_eq!(
        cx.store().lookup(claim("i76")?.key()).await?,
        None,
        "its key"
    );
    Ok(())
}

cases! { "one_shot::basic" for OneShotStore, "core::OneShotStore, Contract";
    I02S i02s_applied_once: "an effect is applied once, and every call gets its receipt",
        "the key is not part of the same statement or commit";
    I03S i03s_any_number_of_statements: "statements are applied in full, and may be none",
        "only the first or the last statement is run";
    I06S i06s_refused_statement: "a refused statement undoes the whole, and the refusal is final",
        "statements are committed one by one, or the refusal is not recorded under the key";
    I07S i07s_expected_rows: "another number of rows than expected refuses the whole",
        "the count is checked after the commit, or only for the last statement";
    I08S i08s_same_keys_as_transactions: "one-shot and transactional effects share their keys",
        "two tables of keys";
    I20S i20s_other_request: "another request under the key is a mismatch",
        "the fingerprint is never compared";
    I76S i76s_receipts_are_bytes: "receipts come back byte for byte, or are refused as too large",
        "receipts travel as text";
}

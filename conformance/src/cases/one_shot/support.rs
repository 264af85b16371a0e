//! Steps that the cases of one-shot effects share.

use exactly_once_core::{
    Claim, OneShot, OneShotDone, OneShotStore, Outcome, Receipt, Result, Returning, Statement,
};

use crate::{
    CaseResult,
    cases::support::{claim, receipt, retry},
    context::Context,
    ensure_eq,
    harness::{Harness, RowsOf},
};

/// The statement that has the effect `id`; ends the case where the harness has none.
pub(super) fn statement<H: Harness>(cx: &Context<H>, id: &str) -> CaseResult<Statement> {
    match cx.harness().effect_statement_at(cx.guard(), id) {
        Some(statement) => Ok(statement),
        None => cx.ignore("this harness has no statement for an effect (`effect_statement`)"),
    }
}

/// The statement that has the effect `id` this many times and returns a row for each; ends the case where
/// the harness has none.
pub(in crate::cases) fn returning<H: Harness>(
    cx: &Context<H>,
    id: &str,
    count: u32,
    limits: Returning,
) -> CaseResult<Statement> {
    let wanted = RowsOf::Effects { id, count };
    match cx.harness().returning_statement(cx.guard(), wanted) {
        Some(statement) => Ok(statement.returning(limits)),
        None => cx.ignore(format!(
            "this harness has no statement that returns {count} rows (`returning_statement`)"
        )),
    }
}

/// The effect `id` under the key of the same name, answered with the row that it returns.
pub(super) fn with_row<H: Harness>(cx: &Context<H>, id: &str) -> CaseResult<OneShot> {
    let statement = returning(cx, id, 1, Returning::rows(1))?;
    Ok(effect(&claim(id)?, vec![statement], Receipt::default()))
}

/// An effect with this receipt.
pub(super) fn effect(claim: &Claim, statements: Vec<Statement>, receipt: Receipt) -> OneShot {
    OneShot {
        claim: claim.clone(),
        statements,
        receipt,
    }
}

/// The effect `id` under the key of the same name, answered with this text.
pub(super) fn named<H: Harness>(cx: &Context<H>, id: &str, text: &str) -> CaseResult<OneShot> {
    Ok(effect(&claim(id)?, vec![statement(cx, id)?], receipt(text)))
}

/// Executes until it is no more in progress or busy.
pub(super) async fn executed<S: OneShotStore>(store: &S, effect: &OneShot) -> Result<OneShotDone> {
    retry(|| store.execute_one_shot(effect)).await
}

/// It was applied now, or before, with this text.
pub(super) fn ensure_done(done: &OneShotDone, text: &str, replayed: bool) -> CaseResult {
    ensure_eq!(done.outcome, Outcome::Applied(receipt(text)), "the outcome");
    ensure_eq!(done.replayed, replayed, "whether it is a replay");
    Ok(())
}

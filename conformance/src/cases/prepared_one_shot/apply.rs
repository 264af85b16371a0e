//! Statements in a transaction that is open.

use exactly_once_core::{ErrorKind, OneShotParticipant, PreparedTransactions, Transactional};

use super::support::{refused_statement, statement};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        faulty::{POLLS_MAX, crash_points, slow},
        prepared::support::{
            commit, ensure_committed, ensure_effects, ensure_nothing_open, fresh, participation,
        },
        support::{refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure,
    faults::polls::drop_at_poll,
    harness::Harness,
};

/// Goal: statements are part of the transaction that they are applied in, beside the user's own
/// writes. Method: in a plain one that commits, one that is rolled back, and one that is prepared.
async fn t79_part_of_the_transaction<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let one = [statement(&cx, "t79")?];
    let mut tx = cx.store().begin().await?;
    cx.write(&mut tx, "t79").await?;
    cx.store().apply(&mut tx, &one).await?;
    cx.store().apply(&mut tx, &one).await?;
    cx.write(&mut tx, "t79").await?;
    ensure_effects(&cx, "t79", 0).await?;
    cx.store().commit(tx).await?;
    ensure_effects(&cx, "t79", 4).await?;

    let mut tx = cx.store().begin().await?;
    cx.store().apply(&mut tx, &one).await?;
    cx.store().rollback(tx).await?;
    ensure_effects(&cx, "t79", 4).await?;

    let work = participation(&cx, "t79/prepared").await?;
    let one = [statement(&cx, "t79/prepared")?];
    let mut tx = fresh(cx.store(), &work).await?;
    cx.store().apply(&mut tx, &one).await?;
    cx.store().prepare(tx, &work).await?;
    commit(cx.store(), &work).await?;
    ensure_committed(&cx, &work, "t79/prepared").await
}

/// Goal: of refused statements nothing is ever committed, also where the work swallows the error; and
/// the next transaction is not bothered. Method: by a statement that is refused, and by rows; commit
/// all the same; then others on the same handle.
async fn t86_swallowed_refusal<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    let (good, bad) = (statement(&cx, "t86")?, refused_statement(&cx)?);
    let wrong = good.clone().expecting_rows(7);
    for refusing in [bad, wrong] {
        let mut tx = cx.store().begin().await?;
        let answer = cx.store().apply(&mut tx, &[good.clone(), refusing]).await;
        refused(answer, ErrorKind::Refused, "a refused statement")?;
        // The store may refuse the commit, or commit a transaction without them.
        let _swallowed = cx.store().commit(tx).await;
        ensure_effects(&cx, "t86", 0).await?;
        ensure_nothing_open(&cx).await?;
    }
    let mut expected = 0;
    for _ in 0..4 {
        let mut tx = cx.store().begin().await?;
        let answer = cx
            .store()
            .apply(&mut tx, &[good.clone(), good.clone()])
            .await;
        answer.expecting("statements after others were refused")?;
        cx.store().commit(tx).await?;
        expected += 2;
        ensure_effects(&cx, "t86", expected).await?;
    }
    Ok(())
}

/// Goal: statements that were given up half way are never committed in part. Method: drop the call at
/// every poll, and commit all the same: both effects are there, or none.
async fn t92_given_up_half_way<H: Harness<Store: OneShotParticipant>>(
    cx: Context<H>,
) -> CaseResult {
    statement(&cx, "t92")?;
    let (_proxy, store) = slow(&cx).await?;
    let wanted = crash_points(cx.case());
    for k in (1..=POLLS_MAX).filter(|k| wanted(*k)) {
        let id = format!("t92/{k}");
        let one = statement(&cx, &id)?;
        let two = [one.clone(), one.expecting_rows(1)];
        let mut tx = retry(|| store.begin()).await?;
        let applied = drop_at_poll(k, store.apply(&mut tx, &two)).await;
        let committed = store.commit(tx).await;
        ensure_nothing_open(&cx).await?;
        let effects = cx.effects(&id).await?;
        ensure!(
            [0, 2].contains(&effects),
            seen: effects,
            "both effects or none, of statements that were dropped at poll {k}"
        );
        if let Some(applied) = applied {
            applied?;
            committed.expecting("a transaction whose statements are done to commit")?;
            ensure_effects(&cx, &id, 2).await?;
            return Ok(());
        }
    }
    Err(CaseFailure::new(
        format!("the call to complete within {POLLS_MAX} polls"),
        "it was still pending",
    ))
}

cases! { "prepared_one_shot::apply" for OneShotParticipant, "core::OneShotParticipant::apply";
    T79 t79_part_of_the_transaction: "statements are part of the transaction that they are applied in",
        "they are sent by another connection, or commit by themselves";
    T86 t86_swallowed_refusal: "of refused statements nothing is ever committed",
        "the statements before the refused one stay in the transaction";
    T92 t92_given_up_half_way: "statements that were given up half way are never committed in part",
        "what was done before the drop stays in the transaction";
}

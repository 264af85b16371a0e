//! Statements in a transaction of the user's, beside its own work.

use exactly_once_core::{
    Claimed, ErrorKind, IdempotencyStore, Returning, Settled, Statement, StatementTransaction,
    Transactional,
};

use super::one_shot::support::returning;
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{claim, receipt, refused},
    },
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

async fn claimed<H>(
    cx: &Context<H>,
    id: &str,
) -> CaseResult<<H::Store as exactly_once_core::Transactional>::Tx>
where
    H: Harness<Store: StatementTransaction + IdempotencyStore>,
{
    match cx.store().claim(&claim(id)?).await? {
        Claimed::Fresh(tx) => Ok(tx),
        _ => Err(CaseFailure::unexpected("a new key is not fresh")),
    }
}

/// Goal: a statement runs in the transaction of the work, returns its rows there, and is committed or
/// rolled back with it. Method: one beside a write of the work's own, completed; another, rolled back.
async fn q20_runs_in_the_transaction<H>(cx: Context<H>) -> CaseResult
where
    H: Harness<Store: StatementTransaction + IdempotencyStore>,
{
    let statement = returning(&cx, "q20", 1, Returning::rows(1))?;
    let mut rows = Vec::new();
    for keep in [true, false] {
        let id = format!("q20/{keep}");
        let mut tx = claimed(&cx, &id).await?;
        cx.write(&mut tx, "q20").await?;
        for _ in 0..2 {
            let ran = cx.store().run_in(&mut tx, &statement).await?;
            ensure_eq!(
                (ran.changed, ran.rows.len()),
                (1, 1),
                "what one run changed and returned"
            );
            rows.push(ran.rows.as_json().to_owned());
        }
        ensure_eq!(
            cx.effects("q20").await?,
            if keep { 0 } else { 3 },
            "effects before the end"
        );
        if keep {
            let done = cx
                .store()
                .complete(tx, &claim(&id)?, &receipt("kept"))
                .await?;
            ensure_eq!(done, Settled::Recorded, "the completion");
        } else {
            cx.store().rollback(tx).await?;
        }
    }
    ensure!(
        rows[0] != rows[1] && rows[2] != rows[3],
        seen: rows,
        "each run to see what the runs before it did"
    );
    ensure_eq!(cx.effects("q20").await?, 3, "effects at the end");
    Ok(())
}

/// Goal: after a statement that is refused, nothing of it can be committed, also where the work swallows
/// the error. Method: too many rows, another number of rows, a refused one, an invalid one; then complete.
async fn q21_refused_and_swallowed<H>(cx: Context<H>) -> CaseResult
where
    H: Harness<Store: StatementTransaction + IdempotencyStore>,
{
    let one = |limits| returning(&cx, "q21", 1, limits);
    let wrong = [
        (ErrorKind::TooLarge, Some(one(Returning::rows(0))?)),
        (
            ErrorKind::TooLarge,
            Some(one(Returning::rows(1).within_bytes(2))?),
        ),
        (
            ErrorKind::Refused,
            Some(one(Returning::rows(5))?.expecting_rows(2)),
        ),
        (ErrorKind::Refused, cx.harness().refused_statement()),
        (ErrorKind::Invalid, Some(Statement::named("whatever :a"))),
    ];
    for (number, (kind, wrong)) in wrong.into_iter().enumerate() {
        let (id, Some(wrong)) = (format!("q21/{number}"), wrong) else {
            continue;
        };
        let mut tx = claimed(&cx, &id).await?;
        let answer = cx.store().run_in(&mut tx, &wrong).await;
        refused(answer, kind, &format!("statement {number}"))?;
        // The work goes on as if nothing had happened: kept or refused, never the statement's effect.
        let _ = cx
            .store()
            .complete(tx, &claim(&id)?, &receipt("swallowed"))
            .await;
        ensure_eq!(cx.effects("q21").await?, 0, "effects of statement {number}");
    }
    Ok(())
}

cases! { "statements" for StatementTransaction where IdempotencyStore,
    "core::StatementTransaction, Contract";
    Q20 q20_runs_in_the_transaction: "a statement runs in the transaction of the work",
        "it is run on a connection of its own, or committed by itself";
    Q21 q21_refused_and_swallowed: "a refused statement leaves nothing, also where that is swallowed",
        "rows are counted when the statement has been applied already";
}

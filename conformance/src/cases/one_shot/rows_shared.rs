//! Rows of several callers: each gets its own, racers on one key get the same.

use std::{collections::HashSet, sync::Arc};

use exactly_once_core::{OneShotStore, Receipt, Returning, Value};

use super::support::{effect, executed, with_row};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, race},
    },
    context::Context,
    ensure, ensure_eq,
    harness::{Harness, RowsOf},
};

/// Goal: of N racers on one key one executes, and all get its rows. Method: 2, 8, 32 racers.
async fn q06_racers_get_the_same_rows<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(4, 1), Arc::new(cx));
    for racers in [2, 8, 32] {
        for round in 0..rounds {
            let id = format!("q06/{racers}/{round}");
            let one = with_row(&cx, &id)?;
            let calls = (0..racers).map(|_| {
                let (cx, one) = (Arc::clone(&cx), one.clone());
                async move { executed(cx.store(), &one).await }
            });
            let (mut receipts, mut winners) = (HashSet::new(), 0);
            for done in race(calls.collect::<Vec<_>>()).await? {
                let done = done?;
                winners += u32::from(!done.replayed);
                let rows = done.returned()?.into_last();
                ensure_eq!(rows.len(), 1, "rows of a racer");
                receipts.insert(rows.as_json().to_owned());
            }
            ensure_eq!(receipts.len(), 1, "rows of {racers} racers ({receipts:?})");
            ensure_eq!(winners, 1, "racers of {racers} who say that they executed");
            ensure_eq!(cx.effects(&id).await?, 1, "effects of {racers} racers");
        }
    }
    Ok(())
}

/// Goal: callers that share a commit get each its own rows, also where one of them is refused. Method:
/// callers at once, each of which returns its own number; every fifth is refused; then all again.
async fn q07_each_caller_gets_its_own<H: Harness<Store: OneShotStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (rounds, cx) = (cx.case().scaled(6, 2), Arc::new(cx));
    let bad = cx.harness().refused_statement();
    for round in 0..rounds {
        let mut effects = Vec::new();
        for caller in 0..32 {
            let (id, value) = (format!("q07/{round}/{caller}"), Value::Integer(caller));
            let wanted = RowsOf::Value {
                id: &id,
                value: &value,
            };
            let Some(one) = cx.harness().returning_statement(cx.guard(), wanted) else {
                return cx.ignore("this harness returns no number (`returning_statement`)");
            };
            let mut statements = vec![one.returning(Returning::rows(1))];
            // Those of an even number return rows of two statements.
            if caller % 2 == 0 {
                statements.extend(with_row(&cx, &id)?.statements);
            }
            let refused = bad.clone().filter(|_| caller % 5 == 4);
            let good = refused.is_none();
            statements.extend(refused);
            effects.push((
                caller,
                good,
                effect(&claim(&id)?, statements, Receipt::default()),
            ));
        }
        for replayed in [false, true] {
            let calls = effects.iter().map(|(_, _, one)| {
                let (cx, one) = (Arc::clone(&cx), one.clone());
                async move { executed(cx.store(), &one).await }
            });
            let answers = race(calls.collect::<Vec<_>>()).await?;
            for ((caller, good, _), answer) in effects.iter().zip(answers) {
                ensure_eq!(answer.is_ok(), *good, "whether caller {caller} is applied");
                let Ok(done) = answer else { continue };
                ensure_eq!(
                    done.replayed,
                    replayed,
                    "whether caller {caller} is a replay"
                );
                let returned = done.returned()?;
                let all = returned.all();
                ensure_eq!(
                    all.len(),
                    2 - usize::from(caller % 2 == 1),
                    "statements with rows"
                );
                let number: i64 = all[0].one()?;
                ensure!(number == *caller, seen: all[0].as_json(), "the row of caller {caller}");
            }
        }
    }
    Ok(())
}

cases! { "one_shot::rows_shared" for OneShotStore, "core::OneShotStore, Contract";
    Q06 q06_racers_get_the_same_rows: "of N racers one executes, and all get its rows",
        "a racer that lost runs the statement for its own answer";
    Q07 q07_each_caller_gets_its_own: "callers that share a commit get each its own rows",
        "the rows of a batch are answered in another order than its callers";
}

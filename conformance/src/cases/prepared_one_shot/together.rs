//! Participants in one-shot form, and a register: what a coordinator makes of them.

use exactly_once_core::{
    Decision, DecisionRegister, ErrorKind, OneShotParticipant, PreparedStatus,
    PreparedTransactions, Statement, Transactional,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};

use super::support::{refused_statement, statement};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        prepared::support::{ensure_effects, ensure_nothing_open, named, participation},
        support::retry,
        two_phase::Both,
    },
    check::Expecting,
    context::Context,
    ensure_eq, ensure_matches,
    harness::Harness,
};

/// The participants, where the harness's statement has its effect in any namespace: on a cluster it may
/// lie in the slot of one.
async fn participants<H: Harness<Store: OneShotParticipant>>(
    cx: &Context<H>,
) -> CaseResult<Both<H::Store>> {
    let (both, one) = (Both::of(cx.store())?, [statement(cx, "reach")?]);
    for store in [&both.orders, &both.stock] {
        let mut tx = retry(|| store.begin()).await?;
        let applied = store.apply(&mut tx, &one).await;
        store.rollback(tx).await?;
        match applied {
            Err(error) if error.kind() == ErrorKind::Refused => {
                return cx.ignore("this harness's statements belong to one namespace");
            }
            applied => applied?,
        }
    }
    Ok(both)
}

/// One attempt after the other until there is an outcome.
async fn run<H: Harness<Store: OneShotParticipant + DecisionRegister>>(
    cx: &Context<H>,
    name: &str,
    orders: &[Statement],
    stock: &[Statement],
) -> CaseResult<TwoPhaseOutcome> {
    let pattern = participation(cx, "pattern").await?;
    let work = named(&pattern, name)?;
    let both = participants(cx).await?;
    let outcome = retry(|| {
        TwoPhaseCommit::new(cx.store(), work.clone())
            .one_shot_participant("orders", &both.orders, orders.to_vec())
            .one_shot_participant("stock", &both.stock, stock.to_vec())
            .run()
    });
    let outcome = outcome.await?;
    let (decision, status) = match outcome {
        TwoPhaseOutcome::Committed => (Decision::Commit, PreparedStatus::Committed),
        TwoPhaseOutcome::RolledBack { .. } => (Decision::Rollback, PreparedStatus::RolledBack),
    };
    let entry = cx.store().decision(&work).await?.expecting("the entry")?;
    ensure_eq!(
        (entry.decision, entry.finished),
        (decision, true),
        "the entry"
    );
    for store in [&both.orders, &both.stock] {
        let seen = retry(|| store.prepared_status(&work)).await?;
        ensure_eq!(seen, status, "the status");
    }
    ensure_nothing_open(cx).await?;
    Ok(outcome)
}

/// Goal: all or none. Method: two namespaces with an effect each; then one of them refuses.
async fn t89_all_or_none<H: Harness<Store: OneShotParticipant + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let (one, other) = (
        [statement(&cx, "t89/orders")?],
        [statement(&cx, "t89/stock")?],
    );
    let outcome = run(&cx, "t89", &one, &other).await?;
    ensure_matches!(outcome, TwoPhaseOutcome::Committed, "both to commit");
    ensure_effects(&cx, "t89/orders", 1).await?;
    ensure_effects(&cx, "t89/stock", 1).await?;

    let refusing = [other[0].clone(), refused_statement(&cx)?];
    let outcome = run(&cx, "t89/refused", &one, &refusing).await?;
    match outcome {
        TwoPhaseOutcome::RolledBack {
            refused: Some((name, error)),
        } => ensure_eq!(
            (name.as_str(), error.kind()),
            ("stock", ErrorKind::Refused),
            "who refused, and how"
        ),
        other => {
            return Err(CaseFailure::new(
                "a rollback by the one that refused",
                format!("{other:?}"),
            ));
        }
    }
    ensure_effects(&cx, "t89/orders", 1).await?;
    ensure_effects(&cx, "t89/stock", 1).await
}

/// Goal: an attempt goes on where another one died. Method: one participant is prepared already; both
/// are; and both in the order that is not that of the list.
async fn t90_goes_on_where_it_stands<H: Harness<Store: OneShotParticipant + DecisionRegister>>(
    cx: Context<H>,
) -> CaseResult {
    let pattern = participation(&cx, "t90").await?;
    let both = participants(&cx).await?;
    for (number, before) in [
        vec!["orders"],
        vec!["stock"],
        vec!["orders", "stock"],
        vec!["stock", "orders"],
    ]
    .into_iter()
    .enumerate()
    {
        let id = |part: &str| format!("t90/{number}/{part}");
        let work = named(&pattern, &format!("t90/{number}"))?;
        let (orders, stock) = (
            vec![statement(&cx, &id("orders"))?],
            vec![statement(&cx, &id("stock"))?],
        );
        for part in before {
            let (store, statements) = match part {
                "orders" => (&both.orders, &orders),
                _ => (&both.stock, &stock),
            };
            let prepared = retry(|| store.prepare_one_shot(&work, statements)).await;
            prepared.expecting("a participant to prepare")?;
        }
        let outcome = retry(|| {
            TwoPhaseCommit::new(cx.store(), work.clone())
                .one_shot_participant("orders", &both.orders, orders.clone())
                .one_shot_participant("stock", &both.stock, stock.clone())
                .run()
        });
        ensure_matches!(outcome.await?, TwoPhaseOutcome::Committed, "both to commit");
        ensure_effects(&cx, &id("orders"), 1).await?;
        ensure_effects(&cx, &id("stock"), 1).await?;
    }
    ensure_nothing_open(&cx).await
}

cases! { "prepared_one_shot::together" for OneShotParticipant where DecisionRegister, "core::two_phase";
    T89 t89_all_or_none: "participants in one-shot form commit all or none",
        "one commits at once instead of preparing";
    T90 t90_goes_on_where_it_stands: "an attempt goes on where another one died",
        "what is found prepared is told as a refusal, or its work runs again";
}

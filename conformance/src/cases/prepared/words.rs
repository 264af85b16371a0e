//! Words: each refusal of a participant has the one text of `core::refusals`.

use std::time::Duration;

use exactly_once_core::{
    Error, Fingerprint, Participation, PreparedTransactions, Timestamp, TransactionId,
    adapter::refusals,
};

use super::support::{after, begin_again, commit, fresh, rollback};
use crate::{
    CaseResult,
    cases::{cases, support::worded},
    context::Context,
    harness::Harness,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Goal: one event has one text on every backend. Method: begin, commit and roll back what is unknown,
/// another's, committed, rolled back, late and forgotten; compare the words.
async fn t110_refusals_have_one_text<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    let now = after(store, Duration::ZERO).await?;
    let ago = |micros: i64| Timestamp::from_micros(now.as_micros() - micros);
    let (later, end) = (after(store, HOUR).await?, after(store, 2 * HOUR).await?);
    let named = |name: &str, request: &str, not_after, forget_after| {
        let request = Fingerprint::of_bytes("conformance", request.as_bytes());
        let name = TransactionId::new(name).map_err(Error::from)?;
        Participation::new(&name, request, not_after, forget_after)
    };

    let unknown = named("t110/unknown", "own", later, end)?;
    let answer = commit(store, &unknown).await;
    worded(
        answer,
        &refusals::not_prepared("", ""),
        "a commit of an unknown",
    )?;

    let (own, other) = (
        named("t110", "own", later, end)?,
        named("t110", "other", later, end)?,
    );
    let tx = fresh(store, &own).await?;
    store.prepare(tx, &own).await?;
    let another = refusals::another_transaction("", "");
    let answer = begin_again(store, &other).await;
    worded(answer, &another, "beginning with another request")?;
    let answer = commit(store, &other).await;
    worded(answer, &another, "a commit with another request")?;
    let answer = rollback(store, &other).await;
    worded(answer, &another, "a rollback with another request")?;
    commit(store, &own).await?;
    let answer = rollback(store, &own).await;
    worded(
        answer,
        &refusals::committed("", ""),
        "a rollback after the commit",
    )?;

    let undone = named("t110/undone", "own", later, end)?;
    rollback(store, &undone).await?;
    let rolled_back = refusals::rolled_back("", "");
    let answer = begin_again(store, &undone).await;
    worded(answer, &rolled_back, "beginning what was rolled back")?;
    let answer = commit(store, &undone).await;
    worded(answer, &rolled_back, "a commit after the rollback")?;

    let late = named("t110/late", "own", ago(2_000_000), end)?;
    let answer = begin_again(store, &late).await;
    worded(
        answer,
        &refusals::late("", ""),
        "beginning past the deadline",
    )?;

    let over = named("t110/over", "own", ago(2_000_000), ago(1_000_000))?;
    let forgotten = refusals::forgotten("", "");
    let answer = begin_again(store, &over).await;
    worded(answer, &forgotten, "beginning what is forgotten")?;
    let answer = commit(store, &over).await;
    worded(answer, &forgotten, "a commit of what is forgotten")?;
    let answer = rollback(store, &over).await;
    worded(answer, &forgotten, "a rollback of what is forgotten")
}

cases! { "prepared::words" for PreparedTransactions, "core::refusals";
    T110 t110_refusals_have_one_text: "each refusal of a participant has the one text of the core",
        "the store words its own refusals, so a caller can't tell two backends' events to be one";
}

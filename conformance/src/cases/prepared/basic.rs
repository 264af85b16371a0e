//! Basic: prepare hides the work, commit shows it once, rollback leaves nothing.

use exactly_once_core::{
    BegunPrepared, ErrorKind, Fingerprint, Participation, PreparedStatus, PreparedTransactions,
    Store, TransactionId, Transactional, TwoPhase,
};

use super::support::{
    after, ensure_committed, ensure_effects, ensure_nothing_left, ensure_rolled_back,
    ensure_status, fresh, participation, prepared,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{cases, support::refused},
    check::Expecting,
    context::Context,
    ensure_eq,
    harness::Harness,
};

/// Goal: prepared work is invisible to others. Method: prepare, count effects past the store.
async fn t01_prepared_work_is_invisible<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t01").await?;
    prepared(&cx, &work, "t01").await?;
    ensure_effects(&cx, "t01", 0).await?;
    ensure_status(&cx, &work, PreparedStatus::Prepared).await
}

/// Goal: commit shows the work, once. Method: two effects in one transaction; commit.
async fn t02_commit_shows_it_once<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t02").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t02").await?;
    cx.write(&mut tx, "t02/other").await?;
    cx.store().prepare(tx, &work).await?;
    cx.store().commit_prepared(&work).await?;
    ensure_effects(&cx, "t02/other", 1).await?;
    ensure_committed(&cx, &work, "t02").await
}

/// Goal: rollback leaves nothing. Method: prepare, roll back, look; the place can be written in.
async fn t03_rollback_leaves_nothing<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t03").await?;
    prepared(&cx, &work, "t03").await?;
    cx.store().rollback_prepared(&work).await?;
    ensure_rolled_back(&cx, &work, "t03").await?;
    let next = participation(&cx, "t03/next").await?;
    prepared(&cx, &next, "t03").await?;
    cx.store().commit_prepared(&next).await?;
    ensure_effects(&cx, "t03", 1).await
}

/// Goal: the status says where it stands, in every state. Method: none, at work, prepared,
/// committed; and of another one, rolled back.
async fn t04_status_in_every_state<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t04").await?;
    ensure_status(&cx, &work, PreparedStatus::None).await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t04").await?;
    ensure_status(&cx, &work, PreparedStatus::None).await?;
    cx.store().prepare(tx, &work).await?;
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    cx.store().commit_prepared(&work).await?;
    ensure_status(&cx, &work, PreparedStatus::Committed).await?;
    let other = participation(&cx, "t04/other").await?;
    prepared(&cx, &other, "t04/other").await?;
    cx.store().rollback_prepared(&other).await?;
    ensure_status(&cx, &other, PreparedStatus::RolledBack).await?;
    ensure_status(&cx, &work, PreparedStatus::Committed).await
}

/// Goal: commit of an unknown transaction is *not prepared*, never ok. Method: commit what never
/// was, and what was begun and dropped.
async fn t05_commit_of_an_unknown<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t05").await?;
    let answer = cx.store().commit_prepared(&work).await;
    refused(answer, ErrorKind::NotPrepared, "a commit of what never was")?;
    ensure_status(&cx, &work, PreparedStatus::None).await?;
    let mut tx = fresh(cx.store(), &work).await?;
    cx.write(&mut tx, "t05").await?;
    cx.store().rollback(tx).await?;
    let answer = cx.store().commit_prepared(&work).await;
    refused(
        answer,
        ErrorKind::NotPrepared,
        "a commit of what was begun and undone",
    )?;
    ensure_effects(&cx, "t05", 0).await?;
    // The refusal left nothing behind that keeps it from being done.
    prepared(&cx, &work, "t05").await?;
    cx.store().commit_prepared(&work).await?;
    ensure_committed(&cx, &work, "t05").await
}

/// Goal: rollback of an unknown transaction is ok and leaves a tombstone. Method: roll back what
/// never was; it can't be prepared any more.
async fn t06_rollback_of_an_unknown<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t06").await?;
    cx.store()
        .rollback_prepared(&work)
        .await
        .expecting("a rollback of what never was")?;
    ensure_rolled_back(&cx, &work, "t06").await
}

/// Goal: a store keeps its word about two-phase commit. Method: where none is declared, beginning or
/// preparing must be refused; where one is, it must work.
async fn t07_declared_or_refused<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    if cx.store().capabilities().two_phase != TwoPhase::None {
        let work = participation(&cx, "t07").await?;
        prepared(&cx, &work, "t07").await?;
        cx.store().commit_prepared(&work).await?;
        return ensure_committed(&cx, &work, "t07").await;
    }
    let hour = std::time::Duration::from_secs(3_600);
    let (not_after, forget_after) = (
        after(cx.store(), hour).await?,
        after(cx.store(), hour * 2).await?,
    );
    let request = Fingerprint::of_bytes("conformance", b"t07");
    let work = Participation::new(
        &TransactionId::new("t07")?,
        request,
        not_after,
        forget_after,
    )?;
    // A participant that commits alone begins as well: it is the prepare that must be refused then.
    let answer = match cx.store().begin_prepared(&work).await {
        Ok(BegunPrepared::Fresh(tx)) => cx.store().prepare(tx, &work).await,
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    match answer {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::Unsupported | ErrorKind::Configuration
            ) =>
        {
            Ok(())
        }
        other => Err(CaseFailure::new(
            "a store that declares no two-phase commit to refuse it as unsupported",
            format!("{other:?}"),
        )),
    }
}

/// Goal: work that is given up leaves nothing. Method: roll the open transaction back, and drop
/// another; the name is free, nothing is open.
async fn t08_given_up_before_prepare<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t08").await?;
    for round in 0..2 {
        let mut tx = fresh(cx.store(), &work).await?;
        cx.write(&mut tx, "t08").await?;
        if round == 0 {
            cx.store().rollback(tx).await?;
        } else {
            drop(tx);
        }
        ensure_nothing_left(&cx).await?;
        ensure_status(&cx, &work, PreparedStatus::None).await?;
    }
    ensure_effects(&cx, "t08", 0).await?;
    prepared(&cx, &work, "t08").await?;
    cx.store().commit_prepared(&work).await?;
    ensure_committed(&cx, &work, "t08").await
}

/// Goal: namespaces are apart. Method: the same transaction in two, one committed and one rolled
/// back.
async fn t09_namespaces_are_apart<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let work = participation(&cx, "t09").await?;
    let namespace = format!("{}/t09", cx.store().namespace());
    let other = cx.store().with_namespace(namespace.parse()?);
    prepared(&cx, &work, "t09").await?;
    ensure_eq!(
        other.prepared_status(&work).await?,
        PreparedStatus::None,
        "the status elsewhere"
    );
    refused(
        other.commit_prepared(&work).await,
        ErrorKind::NotPrepared,
        "a commit elsewhere",
    )?;
    other.rollback_prepared(&work).await?;
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    cx.store().commit_prepared(&work).await?;
    ensure_eq!(
        other.prepared_status(&work).await?,
        PreparedStatus::RolledBack,
        "the status elsewhere"
    );
    ensure_committed(&cx, &work, "t09").await
}

cases! { "prepared::basic" for PreparedTransactions, "core::PreparedTransactions, methods";
    T01 t01_prepared_work_is_invisible: "prepared work is invisible to others",
        "prepare commits";
    T02 t02_commit_shows_it_once: "commit shows the work, once",
        "commit runs the work again";
    T03 t03_rollback_leaves_nothing: "rollback leaves nothing, and no lock",
        "what was staged or reserved is not removed";
    T04 t04_status_in_every_state: "the status says where it stands, in every state",
        "the marker of an open transaction is read as committed";
    T05 t05_commit_of_an_unknown: "commit of an unknown transaction is never ok",
        "`unknown transaction` on commit is taken as `committed before`";
    T06 t06_rollback_of_an_unknown: "rollback of an unknown transaction is ok and leaves a tombstone",
        "rollback writes nothing where nothing is prepared: a zombie prepares after it";
    T07 t07_declared_or_refused: "two-phase commit works where it is declared, and is refused where not",
        "the server's setting is found out at the first prepare";
    T08 t08_given_up_before_prepare: "work that is given up leaves nothing",
        "the marker is written outside of the transaction";
    T09 t09_namespaces_are_apart: "the same transaction in two namespaces is two",
        "the namespace is missing in the identifier of the prepared transaction";
}

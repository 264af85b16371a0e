//! What the cases of this topic share: participations, and a participant's steps in one line.

use std::time::{Duration, Instant};

use exactly_once_core::{
    BegunPrepared, Decision, DecisionRegister, Error, ErrorKind, Fingerprint, InDoubt,
    NamespaceIdentity, Participants, Participation, PreparedStatus, PreparedTransactions, Store,
    Timestamp, TransactionId, Transactional, TwoPhase, identity_of,
};
use tokio::time::sleep;

use crate::{
    CaseFailure, CaseResult,
    cases::{support::retry, two_phase::Both},
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A moment so long after the store's now.
pub(crate) async fn after<S: Store>(store: &S, pause: Duration) -> CaseResult<Timestamp> {
    let now = retry(|| store.now()).await?;
    now.checked_add(pause)
        .expecting("a clock that is not at its end")
}

/// Waits until the store's clock is past this moment.
pub(crate) async fn until<S: Store>(store: &S, moment: Timestamp) -> CaseResult {
    let started = Instant::now();
    loop {
        let now = retry(|| store.now()).await?;
        if now > moment {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            seen: now,
            "the store's clock to go on to {moment}"
        );
        sleep(moment.since(now).max(Duration::from_millis(1))).await;
    }
}

/// A transaction with deadlines so long after the store's now.
pub(crate) async fn participation_until<S: Store>(
    store: &S,
    name: &str,
    not_after: Duration,
    forget_after: Duration,
) -> CaseResult<Participation> {
    let request = Fingerprint::of_bytes("conformance", name.as_bytes());
    let (deadline, end) = (
        after(store, not_after).await?,
        after(store, forget_after).await?,
    );
    let participation = Participation::new(&TransactionId::new(name)?, request, deadline, end)?;
    // The store is the register; its participants are those of the cases of both.
    let both = Both::of(store)?;
    let members = [
        retry(|| identity_of(&both.orders)).await?,
        retry(|| identity_of(&both.stock)).await?,
    ];
    let register = retry(|| identity_of(store)).await?;
    Ok(participation.entitled(register, Participants::of(members)))
}

/// A transaction with all the time in the world. Ends the case as ignored where the store declares
/// no two-phase commit.
pub(crate) async fn participation<H: Harness>(
    cx: &Context<H>,
    name: &str,
) -> CaseResult<Participation> {
    needs_two_phase(cx)?;
    participation_until(cx.store(), name, HOUR, HOUR * 2).await
}

/// As [`participation`], with a deadline of so many ticks, and twice as many until it is forgotten.
pub(crate) async fn short<H: Harness>(
    cx: &Context<H>,
    name: &str,
    ticks: u32,
) -> CaseResult<Participation> {
    needs_two_phase(cx)?;
    participation_until(cx.store(), name, cx.tick() * ticks, cx.tick() * ticks * 2).await
}

/// As [`short`], but its records are kept.
pub(crate) async fn short_and_kept<H: Harness>(
    cx: &Context<H>,
    name: &str,
    ticks: u32,
) -> CaseResult<Participation> {
    needs_two_phase(cx)?;
    participation_until(cx.store(), name, cx.tick() * ticks, HOUR).await
}

/// As [`short_and_kept`], of which nothing is remembered for long.
pub(crate) async fn short_and_forgotten<H: Harness>(
    cx: &Context<H>,
    name: &str,
    ticks: u32,
) -> CaseResult<Participation> {
    needs_two_phase(cx)?;
    let tick = cx.tick();
    participation_until(cx.store(), name, tick * ticks, tick * (ticks + 2)).await
}

fn needs_two_phase<H: Harness>(cx: &Context<H>) -> CaseResult {
    if cx.store().capabilities().two_phase == TwoPhase::None {
        return cx.ignore("the store declares no two-phase commit");
    }
    Ok(())
}

/// Another transaction with the same deadlines, so that many can be had without asking the clock.
pub(crate) fn named(pattern: &Participation, name: &str) -> CaseResult<Participation> {
    let request = Fingerprint::of_bytes("conformance", name.as_bytes());
    let (deadline, end) = (pattern.not_after(), pattern.forget_after());
    let named = Participation::new(&TransactionId::new(name)?, request, deadline, end)?;
    Ok(named.entitled(*pattern.register(), pattern.participants().clone()))
}

/// The same transaction for another request.
pub(crate) fn other_request(participation: &Participation) -> CaseResult<Participation> {
    let other = Participation::from_digest(
        *participation.transaction(),
        Fingerprint::of_bytes("conformance", b"another request"),
        participation.not_after(),
        participation.forget_after(),
    )?;
    let participants = participation.participants().clone();
    Ok(other.entitled(*participation.register(), participants))
}

/// The same transaction of other participants.
pub(crate) fn other_participants(participation: &Participation) -> Participation {
    let members = [[1; 16], [2; 16]].map(NamespaceIdentity::from_bytes);
    let register = *participation.register();
    let other = participation.clone();
    other.entitled(register, Participants::of(members))
}

/// The same transaction of another register.
pub(crate) fn other_register(participation: &Participation) -> Participation {
    let participants = participation.participants().clone();
    let register = NamespaceIdentity::from_bytes([3; 16]);
    participation.clone().entitled(register, participants)
}

/// The same transaction with another deadline.
pub(crate) fn other_deadline(participation: &Participation) -> CaseResult<Participation> {
    let later = Duration::from_secs(1);
    Ok(Participation::from_terms(
        *participation.transaction(),
        &participation.terms(),
        participation
            .not_after()
            .checked_add(later)
            .expecting("a later moment")?,
        participation
            .forget_after()
            .checked_add(later)
            .expecting("a later moment")?,
    )?)
}

/// Begins work that no attempt has begun.
pub(crate) async fn fresh<S: PreparedTransactions>(
    store: &S,
    participation: &Participation,
) -> CaseResult<S::Tx> {
    let begun = retry(|| store.begin_prepared(participation)).await;
    let begun = or_too_slow(store, participation, begun).await?;
    Ok(ensure_matches!(begun, BegunPrepared::Fresh(tx) => tx,
        "a transaction that nobody has begun to be fresh"))
}

/// A refusal that the deadline explains says nothing about the store: the case was too slow.
pub(crate) async fn or_too_slow<S: Store, T>(
    store: &S,
    participation: &Participation,
    answer: Result<T, Error>,
) -> CaseResult<T> {
    match answer {
        Err(error) if matches!(error.kind(), ErrorKind::RolledBack | ErrorKind::Forgotten) => {
            in_time(store, participation).await?;
            Err(error.into())
        }
        answer => Ok(answer?),
    }
}

/// What a case does up to here had to be done before the deadline.
pub(crate) async fn in_time<S: Store>(store: &S, participation: &Participation) -> CaseResult {
    let now = retry(|| store.now()).await?;
    if now <= participation.not_after() {
        return Ok(());
    }
    let late = now.since(participation.not_after());
    Err(CaseFailure::too_slow(format!(
        "the deadline had passed {late:?} ago"
    )))
}

/// Decides commit before the deadline.
pub(crate) async fn decided_in_time<S: DecisionRegister>(
    store: &S,
    participation: &Participation,
) -> CaseResult {
    let ruling = retry(|| store.decide(participation, Decision::Commit)).await;
    let ruling = or_too_slow(store, participation, ruling).await?;
    if ruling != Decision::Commit {
        in_time(store, participation).await?;
    }
    ensure_eq!(ruling, Decision::Commit, "a decision in time");
    Ok(())
}

/// Does one effect in a transaction, and prepares it.
pub(crate) async fn prepared<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    participation: &Participation,
    effect: &str,
) -> CaseResult {
    let mut tx = fresh(cx.store(), participation).await?;
    cx.write(&mut tx, effect).await?;
    let store = cx.store();
    let answer = store.prepare(tx, participation).await;
    let answer = or_too_slow(store, participation, answer).await;
    answer.expecting("the work to be prepared")
}

/// One attempt as an engine makes it: begin, do one effect, prepare; again while it may be retried.
pub(crate) async fn attempt<H: Harness<Store: PreparedTransactions>>(
    harness: &H,
    store: &H::Store,
    participation: &Participation,
    effect: &str,
) -> Result<(), Error> {
    retry(|| attempt_once(harness, store, participation, effect)).await
}

/// As [`attempt`], once.
pub(crate) async fn attempt_once<H: Harness<Store: PreparedTransactions>>(
    harness: &H,
    store: &H::Store,
    participation: &Participation,
    effect: &str,
) -> Result<(), Error> {
    match store.begin_prepared(participation).await? {
        BegunPrepared::AlreadyPrepared | BegunPrepared::AlreadyCommitted => Ok(()),
        BegunPrepared::Fresh(mut tx) => {
            if let Err(error) = harness.write_effect(&mut tx, effect).await {
                return Err(error.into_error("write_effect", store));
            }
            store.prepare(tx, participation).await
        }
    }
}

/// Commits, again while it may be retried.
pub(crate) async fn commit<S: PreparedTransactions>(
    store: &S,
    participation: &Participation,
) -> Result<(), Error> {
    retry(|| store.commit_prepared(participation)).await
}

/// Rolls back, again while it may be retried.
pub(crate) async fn rollback<S: PreparedTransactions>(
    store: &S,
    participation: &Participation,
) -> Result<(), Error> {
    retry(|| store.rollback_prepared(participation)).await
}

/// Begins again, while it may be retried, and drops what is fresh.
pub(crate) async fn begin_again<S: PreparedTransactions>(
    store: &S,
    participation: &Participation,
) -> Result<BegunPrepared<()>, Error> {
    Ok(match retry(|| store.begin_prepared(participation)).await? {
        BegunPrepared::Fresh(tx) => {
            drop(tx);
            BegunPrepared::Fresh(())
        }
        BegunPrepared::AlreadyPrepared => BegunPrepared::AlreadyPrepared,
        BegunPrepared::AlreadyCommitted => BegunPrepared::AlreadyCommitted,
    })
}

/// Requires this status, by both handles.
pub(crate) async fn ensure_status<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    participation: &Participation,
    status: PreparedStatus,
) -> CaseResult {
    for _ in 0..2 {
        let store = cx.store();
        let seen = retry(|| store.prepared_status(participation)).await?;
        ensure_eq!(seen, status, "the status");
    }
    Ok(())
}

/// Requires so many committed effects.
pub(crate) async fn ensure_effects<H: Harness>(
    cx: &Context<H>,
    effect: &str,
    times: u64,
) -> CaseResult {
    ensure_eq!(
        cx.effects(effect).await?,
        times,
        "committed effects of {effect:?}"
    );
    Ok(())
}

/// All that is in doubt, page by page.
pub(crate) async fn all_in_doubt<S: PreparedTransactions>(
    store: &S,
    limit: u32,
) -> CaseResult<Vec<InDoubt>> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page = retry(|| store.in_doubt(after.as_ref(), limit)).await?;
        ensure!(page.entries.len() <= limit as usize, seen: page, "at most {limit} entries");
        entries.extend(page.entries);
        ensure!(
            entries.len() < 10_000,
            "the pages of what is in doubt to come to an end"
        );
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(entries),
        }
    }
}

/// Requires nothing to be in doubt, and where it can be seen, nothing to be left open.
pub(crate) async fn ensure_nothing_left<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
) -> CaseResult {
    ensure_eq!(
        all_in_doubt(cx.store(), 100).await?,
        Vec::new(),
        "what is in doubt"
    );
    ensure_nothing_open(cx).await
}

/// Where it can be seen, requires nothing to be left open; what was dropped may take its time.
pub(crate) async fn ensure_nothing_open<H: Harness<Store: Transactional>>(
    cx: &Context<H>,
) -> CaseResult {
    let started = Instant::now();
    loop {
        match cx.harness().left_open(cx.guard()).await? {
            None | Some(0) => return Ok(()),
            Some(_) if started.elapsed() < Duration::from_secs(10) => {
                sleep(Duration::from_millis(5)).await;
            }
            Some(open) => {
                return Err(CaseFailure::new(
                    "no transaction to be left open and no lock to be held",
                    format!("{open} after ten seconds"),
                ));
            }
        }
    }
}

/// Requires that a rollback has won for good: it can neither be committed nor prepared again, has
/// no effect, and is not in doubt.
pub(crate) async fn ensure_rolled_back<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    participation: &Participation,
    effect: &str,
) -> CaseResult {
    ensure_status(cx, participation, PreparedStatus::RolledBack).await?;
    let again = begin_again(cx.store(), participation).await;
    refused_rolled_back(again, "beginning what was rolled back")?;
    refused_rolled_back(
        commit(cx.store(), participation).await,
        "a commit after the rollback",
    )?;
    rollback(cx.store(), participation)
        .await
        .expecting("a second rollback to be fine")?;
    ensure_effects(cx, effect, 0).await?;
    ensure_nothing_left(cx).await
}

/// Requires that a commit has won for good, with one effect.
pub(crate) async fn ensure_committed<H: Harness<Store: PreparedTransactions>>(
    cx: &Context<H>,
    participation: &Participation,
    effect: &str,
) -> CaseResult {
    ensure_status(cx, participation, PreparedStatus::Committed).await?;
    ensure_matches!(
        begin_again(cx.store(), participation).await?,
        BegunPrepared::AlreadyCommitted,
        "beginning what was committed to say so"
    );
    commit(cx.store(), participation)
        .await
        .expecting("a second commit to be fine")?;
    crate::cases::support::refused(
        rollback(cx.store(), participation).await,
        ErrorKind::Committed,
        "a rollback after the commit",
    )?;
    ensure_effects(cx, effect, 1).await?;
    ensure_nothing_left(cx).await
}

/// Requires a refusal as *rolled back*.
#[track_caller]
pub(crate) fn refused_rolled_back<T: std::fmt::Debug>(
    answer: Result<T, Error>,
    what: &str,
) -> CaseResult {
    crate::cases::support::refused(answer, ErrorKind::RolledBack, what)
}

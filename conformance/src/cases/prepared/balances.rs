//! Balances changed in prepared transactions: once they are prepared, nothing can be in the way of
//! the commit, so everybody else meets a reservation.

use exactly_once_core::{
    Adjust, BalanceStore, BalanceTransaction, BegunPrepared, Error, ErrorKind, Expected,
    Participation, PreparedStatus, PreparedTransactions,
};
use tokio::{task::JoinHandle, time::sleep};

use super::support::{
    commit, ensure_effects, ensure_nothing_left, ensure_status, fresh, participation, rollback,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        balance::{
            model::{Answer, Op, ask},
            support::{
                MAX, adjust, close, ensure_held, ensure_sound, opened, reaches_any_account, set,
                transfer,
            },
        },
        cases,
        support::{race, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Prepares one change; its receipt.
async fn prepared_change<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: &Context<H>,
    work: &Participation,
    operation: &Adjust,
) -> CaseResult<exactly_once_core::Change> {
    let mut tx = fresh(cx.store(), work).await?;
    let change = cx.store().adjust_in(&mut tx, operation).await?.change;
    cx.store()
        .prepare(tx, work)
        .await
        .expecting("the change to be prepared")?;
    Ok(change)
}

/// Goal: what is prepared is applied by the commit, as its receipt said, and invisible before.
/// Method: prepare a debit, read, commit, read; the operation's replay gives the receipt.
async fn t66_receipt_is_kept<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t66", 10).await?;
    let (work, operation) = (participation(&cx, "t66").await?, adjust("k", "t66", -10)?);
    let change = prepared_change(&cx, &work, &operation).await?;
    ensure_eq!(
        (change.after.get(), change.version.get()),
        (0, 2),
        "balance and version promised"
    );
    ensure_held(&cx, "t66", 10, 1).await?;
    commit(cx.store(), &work).await?;
    ensure_held(&cx, "t66", 0, 2).await?;
    let (_, history) = ensure_sound(cx.store(), "t66").await?;
    ensure_eq!(
        history.last(),
        Some(&change),
        "the last line of the history"
    );
    let replay = cx.store().adjust(&operation).await?;
    ensure_eq!(
        (replay.replayed, replay.change),
        (true, change),
        "the replay after the commit"
    );
    Ok(())
}

/// A rival that tries as an engine does, until it is answered.
fn rival<S: BalanceTransaction>(store: &S, op: &Op) -> JoinHandle<Result<Answer, Error>> {
    let (store, op) = (store.clone(), op.clone());
    tokio::spawn(async move { retry(|| ask(&store, &op)).await })
}

/// What a rival is told, once the prepared change is committed, or is rolled back.
struct Meeting {
    name: &'static str,
    start: i64,
    staged: i64,
    op: Op,
    /// The rival's refusal after the commit; none where it is applied.
    after_commit: Option<ErrorKind>,
    after_rollback: Option<ErrorKind>,
}

/// A rival meets the reservation until the decision, and is then decided on what came of it.
async fn meets<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: &Context<H>,
    meeting: &Meeting,
    commits: bool,
) -> CaseResult {
    let name = meeting.name;
    opened(cx, name, meeting.start).await?;
    let work = participation(cx, name).await?;
    prepared_change(
        cx,
        &work,
        &adjust(&format!("{name}/staged"), name, meeting.staged)?,
    )
    .await?;
    let rival = rival(cx.store(), &meeting.op);
    sleep(cx.tick() * 2).await;
    if rival.is_finished() {
        return Err(CaseFailure::new(
            "a rival of what is prepared to wait, or to be told something retryable",
            format!("{:?}", rival.await?),
        ));
    }
    ensure_held(cx, name, meeting.start, 1).await?;
    let expected = if commits {
        commit(cx.store(), &work)
            .await
            .expecting("a commit that can't fail")?;
        meeting.after_commit
    } else {
        rollback(cx.store(), &work).await?;
        meeting.after_rollback
    };
    let answer = rival
        .await?
        .expecting("the rival to be answered after the decision")?;
    let refused = match answer {
        Answer::Refused(kind) => Some(kind),
        Answer::Done { .. } | Answer::State(_) => None,
    };
    ensure_eq!(refused, expected, "the rival's refusal after the decision");
    let (_, history) = ensure_sound(cx.store(), name).await?;
    let changes = 1 + usize::from(commits) + usize::from(expected.is_none());
    ensure_eq!(history.len(), changes, "changes in the history");
    let key = format!("{name}/staged");
    let staged = history
        .iter()
        .filter(|change| change.key.as_str() == key)
        .count();
    ensure_eq!(
        staged,
        usize::from(commits),
        "how often the history has the prepared change"
    );
    ensure_nothing_left(cx).await
}

async fn meets_both<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: &Context<H>,
    meeting: impl Fn(&'static str) -> CaseResult<Meeting>,
    names: [&'static str; 2],
) -> CaseResult {
    for (name, commits) in names.into_iter().zip([true, false]) {
        let met = meets(cx, &meeting(name)?, commits).await;
        met.map_err(|failure| failure.note(if commits { "by commit" } else { "by rollback" }))?;
    }
    Ok(())
}

/// Goal: at the floor, nobody takes what a prepared debit counts on. Method: ten, all of it
/// prepared to go; a rival takes one.
async fn t66_at_the_floor<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        let op = Op::Adjust(adjust(&format!("{name}/rival"), name, -1)?);
        let after_commit = Some(ErrorKind::InsufficientFunds);
        Ok(Meeting {
            name,
            start: 10,
            staged: -10,
            op,
            after_commit,
            after_rollback: None,
        })
    };
    meets_both(&cx, meeting, ["t66/floor/commit", "t66/floor/rollback"]).await
}

/// Goal: at the largest amount, nobody fills the room that a prepared credit counts on. Method:
/// room for five, five prepared to come; a rival adds one.
async fn t66_at_the_largest_amount<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        let op = Op::Adjust(adjust(&format!("{name}/rival"), name, 1)?);
        let after_commit = Some(ErrorKind::Overflow);
        Ok(Meeting {
            name,
            start: MAX - 5,
            staged: 5,
            op,
            after_commit,
            after_rollback: None,
        })
    };
    meets_both(&cx, meeting, ["t66/max/commit", "t66/max/rollback"]).await
}

/// Goal: a set meets the reservation too. Method: an unconditional set beside a prepared credit.
async fn t66_set_meets_it<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        let op = Op::Set(set(&format!("{name}/rival"), name, Expected::Any, 3)?);
        let (after_commit, after_rollback) = (None, None);
        Ok(Meeting {
            name,
            start: 1,
            staged: 1,
            op,
            after_commit,
            after_rollback,
        })
    };
    meets_both(&cx, meeting, ["t66/set/commit", "t66/set/rollback"]).await
}

/// Goal: an account with a prepared change can't be closed under it. Method: close an empty one
/// beside a prepared credit.
async fn t66_close_meets_it<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    let meeting = |name: &'static str| {
        let op = Op::Close(close(&format!("{name}/rival"), name)?);
        let current = Some(2_i64.try_into()?);
        let after_commit = Some(ErrorKind::Conflict { current });
        Ok(Meeting {
            name,
            start: 0,
            staged: 5,
            op,
            after_commit,
            after_rollback: None,
        })
    };
    meets_both(&cx, meeting, ["t66/close/commit", "t66/close/rollback"]).await
}

/// Goal: the key of a prepared operation is taken as well. Method: the same operation outside of
/// the transaction: after the commit it is a replay, after the rollback it is applied.
async fn t66_key_is_reserved<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("t66/key/commit", true), ("t66/key/rollback", false)] {
        opened(&cx, name, 1).await?;
        let (work, operation) = (participation(&cx, name).await?, adjust(name, name, 7)?);
        prepared_change(&cx, &work, &operation).await?;
        let rival = rival(cx.store(), &Op::Adjust(operation));
        sleep(cx.tick() * 2).await;
        ensure!(!rival.is_finished(), seen: rival.await?, "the same key to wait for the decision");
        if commits {
            commit(cx.store(), &work).await?;
        } else {
            rollback(cx.store(), &work).await?;
        }
        match rival.await?? {
            Answer::Done { replayed, .. } => {
                ensure_eq!(replayed, commits, "whether the rival's answer is a replay");
            }
            other => {
                return Err(CaseFailure::new(
                    "the rival to be answered",
                    format!("{other:?}"),
                ));
            }
        }
        ensure_held(&cx, name, 8, 2).await?;
        ensure_sound(cx.store(), name).await?;
    }
    Ok(())
}

/// Goal: nor is it refused under its key: a refusal is final, and the commit would apply it all the
/// same. Method: a debit of what the same transaction pays in; outside, where nothing is paid in yet,
/// the same operation must wait for the decision.
async fn t66_key_is_not_refused<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("t66/no/commit", true), ("t66/no/rollback", false)] {
        opened(&cx, name, 0).await?;
        let (work, debit) = (participation(&cx, name).await?, adjust(name, name, -7)?);
        let mut tx = fresh(cx.store(), &work).await?;
        let credit = adjust(&format!("{name}/credit"), name, 9)?;
        cx.store().adjust_in(&mut tx, &credit).await?;
        cx.store().adjust_in(&mut tx, &debit).await?;
        cx.store().prepare(tx, &work).await?;
        let rival = rival(cx.store(), &Op::Adjust(debit));
        sleep(cx.tick() * 2).await;
        ensure!(!rival.is_finished(), seen: rival.await?, "the same key to wait for the decision");
        let expected = if commits {
            commit(cx.store(), &work).await?;
            (2, 3, true)
        } else {
            rollback(cx.store(), &work).await?;
            (0, 1, false)
        };
        let applied = matches!(rival.await??, Answer::Done { replayed: true, .. });
        ensure_eq!(
            applied,
            expected.2,
            "whether the rival's answer is a replay"
        );
        ensure_held(&cx, name, expected.0, expected.1).await?;
        ensure_sound(cx.store(), name).await?;
    }
    Ok(())
}

/// Goal: after a yes, commit can't fail, whatever others do. Method: credits, debits, sets and
/// transfers hammer the account between prepare and commit; nothing gets in, the commit is ok.
async fn t66_commit_after_a_storm<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t66/storm", 100).await?;
    opened(&cx, "t66/other", 100).await?;
    let work = participation(&cx, "t66/storm").await?;
    prepared_change(&cx, &work, &adjust("staged", "t66/storm", -100)?).await?;
    let limit = cx.tick() * 4;
    let rivals = (0..6).map(|racer| {
        let store = cx.store().clone();
        async move {
            let started = std::time::Instant::now();
            let mut number = 0;
            while started.elapsed() < limit {
                number += 1;
                let key = format!("{racer}/{number}");
                let op = match racer % 4 {
                    0 => Op::Adjust(adjust(&key, "t66/storm", 1)?),
                    1 => Op::Adjust(adjust(&key, "t66/storm", -1)?),
                    2 => Op::Set(set(&key, "t66/storm", Expected::Any, 1_000)?),
                    _ => Op::Transfer(transfer(&key, &[("t66/other", 1), ("t66/storm", -1)])?),
                };
                match ask(&store, &op).await {
                    Err(error) if error.is_retryable() => {}
                    Ok(Answer::Refused(ErrorKind::Unsupported)) => {}
                    got_in => {
                        return Err(CaseFailure::new(
                            "what others try beside a prepared change to be retryable",
                            format!("{got_in:?} to {op:?}"),
                        ));
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            CaseResult::Ok(())
        }
    });
    for ended in race(rivals.collect::<Vec<_>>()).await? {
        ended?;
    }
    ensure_status(&cx, &work, PreparedStatus::Prepared).await?;
    commit(cx.store(), &work)
        .await
        .expecting("a commit that can't fail")?;
    // What timed out at the client may still land, but only on what the commit has left.
    let (_, history) = ensure_sound(cx.store(), "t66/storm").await?;
    ensure_eq!(
        history.get(1).map(|change| change.delta.get()),
        Some(-100),
        "the second change"
    );
    ensure_nothing_left(&cx).await
}

/// Goal: of two transactions on one account, the second waits, or is told *reserved*. Method: both
/// would take all; prepare one, try the other; decide the first, and the other is decided on what
/// came of it.
async fn t24_two_transactions_one_row<
    H: Harness<Store: BalanceTransaction + PreparedTransactions>,
>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    for (name, commits) in [("t24/commit", true), ("t24/rollback", false)] {
        opened(&cx, name, 10).await?;
        let first = participation(&cx, &format!("{name}/first")).await?;
        let second = participation(&cx, &format!("{name}/second")).await?;
        prepared_change(&cx, &first, &adjust(&format!("{name}/1"), name, -10)?).await?;
        let operation = adjust(&format!("{name}/2"), name, -10)?;
        let rival = tokio::spawn({
            let (store, second) = (cx.store().clone(), second.clone());
            async move { retry(|| prepare_once(&store, &second, &operation)).await }
        });
        sleep(cx.tick() * 2).await;
        ensure!(!rival.is_finished(), seen: rival.await?, "the second transaction to wait");
        if commits {
            commit(cx.store(), &first).await?;
            let answer = rival.await?;
            crate::cases::support::refused(
                answer,
                ErrorKind::InsufficientFunds,
                "the second transaction, after the first took all",
            )?;
            ensure_status(&cx, &second, PreparedStatus::None).await?;
        } else {
            rollback(cx.store(), &first).await?;
            rival
                .await?
                .expecting("the second transaction after the first is gone")?;
            commit(cx.store(), &second).await?;
        }
        ensure_held(&cx, name, 0, 2).await?;
        ensure_sound(cx.store(), name).await?;
        ensure_nothing_left(&cx).await?;
    }
    Ok(())
}

async fn prepare_once<S: BalanceTransaction + PreparedTransactions>(
    store: &S,
    work: &Participation,
    operation: &Adjust,
) -> Result<(), Error> {
    match store.begin_prepared(work).await? {
        BegunPrepared::Fresh(mut tx) => {
            store.adjust_in(&mut tx, operation).await?;
            store.prepare(tx, work).await
        }
        BegunPrepared::AlreadyPrepared | BegunPrepared::AlreadyCommitted => Ok(()),
    }
}

/// Goal: a refusal in the work is the work's to decide; what it prepares beside it is kept. Method:
/// an overdraft is refused in the transaction; a smaller debit and a write go through.
async fn t26_refusal_in_the_work<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    reaches_any_account(&cx)?;
    opened(&cx, "t26", 10).await?;
    let work = participation(&cx, "t26").await?;
    let mut tx = fresh(cx.store(), &work).await?;
    let over = cx
        .store()
        .adjust_in(&mut tx, &adjust("over", "t26", -11)?)
        .await;
    crate::cases::support::refused(over, ErrorKind::InsufficientFunds, "an overdraft")?;
    cx.store()
        .adjust_in(&mut tx, &adjust("k", "t26", -9)?)
        .await?;
    cx.write(&mut tx, "t26").await?;
    cx.store().prepare(tx, &work).await?;
    commit(cx.store(), &work).await?;
    ensure_effects(&cx, "t26", 1).await?;
    ensure_held(&cx, "t26", 1, 2).await
}

cases! { "prepared::balances" for BalanceTransaction where PreparedTransactions, "core::PreparedTransactions, Contract";
    T24 t24_two_transactions_one_row: "of two transactions on one account, the second waits or is told reserved",
        "what is prepared is not seen by other transactions' checks";
    T26 t26_refusal_in_the_work: "a refusal in the work leaves the transaction usable",
        "a refused statement aborts the transaction: no savepoint";
    T66 t66_receipt_is_kept: "what is prepared is applied by the commit, as its receipt said",
        "the change is computed anew at the commit";
    T66 t66_at_the_floor: "nobody takes what a prepared debit counts on",
        "a staged adapter without reservations: the floor is checked at the commit";
    T66 t66_at_the_largest_amount: "nobody fills the room that a prepared credit counts on",
        "only debits are reserved: the sum overflows at the commit";
    T66 t66_set_meets_it: "a set meets the reservation too",
        "only adjustments look for reservations";
    T66 t66_close_meets_it: "an account with a prepared change can't be closed under it",
        "only changes of the amount look for reservations";
    T66 t66_key_is_reserved: "the key of a prepared operation is taken as well",
        "the operation's record is not reserved: it is applied twice, or the commit fails";
    T66 t66_key_is_not_refused: "what is prepared is not refused under its key meanwhile",
        "a refusal is recorded without a look at what is reserved: told no, and applied by the commit";
    T66 t66_commit_after_a_storm: "after a yes, commit can't fail, whatever others do",
        "a staged adapter without reservations";
}

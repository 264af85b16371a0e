//! Reservations: a call that comes between prepare and commit meets what is prepared, at both ends of the
//! range, by every operation, and by the operation's own key.

use exactly_once_core::{BalanceTransaction, Error, ErrorKind, Expected, PreparedTransactions};
use tokio::{task::JoinHandle, time::sleep};

use super::{
    balances::prepared_change,
    support::{commit, ensure_nothing_left, fresh, participation, rollback},
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        balance::{
            model::{Answer, Op, ask},
            support::{
                MAX, adjust, close, ensure_held, ensure_sound, opened, reaches_any_account, set,
            },
        },
        cases,
        support::retry,
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// A rival that tries as an engine does, until it is answered.
fn rival<S: BalanceTransaction>(store: &S, op: &Op) -> JoinHandle<Result<Answer, Error>> {
    let (store, op) = (store.clone(), op.clone());
    tokio::spawn(async move { retry(|| ask(&store, &op)).await })
}

/// What a rival gets, once the prepared change is committed, or is rolled back.
pub(super) struct Meeting {
    pub(super) name: &'static str,
    pub(super) start: i64,
    pub(super) staged: i64,
    pub(super) op: Op,
    /// The rival's refusal after the commit; none where it is applied.
    pub(super) after_commit: Option<ErrorKind>,
    pub(super) after_rollback: Option<ErrorKind>,
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

pub(super) async fn meets_both<H: Harness<Store: BalanceTransaction + PreparedTransactions>>(
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

/// Goal: at the floor, no rival takes what a prepared debit counts on. Method: ten, all of it
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

/// Goal: at the largest amount, no rival fills the room that a prepared credit counts on. Method:
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

cases! { "prepared::reservations" for BalanceTransaction where PreparedTransactions, "core::PreparedTransactions, Contract";
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
}

//! Races: attempts, commits, rollbacks and readers at once; one outcome, and all learn it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use exactly_once_core::{Error, ErrorKind, PreparedStatus, PreparedTransactions};

use super::support::{
    attempt, commit, ensure_committed, ensure_effects, ensure_rolled_back, participation, prepared,
    rollback,
};
use crate::{
    CaseFailure, CaseResult,
    cases::{
        cases,
        support::{race, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: of N attempts at once, one does the work. Method: N tasks begin, do an effect and prepare;
/// each learns that it is prepared; after the commit there is one effect.
async fn t20_racing_attempts<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    for round in 0..cx.case().scaled(6, 2) {
        let name = format!("t20/{round}");
        let work = participation(&cx, &name).await?;
        let racers = (0..8).map(|_| {
            let (harness, store) = (Arc::clone(cx.harness()), cx.store().clone());
            let (work, name) = (work.clone(), name.clone());
            async move { attempt(&*harness, &store, &work, &name).await }
        });
        for ended in race(racers.collect::<Vec<_>>()).await? {
            ended.expecting("every attempt to find it prepared in the end")?;
        }
        ensure_effects(&cx, &name, 0).await?;
        commit(cx.store(), &work).await?;
        ensure_committed(&cx, &work, &name).await?;
    }
    Ok(())
}

/// Goal: of N commits at once, all are ok and the effect is one. Method: N tasks commit.
async fn t21_racing_commits<H: Harness<Store: PreparedTransactions>>(cx: Context<H>) -> CaseResult {
    for round in 0..cx.case().scaled(6, 2) {
        let name = format!("t21/{round}");
        let work = participation(&cx, &name).await?;
        prepared(&cx, &work, &name).await?;
        let racers = (0..8).map(|_| {
            let (store, work) = (cx.store().clone(), work.clone());
            async move { commit(&store, &work).await }
        });
        for ended in race(racers.collect::<Vec<_>>()).await? {
            ended.expecting("every racing commit to be ok")?;
        }
        ensure_committed(&cx, &work, &name).await?;
    }
    Ok(())
}

/// Goal: of commits and rollbacks at once, one side wins, and all learn it. Method: four of each
/// at what is prepared. (A commit that comes between the rollback and its tombstone may get
/// *not prepared*, which is true then.)
async fn t22_commit_against_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    for round in 0..cx.case().scaled(16, 4) {
        let name = format!("t22/{round}");
        let work = participation(&cx, &name).await?;
        prepared(&cx, &work, &name).await?;
        let racers = (0..8).map(|racer| {
            let (store, work) = (cx.store().clone(), work.clone());
            async move {
                let commits = (racer + round) % 2 == 0;
                let told = if commits {
                    commit(&store, &work).await
                } else {
                    rollback(&store, &work).await
                };
                (commits, told)
            }
        });
        let told = race(racers.collect::<Vec<_>>()).await?;
        let won = told.iter().any(|(commits, told)| *commits && told.is_ok());
        for (commits, told) in told {
            fits(commits, told, won).map_err(|failure| failure.note(format!("round {round}")))?;
        }
        if won {
            ensure_committed(&cx, &work, &name).await?;
        } else {
            ensure_rolled_back(&cx, &work, &name).await?;
        }
    }
    Ok(())
}

/// Whether a racer of T22 got the outcome.
fn fits(commits: bool, told: Result<(), Error>, won: bool) -> CaseResult {
    let right = match &told {
        Ok(()) => commits == won,
        Err(error) => match error.kind() {
            ErrorKind::Committed => !commits && won,
            ErrorKind::RolledBack | ErrorKind::NotPrepared => commits && !won,
            _ => false,
        },
    };
    if right {
        return Ok(());
    }
    let what = if commits { "a commit" } else { "a rollback" };
    let outcome = if won { "committed" } else { "rolled back" };
    Err(CaseFailure::new(
        format!("{what} to be told that the transaction was {outcome}"),
        format!("{told:?}"),
    ))
}

/// Goal: the status is never wrong while it is committed. Method: poll it 10,000 times while the
/// commit goes on: prepared, and from some moment on committed; nothing else, and never back.
async fn t23_status_during_commit<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    let wanted = cx.case().scaled(10_000, 200);
    let (mut polls, mut round) = (0, 0);
    while polls < wanted {
        round += 1;
        let name = format!("t23/{round}");
        let work = participation(&cx, &name).await?;
        prepared(&cx, &work, &name).await?;
        let done = Arc::new(AtomicBool::new(false));
        let pollers: Vec<_> = (0..4)
            .map(|_| {
                let (store, work, done) = (cx.store().clone(), work.clone(), Arc::clone(&done));
                tokio::spawn(async move { poll(&store, &work, &done, 50).await })
            })
            .collect();
        tokio::task::yield_now().await;
        commit(cx.store(), &work).await?;
        done.store(true, Ordering::SeqCst);
        for poller in pollers {
            polls += poller.await??;
        }
        ensure_eq!(
            cx.store().prepared_status(&work).await?,
            PreparedStatus::Committed,
            "the status after the commit"
        );
    }
    ensure!(polls >= wanted, seen: polls, "{wanted} polls");
    Ok(())
}

/// Polls the status until the commit is done, and at least this often; how often.
async fn poll<S: PreparedTransactions>(
    store: &S,
    work: &exactly_once_core::Participation,
    done: &AtomicBool,
    least: usize,
) -> CaseResult<usize> {
    let (mut polls, mut committed) = (0, false);
    loop {
        let ended = done.load(Ordering::SeqCst);
        match retry(|| store.prepared_status(work)).await? {
            PreparedStatus::Prepared if !committed && !ended => {}
            PreparedStatus::Committed => committed = true,
            other => {
                let so_far = if committed || ended {
                    "committed"
                } else {
                    "prepared, or committed"
                };
                return Err(CaseFailure::new(
                    format!("the status during a commit to be {so_far}"),
                    format!("{other:?}, at poll {polls}"),
                ));
            }
        }
        polls += 1;
        if ended && polls >= least {
            return Ok(polls);
        }
        tokio::task::yield_now().await;
    }
}

/// Goal: a prepare beside a rollback never leaves an orphan. Method: an attempt and a rollback at
/// once; once both have ended, it is rolled back, nothing is in doubt, nothing is locked.
async fn t25_prepare_against_rollback<H: Harness<Store: PreparedTransactions>>(
    cx: Context<H>,
) -> CaseResult {
    for round in 0..cx.case().scaled(24, 6) {
        let name = format!("t25/{round}");
        let work = participation(&cx, &name).await?;
        let racers = (0..3).map(|racer| {
            let (harness, store) = (Arc::clone(cx.harness()), cx.store().clone());
            let (work, name) = (work.clone(), name.clone());
            async move {
                if racer < 2 {
                    return (true, attempt(&*harness, &store, &work, &name).await);
                }
                // A little later in some rounds, so that both orders are seen.
                for _ in 0..round % 8 {
                    tokio::task::yield_now().await;
                }
                (false, rollback(&store, &work).await)
            }
        });
        for (attempted, told) in race(racers.collect::<Vec<_>>()).await? {
            match told {
                Ok(()) => {}
                Err(error) if attempted && error.kind() == ErrorKind::RolledBack => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure_rolled_back(&cx, &work, &name).await?;
    }
    Ok(())
}

cases! { "prepared::races" for PreparedTransactions, "core::PreparedTransactions, Contract";
    T20 t20_racing_attempts: "of N attempts at once, one does the work",
        "no marker inside the transaction, or one without a unique key";
    T21 t21_racing_commits: "of N commits at once, all are ok, and the effect is one",
        "staged effects are applied by each commit";
    T22 t22_commit_against_rollback: "of commits and rollbacks at once one side wins, and all are told it",
        "the outcome is written apart from the work, or looked up before it is decided";
    T23 t23_status_during_commit: "the status is never wrong while it is committed",
        "status asks for the outcome first, and then whether it is prepared";
    T25 t25_prepare_against_rollback: "a prepare beside a rollback never leaves an orphan",
        "the tombstone is inserted before the prepared transaction is ended, or not at all";
}

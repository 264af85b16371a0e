//! Trap 11: "is it prepared?" and "is its marker there?" are two questions, and a commit may come
//! between them. And commits that race rollbacks.
//!
//! `EXACTLY_ONCE_SOAK=1` runs the full count.

use std::time::Duration;

use exactly_once::{
    ErrorKind, Participation, PreparedStatus, PreparedTransactions, postgres::TokioPostgresStore,
};

use crate::{begun, prepared, run, store, world::world};

fn scaled(full: usize, short: usize) -> usize {
    let soak = std::env::var("EXACTLY_ONCE_SOAK").is_ok_and(|soak| soak == "1");
    if soak { full } else { short }
}

/// Asks for the status until it is this one, and says how often that took. On the way it may only be
/// what the list says.
async fn ask_until(
    store: TokioPostgresStore,
    transaction: Participation,
    last: PreparedStatus,
    before: &'static [PreparedStatus],
) -> usize {
    for asked in 1.. {
        let status = store.prepared_status(&transaction).await.unwrap();
        if status == last {
            return asked;
        }
        assert!(before.contains(&status), "{status:?} before {last:?}");
        tokio::task::yield_now().await;
    }
    unreachable!("it ends when the status is there")
}

// 11. Beside commits and rollbacks, no reader ever gets another outcome, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_read_beside_a_commit_is_never_wrong() {
    use PreparedStatus::{Committed, None, Prepared, RolledBack};
    let world = world().await;
    let store = store(&world).await;
    let (wanted, mut asked) = (scaled(10_000, 1_500), 0);
    for round in 0.. {
        if asked >= wanted {
            break;
        }
        let transaction = prepared(&store, &format!("t{round}")).await;
        // Between ROLLBACK PREPARED and its tombstone there is nothing: that is so, and no error.
        let (last, before): (_, &'static [_]) = match round % 4 {
            0 => (RolledBack, &[Prepared, None]),
            _ => (Committed, &[Prepared]),
        };
        let readers: Vec<_> = (0..4)
            .map(|_| tokio::spawn(ask_until(store.clone(), transaction.clone(), last, before)))
            .collect();
        if last == Committed {
            store.commit_prepared(&transaction).await.unwrap();
        } else {
            store.rollback_prepared(&transaction).await.unwrap();
        }
        for reader in readers {
            asked += reader.await.unwrap();
        }
    }
}

/// Ends it one way, again as long as it is asked to try again.
async fn end(
    store: TokioPostgresStore,
    transaction: Participation,
    commit: bool,
) -> Result<(), ErrorKind> {
    loop {
        let ended = if commit {
            store.commit_prepared(&transaction).await
        } else {
            store.rollback_prepared(&transaction).await
        };
        match ended {
            Ok(()) => return Ok(()),
            Err(error) if error.is_retryable() => {}
            // Between ROLLBACK PREPARED and its tombstone nothing is known; the tombstone follows.
            Err(error) if error.kind() == ErrorKind::NotPrepared => {}
            Err(error) => return Err(error.kind()),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

// Of eight that commit and roll back at once, one side wins, all learn which, and the effect is
// as they learned.
#[tokio::test(flavor = "multi_thread")]
async fn of_commits_and_rollbacks_at_once_one_side_wins_and_all_are_told() {
    let world = world().await;
    world.sql("CREATE TABLE t (n int8)").await;
    let store = store(&world).await;
    let (mut commits, rounds) = (0, scaled(200, 30));
    for round in 0..rounds {
        let (tx, transaction) = begun(&store, &format!("t{round}")).await;
        run(&tx, &format!("INSERT INTO t VALUES ({round})")).await;
        store.prepare(tx, &transaction).await.unwrap();
        let racers: Vec<_> = (0..8)
            .map(|racer| (racer + round) % 2 == 0)
            .map(|commit| {
                let ended = tokio::spawn(end(store.clone(), transaction.clone(), commit));
                (commit, ended)
            })
            .collect();
        let mut told = Vec::new();
        for (commit, ended) in racers {
            told.push((commit, ended.await.unwrap()));
        }
        let won = told.iter().any(|(commit, told)| *commit && told.is_ok());
        for (commit, told) in told {
            let right = match (commit, won) {
                (true, true) | (false, false) => Ok(()),
                (true, false) => Err(ErrorKind::RolledBack),
                (false, true) => Err(ErrorKind::Committed),
            };
            assert_eq!(told, right, "round {round}");
        }
        let count = format!("SELECT count(*) FROM t WHERE n = {round}");
        assert_eq!(world.sql(&count).await, u8::from(won).to_string());
        commits += usize::from(won);
    }
    assert!(commits > 0, "no commit has won in {rounds} rounds");
    assert!(store.in_doubt(None, 9).await.unwrap().entries.is_empty());
    world.nothing_open().await;
}

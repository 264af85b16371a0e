//! A text is one statement of one effect, and the store alone ends its transaction.

use exactly_once::{
    ErrorKind, ExecuteOnce, Fingerprint, IdempotencyStore, LeaseStore, OneShotStore, Statement,
    Transactional, WorkError,
    postgres::{PostgresTx, SqlxPostgresTx, sqlx::SqlxDriver},
};
use sqlx::Connection as _;

use crate::{
    COUNT, Under, at_once, fresh, number, payment, shop, shot,
    world::{claim, refused},
};

on_both!(
    texts_that_reach_beyond_are_invalid,
    a_claim_that_the_work_committed_is_never_free,
    work_that_removes_prepared_statements_is_done_at_the_second_attempt,
);

async fn texts_that_reach_beyond_are_invalid<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let plain = |text: &str| Statement::new(text);
    let insert = |id: &str| plain("INSERT INTO payments VALUES ($1, 5)").bind(id);
    for (number_of, statements) in [
        vec![
            insert("a"),
            plain("COMMIT"),
            plain("INSERT INTO nowhere VALUES (1)"),
        ],
        vec![insert("a"), plain("  /* x */ end")],
        vec![plain("INSERT INTO payments VALUES ('a', 5); COMMIT")],
        vec![
            plain("INSERT INTO payments VALUES ($1, 5); UPDATE payments SET amount = 7").bind("a"),
        ],
        vec![
            plain("UPDATE payments SET amount = amount - $1 WHERE id = $2")
                .bind(1)
                .expecting_rows(1),
        ],
        vec![plain("INSERT INTO payments VALUES ('a', 5)").bind(1)],
        vec![plain("INSERT INTO payments VALUES ('a', 5) /*")],
        vec![plain("INSERT INTO payments VALUES ('a")],
        vec![plain("PREPARE TRANSACTION 'mine'")],
        vec![plain("")],
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("k{number_of}");
        let answer = store.execute_one_shot(&shot(&name, statements)).await;
        refused(answer, ErrorKind::Invalid, &["statement"]);
        assert!(store.lookup(claim(&name).key()).await.unwrap().is_none());
        assert_eq!(number(&world, COUNT).await, 0, "{number_of}");
    }
    let good = shot(
        "good",
        vec![
            insert("it's; $2").clone(),
            plain("UPDATE payments SET amount = 6 WHERE id = 'it''s; $2' -- ;").expecting_rows(1),
            plain("DELETE FROM payments WHERE id = $$;$$ ; "),
        ],
    );
    assert!(!store.execute_one_shot(&good).await.unwrap().replayed);
    assert_eq!(number(&world, COUNT).await, 1);
    world.nothing_open().await;
}

async fn a_claim_that_the_work_committed_is_never_free<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let work = async |tx: &mut PostgresTx<D::Connection>| -> Result<u8, WorkError> {
        D::run(tx, "INSERT INTO payments VALUES ('a', 1)").await?;
        D::run(tx, "COMMIT").await?;
        Err(std::io::Error::other("and then it fails").into())
    };
    let first = store.execute_once(&claim("k"), work).await.unwrap_err();
    assert!(first.is_retryable(), "{first}");
    for _ in 0..3 {
        let again = store.execute_once(&claim("k"), work).await;
        refused(again, ErrorKind::Invalid, &["ended its transaction"]);
        let leased = store
            .lease(&claim("k"), std::time::Duration::from_secs(1))
            .await;
        refused(leased, ErrorKind::Invalid, &["ended its transaction"]);
        let shot = store.execute_one_shot(&shot("k", vec![])).await;
        refused(shot, ErrorKind::Invalid, &["ended its transaction"]);
        for done in at_once(&store, &[payment("k"), payment("k")]).await {
            refused(done, ErrorKind::Invalid, &["ended its transaction"]);
        }
    }
    assert_eq!(number(&world, COUNT).await, 1);
    let other = exactly_once::Claim::new(
        claim("k").key().clone(),
        Fingerprint::of("test", "another").unwrap(),
    );
    let answer = store.claim(&other).await.unwrap();
    assert!(
        matches!(answer, exactly_once::Claimed::Mismatch),
        "{answer:?}"
    );
    assert!(store.forget(claim("k").key()).await.unwrap());
    store.rollback(fresh(&store, "k").await).await.unwrap();
    world.nothing_open().await;
}

async fn work_that_removes_prepared_statements_is_done_at_the_second_attempt<D: Under>() {
    let (world, store) = shop::<D>(1).await;
    let work = async |tx: &mut PostgresTx<D::Connection>| -> Result<u8, WorkError> {
        D::run(tx, "INSERT INTO payments VALUES ('a', 1)").await?;
        D::run(tx, "DEALLOCATE ALL").await?;
        Ok(7)
    };
    let first = store.execute_once(&claim("k"), work).await;
    refused(first, ErrorKind::WorkFailed, &["DEALLOCATE"]);
    assert_eq!(number(&world, COUNT).await, 0);
    let second = store.execute_once(&claim("k"), work).await.unwrap();
    assert_eq!((second.value, second.replayed), (7, false));
    assert!(
        store
            .execute_once(&claim("k"), work)
            .await
            .unwrap()
            .replayed
    );
    assert_eq!(number(&world, COUNT).await, 1);
}

// A nested transaction of sqlx is a savepoint in the store's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_nested_begin_is_a_savepoint() {
    let (world, store) = shop::<SqlxDriver>(1).await;
    let attempts = std::sync::atomic::AtomicU32::new(0);
    for _ in 0..3 {
        let attempts = &attempts;
        let work = async |tx: &mut SqlxPostgresTx| -> Result<u8, WorkError> {
            let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut nested = tx.connection()?.begin().await?;
            sqlx::query("INSERT INTO payments VALUES ($1, 1)")
                .bind(format!("attempt {attempt}"))
                .execute(&mut *nested)
                .await?;
            nested.commit().await?;
            let mut undone = tx.connection()?.begin().await?;
            sqlx::query("INSERT INTO payments VALUES ('undone', 1)")
                .execute(&mut *undone)
                .await?;
            undone.rollback().await?;
            match attempt {
                0 | 1 => Err(std::io::Error::other("transient").into()),
                _ => Ok(1),
            }
        };
        let _ = store.execute_once(&claim("k"), work).await;
    }
    assert_eq!(
        world.sql("SELECT string_agg(id, ',') FROM payments").await,
        "attempt 2"
    );
    world.nothing_open().await;
    // The connection counts no transaction any more.
    let work = async |tx: &mut SqlxPostgresTx| -> Result<u8, WorkError> {
        let nested = tx.connection()?.begin().await?;
        nested.commit().await?;
        Ok(1)
    };
    store.execute_once(&claim("next"), work).await.unwrap();
}

//! Many transactions that end at one moment: a call about one reads only that one.

use std::time::Duration;

use exactly_once::{Decision, DecisionRegister, Fingerprint, Participation, Store, TransactionId};

use crate::{expiry::read_until_now, store, world::world};

/// Decided, not carried out, with the same end as ours.
const STORED: u32 = 5_000;

/// So many of ours: from the sixth on the server has one plan for all.
const OURS: u32 = 20;

/// Entries of indexes and rows for one decision and its end.
const MOST_READ: i64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_carried_out_without_a_look_at_others() {
    let world = world().await;
    let first = store(&world).await;
    let now = first.now().await.unwrap();
    first.close().await.unwrap();
    let later = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    let ours = |number: u32| {
        let name = TransactionId::new(format!("order/{number}")).unwrap();
        let print = Fingerprint::from_bytes([1; 32]);
        Participation::new(&name, print, later(60), later(120)).unwrap()
    };
    // No ANALYZE has run since the table was empty, so the planner takes any index that has an
    // `=` for each of its columns to be as good as another.
    let sql = format!(
        "ALTER TABLE exactly_once.decisions SET (autovacuum_enabled = off);
         INSERT INTO exactly_once.decisions
         SELECT 'default', decode(md5(i::text) || md5(i::text), 'hex'), '', '', true, false, NULL, NULL, 0, {}
         FROM generate_series(1, {STORED}) i",
        ours(0).forget_after().as_micros()
    );
    world.sql(&sql).await;
    let before = read_until_now(&world, "decisions").await;
    let store = store(&world).await;
    for ours in (0..OURS).map(ours) {
        let decided = store.decide(&ours, Decision::Commit).await.unwrap();
        assert_eq!(decided, Decision::Commit);
        store.finish(&ours, Decision::Commit).await.unwrap();
    }
    // A session that ends leaves its counts, but not at once.
    store.close().await.unwrap();
    let mut read = 0;
    for _ in 0..50 {
        read = read_until_now(&world, "decisions").await - before;
        if read > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(read > 0, "no counts came");
    let most = MOST_READ * i64::from(OURS);
    assert!(read <= most, "{read} rows were read");
}

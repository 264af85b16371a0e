//! A store that is away.

use std::time::Duration;

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, ErrorKind, Fingerprint, Participants, Participation,
    PreparedStatus::Committed, PreparedTransactions, Store, TransactionId, identity_of,
};

use crate::{flows::Flows, postgres, redis, sqlite};

// Fault 7: a store that is away, in each place of the list, holds up nothing that does not concern it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_up_nothing_else() {
    let ((_folder, sqlite), (_server, postgres)) = (sqlite().await, postgres().await);
    let (redis, away) = redis().await;
    redis.stop().await.unwrap();
    for (store, name) in [(&sqlite, "sqlite"), (&postgres, "postgres")] {
        for away_first in [true, false] {
            let flows = Flows::new(store, store, &format!("7/{name}/{away_first}")).await;
            let work = flows.decided().await;
            // An alarm of the same sweep is kept.
            let missing = within(&flows, "missing").await;
            let mut stores = vec![("orders", &flows.orders), ("stock", &flows.stock)];
            stores.insert(if away_first { 0 } else { 2 }, ("far", &away));
            let sweeper = Flows::sweeper(&flows.orders, &stores);
            let report = sweeper.sweep().await.unwrap();
            assert!(!report.failed.is_empty(), "{report:?}");
            assert!(
                report.failed.iter().all(|error| error.store() == "redis"),
                "{report:?}"
            );
            let kinds: Vec<_> = report
                .alarms
                .iter()
                .map(exactly_once::Error::kind)
                .collect();
            assert_eq!(kinds, [ErrorKind::Lost], "{report:?}");
            assert_eq!(report.unfinished.len(), 1, "{report:?}");
            assert_eq!(&report.unfinished[0].0, missing.transaction());
            flows.ensure(&work, Committed, Committed).await;
            assert!(flows.finished(&work).await);
            flows.wait(missing.forget_after()).await;
            let forgotten = sweeper.forget(100).await;
            assert_eq!(forgotten.failed.len(), 1, "{forgotten:?}");
            // Both outcomes and the decision of the one, and the outcome of the other.
            assert_eq!(forgotten.removed, 4, "{forgotten:?}");
        }
    }
}

/// Decided, and committed at the orders; the stock never had it.
async fn within(flows: &Flows, name: &str) -> Participation {
    let now = flows.orders.now().await.unwrap();
    let not_after = now.checked_add(Duration::from_millis(1_500)).unwrap();
    let forget_after = not_after.checked_add(Duration::from_secs(1)).unwrap();
    let request = Fingerprint::of("order", name).unwrap();
    let name = TransactionId::new(name).unwrap();
    let held = identity_of(&flows.orders).await.unwrap();
    let other = identity_of(&flows.stock).await.unwrap();
    let work = Participation::new(&name, request, not_after, forget_after).unwrap();
    let work = work.entitled(held, Participants::of([held, other]));
    let BegunPrepared::Fresh(tx) = flows.orders.begin_prepared(&work).await.unwrap() else {
        panic!("it is not fresh");
    };
    flows.orders.prepare(tx, &work).await.unwrap();
    let decided = flows.orders.decide(&work, Decision::Commit).await.unwrap();
    assert_eq!(decided, Decision::Commit, "in time");
    flows.wait(work.not_after()).await;
    work
}

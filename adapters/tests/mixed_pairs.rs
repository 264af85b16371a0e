//! Goal: two flows over a shared store, whatever backends they are on, undo and finish nothing of each
//! other. Method: each ordered pair of SQLite, Postgres and Redis; the register and the first
//! participant on one, the shared store on the other, and sweepers that know the wrong register, a part,
//! or more than took part.
#![cfg(all(feature = "rusqlite", feature = "tokio-postgres", feature = "redis"))]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use exactly_once::{
    AccountId, Adjust, Amount, AnyStore, BalanceStore, BalanceTransaction, BegunPrepared,
    ConnectByUrl, Decision, DecisionRegister, ErrorKind, Fingerprint, IdempotencyKey, Namespace,
    OpenAccount, Participants, Participation, PreparedStatus, PreparedTransactions, Settlement,
    Store, Timestamp, TransactionId,
    any::AnyTx,
    coordinator::{Outcome, SweepReport, Sweeper, TwoPhaseCommit},
    identity_of,
};
use exactly_once_servers::{Postgres, Redis};

/// Flow 1 is orders and stock, flow 2 shipping and stock; each has its register in its first store.
struct Flows {
    orders: AnyStore,
    stock: AnyStore,
    shipping: AnyStore,
}

fn account() -> AccountId {
    AccountId::new("units").unwrap()
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

impl Flows {
    /// Each fault in namespaces of its own: a sweep takes all that is late.
    async fn new(first: &AnyStore, second: &AnyStore, fault: &str) -> Self {
        let within = |store: &AnyStore, name: &str| {
            store.with_namespace(Namespace::new(format!("{fault}/{name}")).unwrap())
        };
        let flows = Self {
            orders: within(first, "orders"),
            stock: within(second, "stock"),
            shipping: within(first, "shipping"),
        };
        for store in flows.all() {
            let open = OpenAccount::new(key("open"), account());
            store.open_account(&open).await.unwrap();
        }
        flows
    }

    fn all(&self) -> [&AnyStore; 3] {
        [&self.orders, &self.stock, &self.shipping]
    }

    /// Of flow 1, as its coordinator completes it.
    async fn transaction(&self, millis: u64) -> (Participation, Participation) {
        let mut now = Timestamp::from_micros(0);
        for store in self.all() {
            now = now.max(store.now().await.unwrap());
        }
        let not_after = now.checked_add(Duration::from_millis(millis)).unwrap();
        let forget_after = not_after.checked_add(Duration::from_secs(1)).unwrap();
        let name = TransactionId::new("order 17").unwrap();
        let request = Fingerprint::of("order", &17).unwrap();
        let plain = Participation::new(&name, request, not_after, forget_after).unwrap();
        let held = identity_of(&self.orders).await.unwrap();
        let other = identity_of(&self.stock).await.unwrap();
        let entitled = plain
            .clone()
            .entitled(held, Participants::of([held, other]));
        (plain, entitled)
    }

    /// Prepared at both, and decided: then the coordinator dies.
    async fn decided(&self) -> Participation {
        let (_, work) = self.transaction(3_000).await;
        for store in [&self.orders, &self.stock] {
            prepare(store, &work).await;
        }
        let decided = self.orders.decide(&work, Decision::Commit).await.unwrap();
        assert_eq!(decided, Decision::Commit, "in time");
        self.wait(work.not_after()).await;
        work
    }

    async fn wait(&self, until: Timestamp) {
        for store in self.all() {
            while store.now().await.unwrap() <= until {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// A sweeper over one register, and these participants.
    fn sweeper(register: &AnyStore, participants: &[(&str, &AnyStore)]) -> Sweeper<AnyStore> {
        let mut sweeper = Sweeper::new(register.clone());
        for (name, store) in participants {
            sweeper = sweeper.participant(*name, (*store).clone()).unwrap();
        }
        sweeper
    }

    async fn right(&self) -> SweepReport {
        let both = [("orders", &self.orders), ("stock", &self.stock)];
        Self::sweeper(&self.orders, &both).sweep().await.unwrap()
    }

    async fn ensure(&self, work: &Participation, orders: PreparedStatus, stock: PreparedStatus) {
        for (store, expected) in [(&self.orders, orders), (&self.stock, stock)] {
            let status = store.prepared_status(work).await.unwrap();
            assert_eq!(status, expected, "{}", store.backend());
            let credited = i64::from(expected == PreparedStatus::Committed);
            let state = store.balance(&account()).await.unwrap().unwrap();
            assert_eq!(state.amount, Amount::new(credited), "{}", store.backend());
        }
    }

    async fn finished(&self, work: &Participation) -> bool {
        let entry = self.orders.decision(work).await.unwrap();
        entry.unwrap().finished
    }
}

async fn prepare(store: &AnyStore, work: &Participation) {
    let BegunPrepared::Fresh(mut tx) = store.begin_prepared(work).await.unwrap() else {
        panic!("it is not fresh");
    };
    credit(store, &mut tx).await.unwrap();
    store.prepare(tx, work).await.unwrap();
}

async fn credit(store: &AnyStore, tx: &mut AnyTx) -> exactly_once::Result<()> {
    let credit = Adjust::new(key("credit"), account(), Amount::new(1));
    store.adjust_in(tx, &credit).await.map(drop)
}

use PreparedStatus::{Committed, None as Nothing, Prepared, RolledBack};

// Fault 1: the other flow's sweeper, which shares the stock.
async fn the_other_flows_sweeper_leaves_it_alone(flows: &Flows) {
    let work = flows.decided().await;
    let other = [("shipping", &flows.shipping), ("stock", &flows.stock)];
    let other = Flows::sweeper(&flows.shipping, &other);
    for _ in 0..2 {
        let report = other.sweep().await.unwrap();
        assert_eq!((report.rolled_back, report.committed), (0, 0), "{report:?}");
        assert_eq!(report.foreign.len(), 1, "{report:?}");
        assert_eq!(report.foreign[0].participant, "stock");
        assert_eq!(&report.foreign[0].register, work.register());
        flows.ensure(&work, Prepared, Prepared).await;
    }
    let report = flows.right().await;
    assert!(
        report.alarms.is_empty() && report.failed.is_empty(),
        "{report:?}"
    );
    flows.ensure(&work, Committed, Committed).await;
    assert!(flows.finished(&work).await);
}

// Fault 3: rolled back under a commit.
async fn a_rollback_under_a_commit_is_heuristic_until_it_is_settled(flows: &Flows) {
    let work = flows.decided().await;
    flows.stock.rollback_prepared(&work).await.unwrap();
    for _ in 0..2 {
        let report = flows.right().await;
        let kinds: Vec<_> = report
            .alarms
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Heuristic], "{report:?}");
        assert!(!flows.finished(&work).await);
    }
    flows.ensure(&work, Committed, RolledBack).await;
    let register = &flows.orders;
    let settlement = Settlement::now(register, Decision::Commit, "alice", "repaired").await;
    register.settle(&work, &settlement.unwrap()).await.unwrap();
    let report = flows.right().await;
    assert!(
        report.alarms.is_empty() && report.unfinished.is_empty(),
        "{report:?}"
    );
}

// Fault 4: a sweeper that knows a part.
async fn a_part_is_committed_and_not_finished(flows: &Flows) {
    let work = flows.decided().await;
    let part = Flows::sweeper(&flows.orders, &[("orders", &flows.orders)]);
    let report = part.sweep().await.unwrap();
    assert_eq!(
        (report.committed, report.unfinished.len()),
        (1, 1),
        "{report:?}"
    );
    flows.ensure(&work, Committed, Prepared).await;
    assert!(!flows.finished(&work).await);
    // Nor is the decision forgotten, so that the rest would be rolled back.
    flows.wait(work.forget_after()).await;
    let forgotten = part.forget(100).await;
    assert!(forgotten.failed.is_empty(), "{forgotten:?}");
    assert!(!flows.finished(&work).await, "the decision is kept");
    flows.right().await;
    let state = flows.stock.balance(&account()).await.unwrap().unwrap();
    assert_eq!(state.amount, Amount::new(1), "the rest is committed");
}

// Fault 5: a sweeper that knows a store which took no part.
async fn a_store_that_took_no_part_holds_up_nothing(flows: &Flows) {
    let work = flows.decided().await;
    let all = [
        ("shipping", &flows.shipping),
        ("orders", &flows.orders),
        ("stock", &flows.stock),
    ];
    let report = Flows::sweeper(&flows.orders, &all).sweep().await.unwrap();
    assert_eq!(
        (report.committed, report.unfinished.len()),
        (2, 0),
        "{report:?}"
    );
    assert!(
        report.alarms.is_empty() && report.failed.is_empty(),
        "{report:?}"
    );
    assert!(flows.finished(&work).await);
    flows.ensure(&work, Committed, Committed).await;
    let third = flows.shipping.prepared_status(&work).await.unwrap();
    assert_eq!(third, Nothing);
}

// Fault 6: an attempt with other participants.
async fn other_participants_are_a_mismatch_before_any_work(flows: &Flows) {
    let (plain, work) = flows.transaction(60_000).await;
    for store in [&flows.orders, &flows.stock] {
        prepare(store, &work).await;
    }
    let shipping = flows.shipping.clone();
    let orders = flows.orders.clone();
    let other = TwoPhaseCommit::new(&flows.orders, plain.clone())
        .participant("shipping", &flows.shipping, async move |tx: &mut AnyTx| {
            Ok(credit(&shipping, tx).await?)
        })
        .participant("orders", &flows.orders, async move |tx: &mut AnyTx| {
            Ok(credit(&orders, tx).await?)
        });
    let refused = other.run().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch, "{refused}");
    let page = flows.shipping.in_doubt(None, 9).await.unwrap();
    assert_eq!(page.entries, [], "nothing is left of the attempt");
    let state = flows.shipping.balance(&account()).await.unwrap().unwrap();
    assert_eq!(state.amount, Amount::ZERO);
    flows.ensure(&work, Prepared, Prepared).await;
    // The right participants go on where they stand.
    let right = TwoPhaseCommit::new(&flows.orders, plain)
        .participant("stock", &flows.stock, async |_tx: &mut AnyTx| Ok(()))
        .participant("orders", &flows.orders, async |_tx: &mut AnyTx| Ok(()));
    let outcome = right.run().await.unwrap();
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
    flows.ensure(&work, Committed, Committed).await;
}

async fn every_fault(first: &AnyStore, second: &AnyStore) {
    let flows = async |fault: &str| {
        let pair = format!("{}-{}/{fault}", first.backend(), second.backend());
        Flows::new(first, second, &pair).await
    };
    // Most of the time each waits for its deadline.
    let (one, three, four) = (flows("1").await, flows("3").await, flows("4").await);
    let (five, six) = (flows("5").await, flows("6").await);
    tokio::join!(
        Box::pin(the_other_flows_sweeper_leaves_it_alone(&one)),
        Box::pin(a_rollback_under_a_commit_is_heuristic_until_it_is_settled(
            &three
        )),
        Box::pin(a_part_is_committed_and_not_finished(&four)),
        Box::pin(a_store_that_took_no_part_holds_up_nothing(&five)),
        Box::pin(other_participants_are_a_mismatch_before_any_work(&six)),
    );
}

async fn both_ways(one: AnyStore, two: AnyStore) {
    every_fault(&one, &two).await;
    every_fault(&two, &one).await;
}

async fn sqlite() -> (tempfile::TempDir, AnyStore) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/store.db", folder.path().display());
    let store = AnyStore::connect(&url).await.unwrap();
    (folder, store)
}

async fn postgres() -> (Postgres, AnyStore) {
    let server = Postgres::start(15).await.unwrap();
    let store = AnyStore::connect(&server.url()).await.unwrap();
    (server, store)
}

async fn redis() -> (Redis, AnyStore) {
    let server = Redis::start().await.unwrap();
    let store = AnyStore::connect(&server.url()).await.unwrap();
    (server, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_postgres() {
    let ((_folder, one), (_server, two)) = (sqlite().await, postgres().await);
    both_ways(one, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_and_postgres() {
    let ((_redis, one), (_server, two)) = (redis().await, postgres().await);
    both_ways(one, two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_and_redis() {
    let ((_folder, one), (_server, two)) = (sqlite().await, redis().await);
    both_ways(one, two).await;
}

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

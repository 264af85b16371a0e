//! Goal: the short ways of a transaction over several stores keep its promises. Method: the
//! coordinator on stores in memory, with a look at the register and at every store.

#![cfg(feature = "memory")]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use exactly_once::{
    BegunPrepared, Decision, DecisionRegister, ErrorKind, Fingerprint, LastResource,
    OneShotParticipant, Participants, Participation, PreparedOneShot, PreparedStatus,
    PreparedTransactions, Rejection, Statement, Store, TransactionId, identity_of,
    memory::{MemoryStore, VirtualClock},
    two_phase::{Sweeper, TwoPhaseCommit, TwoPhaseOutcome},
};

const HOUR: Duration = Duration::from_secs(3_600);

struct Bench {
    clock: VirtualClock,
    orders: MemoryStore,
    stock: MemoryStore,
    work: Participation,
}

impl Bench {
    async fn new() -> Self {
        let clock = VirtualClock::default();
        let orders = MemoryStore::with_clock(clock.clone());
        let now = orders.now().await.unwrap();
        let not_after = now.checked_add(HOUR).unwrap();
        let stock = MemoryStore::with_clock(clock.clone());
        let [register, other] = [
            identity_of(&orders).await.unwrap(),
            identity_of(&stock).await.unwrap(),
        ];
        Self {
            stock,
            work: Participation::new(
                &TransactionId::new("order").unwrap(),
                Fingerprint::of("order", "order").unwrap(),
                not_after,
                not_after.checked_add(HOUR).unwrap(),
            )
            .unwrap()
            .entitled(register, Participants::of([register, other])),
            orders,
            clock,
        }
    }

    /// The same with `stock` as the only one that writes.
    async fn alone(&self) -> Participation {
        let stock = identity_of(&self.stock).await.unwrap();
        let register = *self.work.register();
        self.work
            .clone()
            .entitled(register, Participants::of([stock]))
    }

    fn transaction(&self) -> TwoPhaseCommit<'static, MemoryStore> {
        TwoPhaseCommit::new(&self.orders, self.work.clone())
    }

    async fn decision(&self) -> Option<(Decision, bool)> {
        let entry = self.orders.decision(&self.work).await.unwrap();
        entry.map(|entry| (entry.decision, entry.finished))
    }

    async fn status(&self, store: &MemoryStore) -> PreparedStatus {
        store.prepared_status(&self.work).await.unwrap()
    }

    async fn sweep(&self) {
        let sweeper = Sweeper::new(self.orders.clone())
            .participant("orders", self.orders.clone())
            .and_then(|sweeper| sweeper.participant("stock", self.stock.clone()))
            .unwrap();
        let report = sweeper.sweep().await.unwrap();
        assert!(report.alarms.is_empty(), "{report:?}");
        assert!(report.failed.is_empty(), "{report:?}");
    }
}

macro_rules! sell {
    () => {
        async |tx| {
            tx.append("sold", "x");
            Ok(())
        }
    };
}

fn sold(store: &MemoryStore) -> usize {
    store.get("sold").map_or(0, |sold| sold.len())
}

#[tokio::test]
async fn the_only_one_that_writes_asks_no_register_and_replays() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        let placed = bench
            .transaction()
            .participant("stock", &bench.stock, sell!());
        assert!(matches!(
            placed.run().await.unwrap(),
            TwoPhaseOutcome::Committed
        ));
        assert_eq!(sold(&bench.stock), 1);
        assert_eq!(bench.decision().await, None);
    }
    // A sweep past the deadline finds nothing to do, and a late retry still hears the truth.
    bench.clock.advance(HOUR + Duration::from_secs(1));
    bench.sweep().await;
    let late = bench
        .transaction()
        .participant("stock", &bench.stock, sell!());
    assert!(matches!(
        late.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!(sold(&bench.stock), 1);
}

#[tokio::test]
async fn a_refusal_of_the_only_one_stands_against_every_later_attempt() {
    let bench = Bench::new().await;
    let refused = bench
        .transaction()
        .participant("stock", &bench.stock, async |tx| {
            tx.append("sold", "x");
            Err(Rejection::new(422, "out of stock").into())
        });
    let TwoPhaseOutcome::RolledBack {
        refused: Some((name, error)),
    } = refused.run().await.unwrap()
    else {
        panic!("it was not refused");
    };
    let rejected = ErrorKind::Rejected { status: 422 };
    assert_eq!((name.as_str(), error.kind()), ("stock", rejected));
    let status = bench.stock.prepared_status(&bench.alone().await).await;
    assert_eq!(status.unwrap(), PreparedStatus::RolledBack);
    let again = bench
        .transaction()
        .participant("stock", &bench.stock, sell!());
    let again = again.run().await.unwrap();
    assert!(matches!(
        again,
        TwoPhaseOutcome::RolledBack { refused: None }
    ));
    assert_eq!((sold(&bench.stock), bench.decision().await), (0, None));
}

#[tokio::test]
async fn a_refusal_beside_a_zombie_waits_for_it_and_tells_its_commit() {
    let bench = Bench::new().await;
    let work = bench.alone().await;
    let BegunPrepared::Fresh(mut zombie) = bench.stock.begin_prepared(&work).await.unwrap() else {
        panic!("it is not fresh");
    };
    zombie.append("sold", "x");
    let attempt = || {
        let transaction = bench.transaction();
        transaction
            .participant("stock", &bench.stock, sell!())
            .reader("orders", &bench.orders, async |_tx| {
                Err(Rejection::new(409, "closed").into())
            })
    };
    let busy = attempt().run().await.unwrap_err();
    assert!(busy.is_retryable(), "{busy}");
    bench.stock.commit_alone(zombie, &work).await.unwrap();
    assert!(matches!(
        attempt().run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!(sold(&bench.stock), 1);
}

#[tokio::test]
async fn one_that_reads_may_refuse_and_keeps_nothing() {
    let bench = Bench::new().await;
    let third = MemoryStore::with_clock(bench.clock.clone());
    let refused = bench
        .transaction()
        .participant("orders", &bench.orders, sell!())
        .participant("stock", &bench.stock, sell!())
        .reader("customers", &third, async |_tx| {
            Err(Rejection::new(409, "blocked").into())
        });
    let outcome = refused.run().await.unwrap();
    assert!(matches!(
        outcome,
        TwoPhaseOutcome::RolledBack { refused: Some(_) }
    ));
    assert_eq!(bench.decision().await, Some((Decision::Rollback, true)));

    let bench = Bench::new().await;
    let placed = bench
        .transaction()
        .participant("orders", &bench.orders, sell!())
        .participant("stock", &bench.stock, sell!())
        // What it writes is undone, whatever it says.
        .reader("customers", &third, sell!());
    assert!(matches!(
        placed.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!(
        (sold(&bench.orders), sold(&bench.stock), sold(&third)),
        (1, 1, 0)
    );
    assert_eq!(bench.status(&third).await, PreparedStatus::None);
    assert_eq!(third.open_transactions(), 0);
}

#[tokio::test]
async fn one_that_holds_the_register_commits_with_the_decision() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        let placed = bench
            .transaction()
            .last_participant("orders", &bench.orders, sell!())
            .participant("stock", &bench.stock, sell!());
        assert!(matches!(
            placed.run().await.unwrap(),
            TwoPhaseOutcome::Committed
        ));
        assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
        assert_eq!(bench.decision().await, Some((Decision::Commit, true)));
    }
}

#[tokio::test]
async fn a_crash_right_after_the_last_commit_is_finished_by_the_next_attempt_or_a_sweep() {
    for by_sweep in [false, true] {
        let bench = Bench::new().await;
        let begun = bench.stock.begin_prepared(&bench.work).await.unwrap();
        let BegunPrepared::Fresh(mut tx) = begun else {
            panic!("it is not fresh");
        };
        tx.append("sold", "x");
        bench.stock.prepare(tx, &bench.work).await.unwrap();
        let begun = bench.orders.begin_prepared(&bench.work).await.unwrap();
        let BegunPrepared::Fresh(mut tx) = begun else {
            panic!("it is not fresh");
        };
        tx.append("sold", "x");
        let decided = bench.orders.commit_deciding(tx, &bench.work).await.unwrap();
        assert_eq!(decided, Decision::Commit);
        // The coordinator dies here.
        assert_eq!(bench.status(&bench.stock).await, PreparedStatus::Prepared);
        if by_sweep {
            bench.clock.advance(HOUR + Duration::from_secs(1));
            bench.sweep().await;
        }
        let next = bench
            .transaction()
            .last_participant("orders", &bench.orders, sell!())
            .participant("stock", &bench.stock, sell!());
        assert!(matches!(
            next.run().await.unwrap(),
            TwoPhaseOutcome::Committed
        ));
        assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
        assert_eq!(bench.decision().await, Some((Decision::Commit, true)));
    }
}

#[tokio::test]
async fn the_last_one_obeys_a_decision_that_stands() {
    let bench = Bench::new().await;
    let stands = bench.orders.decide(&bench.work, Decision::Rollback).await;
    assert_eq!(stands.unwrap(), Decision::Rollback);
    let late = bench
        .transaction()
        .last_participant("orders", &bench.orders, sell!())
        .participant("stock", &bench.stock, sell!());
    let late = late.run().await.unwrap();
    assert!(matches!(
        late,
        TwoPhaseOutcome::RolledBack { refused: None }
    ));
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (0, 0));
    for store in [&bench.orders, &bench.stock] {
        assert_eq!(bench.status(store).await, PreparedStatus::RolledBack);
    }
}

fn selling() -> Vec<Statement> {
    vec![
        Statement::new("append")
            .bind("sold")
            .bind("x")
            .expecting_rows(1),
    ]
}

#[tokio::test]
async fn work_that_is_known_up_front_takes_the_same_ways() {
    for last in [false, true] {
        let bench = Bench::new().await;
        for _ in 0..3 {
            let placed =
                (bench.transaction()).one_shot_participant("stock", &bench.stock, selling());
            let placed = if last {
                placed.last_one_shot_participant("orders", &bench.orders, selling())
            } else {
                placed.one_shot_participant("orders", &bench.orders, selling())
            };
            assert!(matches!(
                placed.run().await.unwrap(),
                TwoPhaseOutcome::Committed
            ));
            assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
            assert_eq!(bench.decision().await, Some((Decision::Commit, true)));
        }
    }
    let bench = Bench::new().await;
    for _ in 0..3 {
        let placed = (bench.transaction()).one_shot_participant("stock", &bench.stock, selling());
        assert!(matches!(
            placed.run().await.unwrap(),
            TwoPhaseOutcome::Committed
        ));
        assert_eq!((sold(&bench.stock), bench.decision().await), (1, None));
    }
}

#[tokio::test]
async fn a_refusal_of_the_last_one_rolls_back_what_is_prepared() {
    let bench = Bench::new().await;
    let refusing = vec![Statement::new("delete").bind("nothing").expecting_rows(1)];
    let refused = (bench.transaction())
        .one_shot_participant("stock", &bench.stock, selling())
        .last_one_shot_participant("orders", &bench.orders, refusing);
    let TwoPhaseOutcome::RolledBack {
        refused: Some((name, error)),
    } = refused.run().await.unwrap()
    else {
        panic!("it was not refused");
    };
    assert_eq!(
        (name.as_str(), error.kind()),
        ("orders", ErrorKind::Refused)
    );
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (0, 0));
    assert_eq!(bench.status(&bench.stock).await, PreparedStatus::RolledBack);
    assert_eq!(bench.decision().await, Some((Decision::Rollback, true)));
}

#[tokio::test]
async fn a_crash_after_everything_was_prepared_is_finished_by_the_next_attempt() {
    // Both at one moment of the clock, which must not look like one store.
    let bench = Bench::new().await;
    for store in [&bench.orders, &bench.stock] {
        let prepared = store.prepare_one_shot(&bench.work, &selling()).await;
        assert_eq!(prepared.unwrap(), PreparedOneShot::Done);
    }
    let next = (bench.transaction())
        .one_shot_participant("orders", &bench.orders, selling())
        .one_shot_participant("stock", &bench.stock, selling());
    assert!(matches!(
        next.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
}

#[tokio::test]
async fn the_last_one_that_was_prepared_by_an_older_attempt_is_told_the_decision() {
    let bench = Bench::new().await;
    let prepared = bench.orders.prepare_one_shot(&bench.work, &selling()).await;
    assert_eq!(prepared.unwrap(), PreparedOneShot::Done);
    let next = (bench.transaction())
        .last_one_shot_participant("orders", &bench.orders, selling())
        .one_shot_participant("stock", &bench.stock, selling());
    assert!(matches!(
        next.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
    assert_eq!(bench.decision().await, Some((Decision::Commit, true)));
}

#[tokio::test]
async fn what_can_be_no_transaction_is_invalid() {
    let bench = Bench::new().await;
    let elsewhere = bench.orders.with_namespace("elsewhere".parse().unwrap());
    let invalid = [
        bench.transaction().reader("one", &bench.orders, sell!()),
        bench
            .transaction()
            .last_participant("one", &bench.stock, sell!())
            .participant("two", &bench.orders, sell!()),
        bench
            .transaction()
            .last_participant("one", &elsewhere, sell!())
            .participant("two", &bench.stock, sell!()),
        bench
            .transaction()
            .participant("one", &bench.stock, sell!())
            .participant("two", &bench.stock, sell!()),
        bench
            .transaction()
            .one_shot_participant("one", &bench.stock, selling())
            .one_shot_participant("two", &bench.stock, selling()),
        bench
            .transaction()
            .last_one_shot_participant("one", &bench.stock, selling()),
    ];
    for transaction in invalid {
        let error = transaction.run().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (0, 0));
}

/// Goal: what is written for a typed store runs on an erased one. Method: an erased store as the last
/// participant, in both forms; one that was erased without it is refused before any work.
#[tokio::test]
async fn an_erased_store_is_the_last_participant_too() {
    use exactly_once::{AnyStore, memory::MemoryTx};
    let bench = Bench::new().await;
    let orders = AnyStore::with_last_participant(bench.orders.clone());
    let sell_here = async |tx: &mut exactly_once::AnyTx| {
        let tx = tx.downcast_mut::<MemoryTx>().unwrap();
        tx.append("sold", "x");
        Ok(())
    };
    let placed = TwoPhaseCommit::new(&orders, bench.work.clone())
        .participant("stock", &bench.stock, sell!())
        .last_participant("orders", &orders, sell_here);
    assert!(matches!(
        placed.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!((sold(&bench.orders), sold(&bench.stock)), (1, 1));
    assert_eq!(bench.decision().await, Some((Decision::Commit, true)));

    let bench = Bench::new().await;
    let orders = AnyStore::with_last_participant(bench.orders.clone());
    let placed = TwoPhaseCommit::new(&orders, bench.work.clone())
        .participant("stock", &bench.stock, sell!())
        .last_one_shot_participant("orders", &orders, selling());
    assert!(matches!(
        placed.run().await.unwrap(),
        TwoPhaseOutcome::Committed
    ));
    assert_eq!(bench.decision().await, Some((Decision::Commit, true)));

    let bench = Bench::new().await;
    let orders = AnyStore::new(bench.orders.clone());
    let placed = TwoPhaseCommit::new(&orders, bench.work.clone())
        .participant("stock", &bench.stock, sell!())
        .last_participant("orders", &orders, sell_here);
    let refused = placed.run().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert_eq!(bench.status(&bench.stock).await, PreparedStatus::None);
}

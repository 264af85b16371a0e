//! What one flow, or a sweeper that is configured wrongly, could do to the other.

use exactly_once::{
    Amount, AnyStore, AnyTx, BalanceStore, ConnectByUrl, Decision, DecisionRegister, ErrorKind,
    PreparedStatus, PreparedTransactions, Settlement, Store,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};

use crate::flows::{Flows, account, credit, prepare};

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

// Fault 3, the other way round: committed under a rollback. The records that prove it go in their time.
async fn a_commit_under_a_rollback_is_heuristic_until_it_is_settled(flows: &Flows) {
    let (_, work) = flows.transaction(3_000).await;
    for store in [&flows.orders, &flows.stock] {
        prepare(store, &work).await;
    }
    flows.stock.commit_prepared(&work).await.unwrap();
    let decided = flows
        .orders
        .decide(&work, Decision::Rollback)
        .await
        .unwrap();
    assert_eq!(decided, Decision::Rollback);
    flows.wait(work.not_after()).await;
    for forgotten in [false, true, true] {
        if forgotten {
            flows.wait(work.forget_after()).await;
            let both = [("orders", &flows.orders), ("stock", &flows.stock)];
            let removed = Flows::sweeper(&flows.orders, &both).forget(100).await;
            assert!(removed.failed.is_empty(), "{removed:?}");
        }
        let report = flows.right().await;
        let kinds: Vec<_> = report
            .alarms
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Heuristic], "{report:?}");
        let said = report.alarms[0].to_string();
        assert!(said.contains("\"stock\""), "{said}");
        assert!(!flows.finished(&work).await);
    }
    let register = &flows.orders;
    let settlement = Settlement::now(register, Decision::Rollback, "alice", "repaired").await;
    register.settle(&work, &settlement.unwrap()).await.unwrap();
    let report = flows.right().await;
    assert!(
        report.alarms.is_empty() && report.unfinished.is_empty(),
        "{report:?}"
    );
}

// Fault 8: what is still in doubt ends as it was settled, however late, and by whatever comes first.
async fn a_settlement_outlives_the_records(flows: &Flows, settled: Decision) {
    let (plain, work) = flows.transaction(3_000).await;
    for store in [&flows.orders, &flows.stock] {
        prepare(store, &work).await;
    }
    let decided = flows.orders.decide(&work, Decision::Commit).await.unwrap();
    assert_eq!(decided, Decision::Commit, "in time");
    flows.wait(work.not_after()).await;
    // The stock is away.
    let register = &flows.orders;
    let settlement = Settlement::now(register, settled, "alice", "no stock").await;
    register.settle(&work, &settlement.unwrap()).await.unwrap();
    // A contradicting one changes nothing.
    let other = match settled {
        Decision::Commit => Decision::Rollback,
        Decision::Rollback => Decision::Commit,
    };
    let other = Settlement::now(register, other, "bob", "no").await.unwrap();
    let stands = register.settle(&work, &other).await.unwrap();
    assert_eq!(stands.outcome, settled);
    let part = Flows::sweeper(register, &[("orders", register)]);
    part.sweep().await.unwrap();
    flows.wait(work.forget_after()).await;
    assert!(part.forget(100).await.failed.is_empty());
    if settled == Decision::Rollback {
        // A late attempt comes before the sweeper.
        let late = TwoPhaseCommit::new(register, plain)
            .participant("stock", &flows.stock, async |_tx: &mut AnyTx| Ok(()))
            .participant("orders", &flows.orders, async |_tx: &mut AnyTx| Ok(()));
        let outcome = late.run().await;
        assert!(
            !matches!(outcome, Ok(TwoPhaseOutcome::Committed)),
            "{outcome:?}"
        );
    }
    let report = flows.right().await;
    assert!(report.alarms.is_empty(), "{report:?}");
    let state = flows.stock.balance(&account()).await.unwrap().unwrap();
    let amount = i64::from(settled == Decision::Commit);
    assert_eq!(state.amount, Amount::new(amount), "{settled:?}");
    let page = flows.stock.in_doubt(None, 9).await.unwrap();
    assert_eq!(page.entries, []);
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
    for _ in 0..2 {
        let report = flows.right().await;
        let state = flows.stock.balance(&account()).await.unwrap().unwrap();
        assert_eq!(state.amount, Amount::new(1), "the rest is committed");
        // The orders' record went in its time, before it could confirm: nothing proves its commit.
        let kinds: Vec<_> = report
            .alarms
            .iter()
            .map(exactly_once::Error::kind)
            .collect();
        assert_eq!(kinds, [ErrorKind::Lost], "{report:?}");
        let said = report.alarms[0].to_string();
        assert!(
            said.contains("\"orders\"") && said.contains("forget_after"),
            "{said}"
        );
        assert!(!flows.finished(&work).await);
    }
    let register = &flows.orders;
    let settlement = Settlement::now(register, Decision::Commit, "alice", "compared").await;
    register.settle(&work, &settlement.unwrap()).await.unwrap();
    let report = flows.right().await;
    assert!(report.alarms.is_empty(), "{report:?}");
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

// Fault 5, of a transaction of which nothing was decided: no tombstone where nothing can be prepared.
async fn nor_does_it_hold_up_a_rollback(flows: &Flows, away: &AnyStore) {
    let (_, work) = flows.transaction(1_500).await;
    for store in [&flows.orders, &flows.stock] {
        prepare(store, &work).await;
    }
    flows.wait(work.not_after()).await;
    let all = [
        ("away", away),
        ("shipping", &flows.shipping),
        ("orders", &flows.orders),
        ("stock", &flows.stock),
    ];
    let report = Flows::sweeper(&flows.orders, &all).sweep().await.unwrap();
    assert_eq!(report.rolled_back, 2, "{report:?}");
    flows.ensure(&work, RolledBack, RolledBack).await;
    assert!(flows.finished(&work).await, "{report:?}");
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
    assert!(matches!(outcome, TwoPhaseOutcome::Committed), "{outcome:?}");
    flows.ensure(&work, Committed, Committed).await;
}

/// All of them, for this register and this shared store.
pub(crate) async fn every_fault(first: &AnyStore, second: &AnyStore) {
    let flows = async |fault: &str| {
        let pair = format!("{}-{}/{fault}", first.backend(), second.backend());
        Flows::new(first, second, &pair).await
    };
    // Most of the time each waits for its deadline.
    let (one, three, four) = (flows("1").await, flows("3").await, flows("4").await);
    let under = flows("3/rollback").await;
    let (five, six) = (flows("5").await, flows("6").await);
    let undecided = flows("5/undecided").await;
    let folder = tempfile::tempdir().unwrap();
    let away = format!("sqlite:{}/away.db", folder.path().display());
    let away = AnyStore::connect(&away).await.unwrap();
    away.close().await.unwrap();
    let (kept, undone) = (flows("8/commit").await, flows("8/rollback").await);
    tokio::join!(
        Box::pin(the_other_flows_sweeper_leaves_it_alone(&one)),
        Box::pin(a_rollback_under_a_commit_is_heuristic_until_it_is_settled(
            &three
        )),
        Box::pin(a_commit_under_a_rollback_is_heuristic_until_it_is_settled(
            &under
        )),
        Box::pin(a_part_is_committed_and_not_finished(&four)),
        Box::pin(a_store_that_took_no_part_holds_up_nothing(&five)),
        Box::pin(nor_does_it_hold_up_a_rollback(&undecided, &away)),
        Box::pin(other_participants_are_a_mismatch_before_any_work(&six)),
        Box::pin(a_settlement_outlives_the_records(&kept, Decision::Commit)),
        Box::pin(a_settlement_outlives_the_records(
            &undone,
            Decision::Rollback
        )),
    );
}

//! Nothing is resolved without the register that the transaction names, by its identity.

use exactly_once::{
    Decision, DecisionRegister, Namespace, PreparedStatus, PreparedTransactions, Store,
};

use crate::bench::{Times, Two, expect, json, prepare, transaction};

// Fault 2: a participant that is not the register.
#[tokio::test(flavor = "multi_thread")]
async fn a_participant_alone_resolves_nothing() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    let decided = two.prepared("decided", times).await;
    two.orders.decide(&decided, Decision::Commit).await.unwrap();
    times.wait(&two.orders).await;
    let digest = decided.transaction().to_string();
    let register = decided.register().to_string();
    for command in ["resolve", "settle"] {
        let mut resolve = vec!["in-doubt", command, digest.as_str(), "--yes"];
        if command == "settle" {
            resolve.extend(["--as", "rolled-back", "--reason", "x", "--by", "alice"]);
        }
        let said = expect(&two.stock_url, &resolve, 2, &register);
        assert!(said.contains("--store"), "{said}");
    }
    let (code, swept) = json(&two.stock_url, &["in-doubt", "sweep", "--yes"]);
    assert_eq!(code, 0, "{swept}");
    assert_eq!(swept["rolled_back"], 0, "{swept}");
    assert_eq!(swept["rows"][0]["register"], register, "{swept}");
    let shown = expect(&two.stock_url, &["in-doubt", "show", &digest], 1, &register);
    assert!(
        shown.contains("give the store that holds the register"),
        "{shown}"
    );
    let status = two.stock.prepared_status(&decided).await.unwrap();
    assert_eq!(status, PreparedStatus::Prepared);

    // With the register's store, under whatever name, both end as it says.
    let resolve = [
        "in-doubt",
        "resolve",
        &digest[..12],
        "--store",
        &two.with_orders,
    ];
    expect(&two.stock_url, &resolve, 2, "commit");
    expect(
        &two.stock_url,
        &[&resolve[..], &["--yes"]].concat(),
        0,
        "register: orders",
    );
    for store in [&two.orders, &two.stock] {
        let status = store.prepared_status(&decided).await.unwrap();
        assert_eq!(status, PreparedStatus::Committed);
    }
    // Every participant has confirmed, so nothing is left to carry out.
    let list = ["in-doubt", "list", "--store", &two.with_orders];
    expect(&two.stock_url, &list, 0, "nothing");
}

// Fault 2, too: the right store, and another namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_register_of_another_namespace_is_another_register() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    let register = two.orders.with_namespace(Namespace::new("orders").unwrap());
    let decided = transaction("decided", times, &register, &[&two.stock]).await;
    prepare(&two.stock, &decided).await;
    register.decide(&decided, Decision::Commit).await.unwrap();
    times.wait(&two.orders).await;
    let digest = decided.transaction().to_string();
    let resolve = ["in-doubt", "resolve", digest.as_str(), "--yes", "--store"];
    let wrong = [&resolve[..], &[&two.with_orders]].concat();
    expect(&two.stock_url, &wrong, 2, "none of the stores given");
    let status = two.stock.prepared_status(&decided).await.unwrap();
    assert_eq!(status, PreparedStatus::Prepared);
    let named = format!("{}?namespace=orders", two.with_orders);
    let right = [&resolve[..], &[named.as_str()]].concat();
    expect(&two.stock_url, &right, 0, "decided: commit");
    let status = two.stock.prepared_status(&decided).await.unwrap();
    assert_eq!(status, PreparedStatus::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_ended_as_the_register_says_and_not_before_its_deadline() {
    let two = Two::new().await;
    let (store, url) = (&two.orders, &two.orders_url);
    let times = Times::late_in(store, 2_000).await;
    let mut made = Vec::new();
    for name in ["decided", "undecided"] {
        let participation = transaction(name, times, store, &[store]).await;
        prepare(store, &participation).await;
        made.push(participation);
    }
    store.decide(&made[0], Decision::Commit).await.unwrap();
    let digest = |index: usize| made[index].transaction().to_string();
    let resolve = |index| ["in-doubt".to_owned(), "resolve".to_owned(), digest(index)];
    let early = resolve(0);
    let early: Vec<_> = early.iter().map(String::as_str).chain(["--yes"]).collect();
    expect(url, &early, 2, "deadline");
    expect(url, &["in-doubt", "list"], 0, "decided commit");
    times.wait(store).await;
    expect(url, &["in-doubt", "list"], 1, "late: 3");
    for (index, says) in [(0, "commit"), (1, "rollback")] {
        let late = resolve(index);
        let late: Vec<_> = late.iter().map(String::as_str).collect();
        expect(url, &late, 2, "--yes");
        expect(
            url,
            &[&late[..], &["--yes"]].concat(),
            0,
            &format!("decided: {says}"),
        );
    }
    expect(url, &["in-doubt", "list"], 0, "nothing");
    expect(
        url,
        &["in-doubt", "show", &digest(0)[..9]],
        1,
        "no transaction in doubt",
    );
    // By its whole digest, what has ended is found.
    let ended = ["in-doubt", "show", &digest(0)];
    expect(url, &ended, 0, "what to do: nothing");
    use PreparedStatus::{Committed, RolledBack};
    assert_eq!(store.prepared_status(&made[0]).await.unwrap(), Committed);
    assert_eq!(store.prepared_status(&made[1]).await.unwrap(), RolledBack);
}

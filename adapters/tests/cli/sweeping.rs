//! Sweeping and forgetting over several stores.

use std::time::Duration;

use exactly_once::{Decision, DecisionRegister, PreparedStatus, PreparedTransactions, Store};

use crate::bench::{Times, Two, expect, json, prepare, transaction};

const AWAY: &str = "far=postgres://127.0.0.1:1/db";

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ends_everything_everywhere_and_forgets_it_in_its_time() {
    let two = Two::new().await;
    let mut times = Times::late_in(&two.orders, 2_000).await;
    times.forget = times.until.checked_add(Duration::from_secs(2)).unwrap();
    let decided = two.prepared("decided", times).await;
    let undecided = two.prepared("undecided", times).await;
    // The other participant has nothing, as if a restore had taken it away.
    let both = [&two.orders, &two.stock];
    let lost = transaction("lost", times, &two.orders, &both).await;
    prepare(&two.orders, &lost).await;
    // Of a second flow, whose register is in the stock.
    let second = transaction("second", times, &two.stock, &both).await;
    for store in both {
        prepare(store, &second).await;
    }
    for participation in [&decided, &lost] {
        two.orders
            .decide(participation, Decision::Commit)
            .await
            .unwrap();
    }
    two.stock.decide(&second, Decision::Commit).await.unwrap();

    let with_stock = ["--store", two.with_stock.as_str()];
    expect(&two.orders_url, &["in-doubt", "sweep"], 2, "--yes");
    let sweep = [&["in-doubt", "sweep", "--yes"], &with_stock[..]].concat();
    let (code, early) = json(&two.orders_url, &sweep);
    assert_eq!(
        (code, &early["left_alone_in_time"]),
        (0, &7.into()),
        "{early}"
    );
    assert_eq!(two.orders.in_doubt(None, 9).await.unwrap().entries.len(), 4);
    times.wait(&two.orders).await;
    let (code, swept) = json(&two.orders_url, &sweep);
    assert_eq!(code, 1, "{swept}");
    // Both of `decided`, of `second`, and the half of `lost`.
    assert_eq!(
        (&swept["committed"], &swept["rolled_back"]),
        (&5.into(), &2.into()),
        "{swept}"
    );
    let at = format!("{} at stock", lost.transaction());
    let rows = swept["rows"].as_array().unwrap();
    let has = |what: &str, part: &str| {
        rows.iter()
            .any(|row| row["what"] == what && row["where"].as_str().unwrap().contains(part))
    };
    assert!(
        has("UNFINISHED", &at) && has("ALARM: lost", "stock"),
        "{swept}"
    );
    use PreparedStatus::{Committed, RolledBack};
    for place in both {
        assert_eq!(place.in_doubt(None, 9).await.unwrap().entries, []);
        for (participation, status) in [
            (&decided, Committed),
            (&second, Committed),
            (&undecided, RolledBack),
        ] {
            assert_eq!(place.prepared_status(participation).await.unwrap(), status);
        }
    }

    expect(&two.orders_url, &["in-doubt", "forget"], 2, "--yes");
    let forget = [&["in-doubt", "forget", "--yes"], &with_stock[..]].concat();
    let (_, early) = json(&two.orders_url, &forget);
    assert_eq!(early["removed"], 0, "{early}");
    while two.orders.now().await.unwrap() <= times.forget {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Seven outcomes and three decisions; the commit that is not finished stays.
    expect(&two.orders_url, &forget, 0, "10 records");
    assert_eq!(
        two.orders.unfinished(None, 9).await.unwrap().entries.len(),
        1
    );
}

// Fault 7: one store away holds up nothing that does not concern it, in any place of the list.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_holds_up_nothing_else() {
    for away_first in [true, false] {
        let two = Two::new().await;
        let times = Times::late_in(&two.orders, 300).await;
        let healthy = two.prepared("healthy", times).await;
        let both = [&two.orders, &two.stock];
        let lost = transaction("lost", times, &two.orders, &both).await;
        prepare(&two.orders, &lost).await;
        for participation in [&healthy, &lost] {
            two.orders
                .decide(participation, Decision::Commit)
                .await
                .unwrap();
        }
        times.wait(&two.orders).await;
        let (orders, stock) = (two.with_orders.as_str(), two.with_stock.as_str());
        let stores = if away_first {
            [AWAY, orders, stock]
        } else {
            [orders, stock, AWAY]
        };
        let given: Vec<_> = stores
            .into_iter()
            .flat_map(|store| ["--store", store])
            .collect();
        let (code, swept) = json("", &[&["in-doubt", "sweep", "--yes"], &given[..]].concat());
        assert_eq!(code, 1, "{swept}");
        for place in both {
            let status = place.prepared_status(&healthy).await.unwrap();
            assert_eq!(status, PreparedStatus::Committed, "{swept}");
        }
        let said = swept.to_string();
        assert!(said.contains("ALARM: lost"), "the alarm is kept: {said}");
        assert!(said.contains("\\\"far\\\" can't be asked"), "{said}");
        let forget = [&["in-doubt", "forget", "--yes"], &given[..]].concat();
        let (code, forgotten) = json("", &forget);
        assert_eq!((code, &forgotten["removed"]), (1, &0.into()), "{forgotten}");
    }
}

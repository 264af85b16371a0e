//! What is in doubt: all stores, a page of it, and a verdict over everything.

use exactly_once::{AnyStore, ConnectByUrl, Decision, DecisionRegister, Store};
use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use exactly_once_servers::Postgres;

use crate::bench::{Times, Two, expect, json, prepare, text, transaction};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_late_behind_the_page_counts_too() {
    let two = Two::new().await;
    let far = Times::late_in(&two.orders, 600_000).await;
    let soon = Times::late_in(&two.orders, 300).await;
    // In the order of their digests, so that the late one is the last.
    let mut names: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    let mut digests = Vec::new();
    for name in &names {
        let made = transaction(name, far, &two.orders, &[&two.orders]).await;
        digests.push((*made.transaction(), name.clone()));
    }
    digests.sort_unstable();
    names = digests.into_iter().map(|(_, name)| name).collect();
    let mut made = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let times = if index == 5 { soon } else { far };
        let participation = transaction(name, times, &two.orders, &[&two.orders]).await;
        prepare(&two.orders, &participation).await;
        made.push(participation.transaction().to_string());
    }
    soon.wait(&two.orders).await;
    let (code, page) = json(&two.orders_url, &["in-doubt", "list", "--limit", "2"]);
    assert_eq!(code, 1, "{page}");
    assert_eq!(
        (&page["all"], &page["late"], &page["shown"]),
        (&6.into(), &1.into(), &2.into())
    );
    assert_eq!(page["next"], made[1], "{page}");
    assert_eq!(page["rows"][0]["late"], false, "{page}");
    expect(
        &two.orders_url,
        &["in-doubt", "list", "--limit", "2"],
        1,
        "4 more lines follow",
    );
    let rest = ["in-doubt", "list", "--after", made[1].as_str()];
    let (_, page) = json(&two.orders_url, &rest);
    let rows = page["rows"].as_array().unwrap();
    let shown: Vec<_> = rows
        .iter()
        .map(|row| row["transaction"].as_str().unwrap())
        .collect();
    assert_eq!(shown, made[2..], "{page}");
    assert_eq!(page["next"], serde_json::Value::Null, "{page}");
    expect(
        &two.orders_url,
        &["in-doubt", "list", "--limit", "0"],
        2,
        "limit",
    );
    expect(
        &two.orders_url,
        &["in-doubt", "list", "--after", "xy"],
        2,
        "64",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_store_is_listed_and_a_decision_that_is_not_carried_out() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    let decided = two.prepared("decided", times).await;
    two.orders.decide(&decided, Decision::Commit).await.unwrap();
    let list = ["in-doubt", "list", "--store", two.with_stock.as_str()];
    let (code, page) = json(&two.orders_url, &list);
    assert_eq!(code, 0, "in time: {page}");
    times.wait(&two.orders).await;
    let (code, page) = json(&two.orders_url, &list);
    assert_eq!(code, 1, "{page}");
    // In doubt at both, and decided at one of them, which holds the register.
    let rows = page["rows"].as_array().unwrap();
    let has = |store: &str, state: &str| {
        rows.iter()
            .any(|row| row["store"] == store && row["state"] == state && row["register"] == "store")
    };
    assert_eq!(rows.len(), 3, "{page}");
    assert!(
        has("store", "in doubt") && has("stock", "in doubt"),
        "{page}"
    );
    assert!(has("store", "decided commit, not carried out"), "{page}");
    // Without the register's store, its identity is shown.
    let (_, page) = json(&two.stock_url, &["in-doubt", "list"]);
    let register = decided.register().to_string();
    let shown = page["rows"][0]["register"].as_str().unwrap();
    assert_eq!(shown, format!("not given: {register}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_is_said_and_the_others_are_listed() {
    let two = Two::new().await;
    let list = [
        "in-doubt",
        "list",
        "--store",
        "far=postgres://127.0.0.1:1/db",
    ];
    let said = expect(&two.orders_url, &list, 1, "\"far\" can't be asked");
    assert!(said.contains("nothing"), "{said}");
    // A file of all stores, without a URL of its own.
    let file = two.folder.path().join("stores");
    let lines = format!("# all\n\n{}\n {} \n", two.with_stock, two.with_orders);
    std::fs::write(&file, lines).unwrap();
    let file = file.to_str().unwrap();
    let said = expect("", &["in-doubt", "list", "--stores", file], 0, "orders = ");
    assert!(said.contains("stock = "), "{said}");
    let twice = [
        "in-doubt",
        "list",
        "--stores",
        file,
        "--store",
        two.with_stock.as_str(),
    ];
    expect("", &twice, 2, "two stores have the name");
    expect(
        "",
        &["in-doubt", "list", "--stores", "/no/such"],
        2,
        "/no/such",
    );
}

// As a unit file leaves it that sets the variable to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_variable_is_as_one_that_is_not_set() {
    let two = Two::new().await;
    let mut list = std::process::Command::new(env!("CARGO_BIN_EXE_exactly-once"));
    list.args(["in-doubt", "list"])
        .env("EXACTLY_ONCE_STORES", "")
        .env("EXACTLY_ONCE_NAMESPACE", "")
        .env("EXACTLY_ONCE_URL", &two.orders_url);
    let output = list.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        text(&output).contains("(namespace default)"),
        "{}",
        text(&output)
    );
}

// It was opened, and fails when it is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_half_way_keeps_no_other_from_being_searched() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    let made = two.prepared("half way", times).await;
    times.wait(&two.orders).await;
    let server = Postgres::start(15).await.unwrap();
    let far = server.create_database("far").await.unwrap();
    AnyStore::connect(&far)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into())
        .await
        .unwrap();
    let through = far.replace(
        &format!(":{}", server.port()),
        &format!(":{}", proxy.addr().port()),
    );
    // The list of what is in doubt there.
    proxy.set(Rule::cut_before(Trigger::contains("pg_prepared_xacts")).times(1_000));
    let far = format!("far={through}");
    let digest = made.transaction().to_string();
    let show = [
        "in-doubt",
        "show",
        &digest,
        "--store",
        &two.with_stock,
        "--store",
        &far,
    ];
    let said = expect(&two.orders_url, &show, 1, "\"far\" can't be asked");
    assert!(said.contains("in doubt"), "{said}");
    let resolve = [
        "in-doubt",
        "resolve",
        &digest,
        "--yes",
        "--store",
        &two.with_stock,
        "--store",
        &far,
    ];
    expect(&two.orders_url, &resolve, 1, "rolled back: 2");
    let only = ["in-doubt", "show", &digest, "--store", &far];
    expect("", &only, 2, "the store \"far\"");
}

// As editors write it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_stores_may_have_a_mark_and_long_ends_of_lines() {
    let two = Two::new().await;
    let file = two.folder.path().join("stores.txt");
    let lines = format!(
        "\u{feff}# all = of them\r\n\r\norders = {}\r\n{}\r\n",
        two.orders_url, two.with_stock
    );
    std::fs::write(&file, lines).unwrap();
    let list = ["in-doubt", "list", "--stores", file.to_str().unwrap()];
    let said = expect("", &list, 0, "asked: orders = ");
    assert!(
        !said.contains("feff") && said.contains("stock = "),
        "{said}"
    );
    let after = "+a".repeat(32);
    let after = [&list[..], &["--after", &after]].concat();
    expect("", &after, 2, "64 hexadecimal digits");
}

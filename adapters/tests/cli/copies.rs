//! A restored copy gets an identity of its own.

use exactly_once::{AnyStore, ConnectByUrl, Namespace, PreparedTransactions, Store};
use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use exactly_once_servers::{Postgres, Redis};

use crate::bench::{Times, Two, expect, json, open, prepare, transaction, url_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_told_from_its_original_once_it_is_adopted() {
    let two = Two::new().await;
    let before = two.stock.identity().await.unwrap();
    let (stock, copied) = ("stock.db", "copy.db");
    let [stock, copied] = [stock, copied].map(|name| two.folder.path().join(name));
    let path = copied.to_str().unwrap();
    // As a backup of SQLite's own makes it.
    let backup = rusqlite::Connection::open(stock).unwrap();
    backup.execute("VACUUM INTO ?1", [path]).unwrap();
    let copy = url_of(&copied);
    let both = ["in-doubt", "list", "--store", &two.with_stock];
    expect(&copy, &both, 2, "exactly-once adopt");
    let said = expect(&copy, &["adopt"], 2, "--yes");
    assert!(said.contains("never to the original"), "{said}");
    assert_eq!(open(&copied).await.identity().await.unwrap(), before);
    let (code, adopted) = json(&copy, &["adopt", "--yes"]);
    assert_eq!(code, 0, "{adopted}");
    assert_eq!(adopted["old_identity"], before.to_string(), "{adopted}");
    let after = open(&copied).await.identity().await.unwrap();
    assert_eq!(adopted["new_identity"], after.to_string(), "{adopted}");
    assert_ne!(after, before);
    expect(&copy, &both, 0, "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_in_a_copy_is_resolved_before_it_is_adopted() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    two.prepared("t", times).await;
    expect(&two.stock_url, &["adopt", "--yes"], 2, "in-doubt sweep");
    times.wait(&two.orders).await;
    let sweep = ["in-doubt", "sweep", "--yes", "--store", &two.with_orders];
    expect(&two.stock_url, &sweep, 0, "rolled back: 2");
    expect(&two.stock_url, &["adopt", "--yes"], 0, "adopted");
}

// The commit is in, and its answer is lost: the operator can't know, and runs the command again.
#[tokio::test(flavor = "multi_thread")]
async fn an_adoption_that_was_cut_off_after_its_commit_is_repeated() {
    let server = Postgres::start(15).await.unwrap();
    let copy = server.create_database("copy").await.unwrap();
    let identity = async || {
        let store = AnyStore::connect(&copy).await.unwrap();
        let identity = store.identity().await.unwrap();
        store.close().await.unwrap();
        identity
    };
    let before = identity().await;
    let upstream = ([127, 0, 0, 1], server.port()).into();
    let proxy = Proxy::start(upstream).await.unwrap();
    proxy.set(Rule::cut_after(Trigger::contains("SET identity")));
    let cut = copy.replace(
        &format!(":{}", server.port()),
        &format!(":{}", proxy.addr().port()),
    );
    expect(&cut, &["adopt", "--yes"], 2, "ambiguous");
    let committed = identity().await;
    assert_ne!(committed, before, "the commit is in");
    let (code, adopted) = json(&copy, &["adopt", "--yes"]);
    assert_eq!(code, 0, "{adopted}");
    assert_eq!(adopted["old_identity"], committed.to_string(), "{adopted}");
    let after = identity().await;
    assert_eq!(adopted["new_identity"], after.to_string(), "{adopted}");
    assert_ne!(after, before);
}

// The service's URL stands in the environment, and the copy among the arguments.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_about_one_store_refuses_a_choice() {
    let two = Two::new().await;
    let before = two.orders.identity().await.unwrap();
    let commands: [&[&str]; 5] = [
        &["adopt", "--yes"],
        &["expire", "--yes"],
        &["key", "show", "k"],
        &["account", "show", "a"],
        &["migrate", "--yes"],
    ];
    for command in commands {
        let given = [command, &["--store", &two.with_stock]].concat();
        expect(&two.orders_url, &given, 2, "leave --store out");
    }
    assert_eq!(two.orders.identity().await.unwrap(), before);
    let alone = ["account", "show", "a", "--store", &two.with_stock];
    expect("", &alone, 1, "stock.db");
}

// The identity is that of every namespace.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_in_another_namespace_keeps_a_copy_from_being_adopted() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 60_000).await;
    let shop = two.stock.with_namespace(Namespace::new("shop").unwrap());
    let made = transaction("elsewhere", times, &two.orders, &[&shop]).await;
    prepare(&shop, &made).await;
    expect(
        &two.stock_url,
        &["adopt", "--yes"],
        2,
        "over all namespaces",
    );
    let leave = ["adopt", "--yes", "--leave-in-doubt"];
    expect(&two.stock_url, &leave, 0, "adopted");

    let (server, redis) = (
        Postgres::start(15).await.unwrap(),
        Redis::start().await.unwrap(),
    );
    let database = server.create_database("shop").await.unwrap();
    for url in [database, redis.url()] {
        let store = AnyStore::connect(&url).await.unwrap();
        let shop = store.with_namespace(Namespace::new("shop:{1}").unwrap());
        expect(&url, &["adopt", "--yes"], 0, "adopted");
        let exactly_once::BegunPrepared::Fresh(tx) = shop.begin_prepared(&made).await.unwrap()
        else {
            panic!("it is not fresh");
        };
        shop.prepare(tx, &made).await.unwrap();
        expect(&url, &["adopt", "--yes"], 2, "over all namespaces");
        shop.rollback_prepared(&made).await.unwrap();
        expect(&url, &["adopt", "--yes"], 0, "adopted");
    }
}

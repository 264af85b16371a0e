//! Calls whose process dies, ends or changes under them: the database committed, and the engine calls
//! again.

use std::{net::SocketAddr, time::Duration};

use exactly_once_conformance::faults::proxy::{Proxy, Rule, Trigger};
use exactly_once_servers::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::bench::{SHOP, Served, Shop};

const PATIENCE: Duration = Duration::from_secs(20);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// How long each message to and from Postgres is under way.
const DELAY: Duration = Duration::from_secs(1);

/// A shop whose Postgres is behind a proxy.
async fn behind_a_proxy() -> (Proxy, Served) {
    let shop = Shop::open().await;
    let upstream = SocketAddr::from(([127, 0, 0, 1], shop.postgres.port()));
    let proxy = Proxy::start(upstream).await.unwrap();
    let port = shop.postgres.port().to_string();
    let through = (shop.postgres.url()).replace(&port, &proxy.addr().port().to_string());
    let served = Served::over(shop, SHOP, &through).await;
    (proxy, served)
}

/// Waits for the payment's commit, whose reply is then under way for the whole delay.
async fn committed(served: &Served, order: &str) {
    let client = served.shop.client().await;
    let count = "SELECT count(*) FROM payment WHERE order_name = $1";
    let count = client.prepare(count).await.unwrap();
    until("the payment is committed", async || {
        let row = client.query_one(&count, &[&order]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
}

/// How many effects this process has answered from an earlier attempt's receipt.
async fn replays(served: &Served) -> usize {
    let (_, metrics) = served.get("/metrics").await;
    let replayed = metrics.lines().filter(|line| {
        line.starts_with("exactly_once_operations_total") && line.contains("outcome=\"replayed\"")
    });
    replayed
        .filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// The database commits, the answer is on its way, the process is killed; Restate calls the next one.
#[tokio::test(flavor = "multi_thread")]
async fn killed_right_after_the_commit_the_retry_gets_the_same_rows() {
    let (proxy, served) = behind_a_proxy().await;
    // Connections are open, and the statement is prepared.
    served
        .call("charge", json!({ "order": "warm", "cents": 1 }))
        .await;

    for (number, body) in [
        json!({ "order": "a", "cents": 500 }),
        json!({ "order": "b", "cents": 500, "key": "mine" }),
    ]
    .into_iter()
    .enumerate()
    {
        let order = body["order"].as_str().unwrap().to_owned();
        proxy.set_delay(DELAY);
        let call = served.call("charge", body.clone());
        let kill = async {
            committed(&served, &order).await;
            served.serve.kill().await;
            proxy.cut_all();
            proxy.set_delay(Duration::ZERO);
            served.serve.restart().await.unwrap();
        };
        let (answer, ()) = tokio::join!(call, kill);
        assert_eq!(served.shop.payments(&order).await, 1, "{body}");
        // The retry found the receipt; otherwise this has shown nothing.
        assert_eq!(replays(&served).await, 1, "{body}");
        let id = "SELECT id FROM payment WHERE order_name = $1";
        let row = served.shop.client().await.query_one(id, &[&order]).await;
        assert_eq!(answer["id"], row.unwrap().get::<_, i64>(0), "{answer}");
        if number == 1 {
            // And by another invocation with that key.
            assert_eq!(served.call("charge", body).await, answer);
        }
    }
}

/// Between the commit and the retry the file changes: what was a request is none any more. The effect is
/// applied all the same, so its rows are the answer and not a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_under_other_rules_is_answered_by_what_was_applied() {
    let (proxy, served) = behind_a_proxy().await;
    served
        .call("charge", json!({ "order": "warm", "cents": 1 }))
        .await;
    let needs_note = SHOP.replacen("note = \"text?\"", "note = \"text\"", 1);
    proxy.set_delay(DELAY);
    let call = served.call("charge", json!({ "order": "a", "cents": 500 }));
    let change = async {
        committed(&served, "a").await;
        served.serve.kill().await;
        served.shop.write(&needs_note);
        proxy.cut_all();
        proxy.set_delay(Duration::ZERO);
        served.serve.restart().await.unwrap();
    };
    let (answer, ()) = tokio::join!(call, change);
    assert_eq!(served.shop.payments("a").await, 1);
    assert_eq!(answer["id"], 2, "{answer}");
    // A request that comes now is held to the new rules.
    let (status, message) = served
        .refused("charge", r#"{"order": "b", "cents": 500}"#)
        .await;
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("`note` (text) is missing"), "{message}");
}

/// Killed, and started again with a file in which `order` needs one parameter more.
async fn killed_and_changed(proxy: &Proxy, served: &Served) {
    let book = "parameters = { order = \"text\", cents = \"int8\" }\n\
                sql = \"INSERT INTO payment (order_name, cents) VALUES (:order, :cents)\"";
    let needs_memo = SHOP.replacen(
        book,
        "parameters = { order = \"text\", cents = \"int8\", memo = \"text\" }\n\
         sql = \"INSERT INTO payment (order_name, cents, note) VALUES (:order, :cents, :memo)\"",
        1,
    );
    assert_ne!(needs_memo, SHOP);
    served.serve.kill().await;
    served.shop.write(&needs_memo);
    proxy.cut_all();
    proxy.set(Rule::Pass);
    proxy.set_delay(Duration::ZERO);
    served.serve.restart().await.unwrap();
}

/// How many transactions are prepared in the stock and undecided.
fn in_doubt(served: &Served) -> i64 {
    let count = "SELECT count(*) FROM exactly_once_outcome WHERE state = 'prepared'";
    let db = served.shop.sqlite();
    db.query_row(count, [], |row| row.get(0)).unwrap()
}

const ORDER: &str = r#"{"order": "a", "item": "apple", "cents": 300}"#;

/// A transaction was decided, and only one of its stores knows. Then the file changes, so that the request
/// is none any more: the decision stands, so the other store commits too, and the caller gets a yes.
#[tokio::test(flavor = "multi_thread")]
async fn a_decided_transaction_is_carried_out_under_other_rules() {
    let (proxy, served) = behind_a_proxy().await;
    proxy.set_delay(DELAY);
    let call = served.raw("ShopDb/order", ORDER);
    let change = async {
        committed(&served, "a").await;
        assert_eq!(in_doubt(&served), 1);
        killed_and_changed(&proxy, &served).await;
    };
    let (answer, ()) = tokio::join!(call, change);
    assert_eq!(answer, (200, serde_json::Value::Null));
    assert_eq!(served.shop.payments("a").await, 1);
    assert_eq!((served.shop.taken("a"), in_doubt(&served)), (1, 0));
    // A request that comes now is held to the new rules.
    let (status, message) = served.refused("order", ORDER).await;
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("`memo` (text) is missing"), "{message}");
}

/// The same before the decision: the retry refuses the request, and nothing stays prepared.
#[tokio::test(flavor = "multi_thread")]
async fn an_undecided_transaction_is_rolled_back_under_other_rules() {
    let (proxy, served) = behind_a_proxy().await;
    proxy.set(Rule::HoldFrom(Trigger::contains("INTO payment")));
    let call = served.refused("order", ORDER);
    let change = async {
        until("the stock is prepared", async || in_doubt(&served) == 1).await;
        killed_and_changed(&proxy, &served).await;
    };
    let ((status, message), ()) = tokio::join!(call, change);
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("`memo` (text) is missing"), "{message}");
    assert_eq!(served.shop.payments("a").await, 0);
    assert_eq!((served.shop.taken("a"), in_doubt(&served)), (0, 0));
    let piece = json!({ "item": "apple" });
    assert_eq!(served.call("piece", piece).await["pieces"], 2);
}

/// SIGTERM amid a call: it ends within the grace, and its caller is answered.
#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_lets_calls_end() {
    let served = Served::start(SHOP).await;
    let call = served.call("slow", json!({ "order": "a" }));
    let end = async {
        sleep(Duration::from_millis(500)).await;
        let started = Instant::now();
        served.serve.stop().await.unwrap();
        // It did wait for the call.
        assert!(started.elapsed() > Duration::from_millis(500));
        assert_eq!(served.shop.payments("a").await, 1);
        served.serve.restart().await.unwrap();
    };
    let ((), _) = tokio::join!(end, call);
    assert_eq!(served.shop.payments("a").await, 1);
    let ended = served.serve.log();
    assert!(ended.contains("asked to end"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_loses_no_call_and_a_bad_file_changes_nothing() {
    let served = Served::start(SHOP).await;
    let reloads = async |count: u64, refused: bool| {
        until("reloaded", async || {
            let (_, ready) = served.get("/readyz").await;
            let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
            let state = &ready["configuration"];
            state["reloads"] == count && state["last_reload_refused"].is_string() == refused
        })
        .await;
    };
    // A bad file: what is served stays, and the reason is said with file and line.
    served
        .shop
        .write(&SHOP.replace("INTO payment", "INTO paymnet"));
    served.serve.signal(Signal::HUP).await.unwrap();
    reloads(0, true).await;
    let (status, ready) = served.get("/readyz").await;
    assert_eq!(status, 200, "{ready}");
    assert!(
        ready.contains("effects.toml:") && ready.contains("paymnet"),
        "{ready}"
    );
    served
        .call("charge", json!({ "order": "still", "cents": 1 }))
        .await;

    // A good file, amid a call by the one before: that call ends as it began, the next one is new.
    let call = served.call("slow", json!({ "order": "a" }));
    let reload = async {
        sleep(Duration::from_millis(500)).await;
        let changed = SHOP.replace("SELECT :order, 1 FROM pg_sleep(1.5)", "SELECT :order, 2");
        served.shop.write(&changed);
        served.serve.signal(Signal::HUP).await.unwrap();
        reloads(1, false).await;
        served.call("slow", json!({ "order": "b" })).await;
    };
    tokio::join!(call, reload);
    for (order, cents) in [("a", 1), ("b", 2)] {
        let paid = served.call("payments", json!({ "order": order })).await;
        assert_eq!(paid[0]["cents"], cents, "{paid}");
        assert_eq!(paid.as_array().unwrap().len(), 1, "{paid}");
    }
}

/// The keys of an effect stay in the store where it was applied: the reload that moves it says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_moves_an_effect_is_warned_of() {
    let file = |store: &str| {
        format!(
            "{SHOP}\n[effects.mark]\nstore = \"{store}\"\nparameters = {{ order = \"text\" }}\n\
             sql = \"INSERT INTO taken (order_name, item) VALUES (:order, 'x')\"\n"
        )
    };
    let served = Served::start(&file("stock")).await;
    let client = served.shop.client().await;
    let table = "CREATE TABLE taken (order_name text NOT NULL, item text NOT NULL)";
    client.batch_execute(table).await.unwrap();
    let mark = json!({ "order": "a", "key": "mark/a" });
    served.call("mark", mark.clone()).await;

    served.shop.write(&file("ledger"));
    served.serve.signal(Signal::HUP).await.unwrap();
    until("warned", async || {
        let log = served.log();
        log.iter().any(|line| {
            line["handler"] == "mark" && line["was"] == "stock" && line["is"] == "ledger"
        })
    })
    .await;
    let moved = file("ledger").replace("namespace = \"shop\"", "namespace = \"shop2\"");
    served.shop.write(&moved);
    served.serve.signal(Signal::HUP).await.unwrap();
    until("warned of a namespace", async || {
        let log = served.log();
        log.iter().any(|line| {
            line["handler"] == "mark" && line["was"] == "ledger" && line["is"] == "ledger"
        })
    })
    .await;
    // As the guide has it: the other store knows nothing of the key.
    served.call("mark", mark).await;
    let row = client.query_one("SELECT count(*) FROM taken", &[]).await;
    assert_eq!(
        (served.shop.taken("a"), row.unwrap().get::<_, i64>(0)),
        (1, 1)
    );
}

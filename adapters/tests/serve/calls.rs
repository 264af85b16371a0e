//! What the handlers answer, and that it stays.

use serde_json::{Value, json};

use crate::bench::{SHOP, Served};

#[tokio::test(flavor = "multi_thread")]
async fn effects_answer_with_rows_and_refusals() {
    let served = Served::start(SHOP).await;
    let shop = &served.shop;

    // What the database made.
    let paid = served
        .call("charge", json!({ "order": "a", "cents": 500 }))
        .await;
    assert_eq!(paid["id"], 1);
    // In UTC, whatever the database's time zone.
    assert!(paid["paid_at"].as_str().unwrap().ends_with('Z'), "{paid}");
    assert_eq!(shop.payments("a").await, 1);
    // Each invocation is an effect of its own.
    let again = served
        .call("charge", json!({ "order": "a", "cents": 500 }))
        .await;
    assert_eq!(again["id"], 2);

    // Types that JSON and SQLite have none of.
    let rows = served.call("settle", json!({ "order": "a" })).await;
    let row =
        |id| json!({ "id": id, "settled": true, "fee": "12345678901234567890.10", "tags": null });
    let mut found = rows.as_array().unwrap().clone();
    found.sort_by_key(|row| row["id"].as_i64());
    assert_eq!(found, [row(1), row(2)]);
    let shelf = json!({ "item": "a\"b", "open": false, "about": { "n": [1, "two"] } });
    let row = served.call("stocked", shelf).await;
    assert_eq!(
        row,
        json!({ "id": 1, "open": false, "about": { "n": [1, "two"] } })
    );

    // A refusal says which, by kind and status, and nothing of the effect is there.
    let take = |order: &str, item: &str| json!({ "order": order, "item": item }).to_string();
    assert_eq!(
        served
            .call("take", json!({"order": "a", "item": "apple"}))
            .await,
        Value::Null
    );
    let (status, message) = served.refused("take", &take("b", "bread")).await;
    assert_eq!(status, 409, "{message}");
    assert!(message.starts_with("exactly-once/refused: "), "{message}");
    assert_eq!((shop.taken("a"), shop.taken("b")), (1, 0));
    let (status, message) = served
        .refused("charge", r#"{"order": "minus", "cents": -1}"#)
        .await;
    assert_eq!(status, 409, "{message}");
    assert!(message.starts_with("exactly-once/refused: "), "{message}");
    assert!(message.contains("payment_cents_check"), "{message}");
    assert_eq!(shop.payments("minus").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_callers_own_is_one_effect_over_invocations() {
    let served = Served::start(SHOP).await;
    let charge = json!({ "order": "a", "cents": 500, "key": "charge/a" });
    let first = served.call("charge", charge.clone()).await;
    // Another invocation, with the same key.
    assert_eq!(served.call("charge", charge).await, first);
    // What may be left out, and is null, makes no other request.
    let with_null = json!({ "order": "a", "cents": 500, "note": null, "key": "charge/a" });
    assert_eq!(served.call("charge", with_null).await, first);
    assert_eq!(served.shop.payments("a").await, 1);

    for other in [
        r#"{"order": "a", "cents": 501, "key": "charge/a"}"#,
        r#"{"order": "a", "cents": 500, "note": "n", "key": "charge/a"}"#,
    ] {
        let (status, message) = served.refused("charge", other).await;
        assert_eq!(status, 409, "{message}");
        assert!(message.starts_with("exactly-once/mismatch: "), "{message}");
    }
    // Another effect in the same store, too.
    let (_, message) = served
        .refused("settle", r#"{"order": "a", "key": "charge/a"}"#)
        .await;
    assert!(message.starts_with("exactly-once/mismatch: "), "{message}");
    assert_eq!(served.shop.payments("a").await, 1);

    // A refusal under a key stays, though its reason has gone.
    let take = r#"{"order": "b", "item": "bread", "key": "take/b"}"#;
    let (_, first) = served.refused("take", take).await;
    let more = "UPDATE stock SET pieces = 5";
    served.shop.sqlite().execute(more, []).unwrap();
    assert_eq!(served.refused("take", take).await.1, first);
    assert_eq!(served.shop.taken("b"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_read_and_transactions_are_all_or_none() {
    let served = Served::start(SHOP).await;
    let shop = &served.shop;
    let order = json!({ "order": "a", "item": "apple", "cents": 300 });
    assert_eq!(served.call("order", order).await, Value::Null);
    assert_eq!((shop.payments("a").await, shop.taken("a")), (1, 1));
    let paid = served.call("payments", json!({ "order": "a" })).await;
    assert_eq!(paid, json!([{ "id": 1, "cents": 300 }]));
    assert_eq!(
        served.call("payments", json!({ "order": "none" })).await,
        json!([])
    );
    let piece = served.call("piece", json!({ "item": "apple" })).await;
    assert_eq!(piece, json!({ "item": "apple", "pieces": 1 }));
    let (status, message) = served.refused("piece", r#"{"item": "none"}"#).await;
    assert_eq!(
        (status, message.as_str()),
        (404, "exactly-once/rejected: there is no such row")
    );

    // The stock refuses: no payment either. The ledger refuses: no piece either.
    for body in [
        r#"{"order": "b", "item": "bread", "cents": 300}"#,
        r#"{"order": "c", "item": "apple", "cents": -3}"#,
    ] {
        let (_, message) = served.refused("order", body).await;
        assert!(message.starts_with("exactly-once/refused: "), "{message}");
    }
    for order in ["b", "c"] {
        assert_eq!((shop.payments(order).await, shop.taken(order)), (0, 0));
    }
    assert_eq!(
        served.call("piece", json!({ "item": "apple" })).await["pieces"],
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_maintenance_are_served_beside() {
    let served = Served::start(SHOP).await;
    let call = async |path: &str, body: Value| {
        let (status, answer) = served.raw(path, &body.to_string()).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    call("Account/alice/open", json!({ "amount": 100 })).await;
    call("Account/bob/open", json!({})).await;
    let moved = json!({ "to": "bob", "amount": 30, "operation": "move-1" });
    let first = call("Account/alice/transfer", moved.clone()).await;
    assert_eq!(first["changes"].as_array().unwrap().len(), 2, "{first}");
    // The same operation, by another invocation.
    let again = call("Account/alice/transfer", moved).await;
    assert_eq!(again["changes"], first["changes"]);
    let (status, answer) = served.raw("Account/alice/balance", "").await;
    assert_eq!((status, &answer["amount"]), (200, &json!(70)), "{answer}");
    for (body, kind) in [
        (json!({ "to": "bob", "amount": 71 }), "insufficient_funds"),
        (json!({ "to": "bob", "amount": -1 }), "invalid"),
        (json!({ "to": "alice", "amount": 1 }), "invalid"),
        (json!({ "to": "carol", "amount": 1 }), "unknown_account"),
    ] {
        let (_, answer) = served
            .raw("Account/alice/transfer", &body.to_string())
            .await;
        let message = answer["message"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("exactly-once/{kind}: ")),
            "{body}: {message}"
        );
    }
    call("KeyExpiry/ShopDb/start", json!({ "every_ms": 60_000 })).await;
    call("InDoubtSweep/ShopDb/start", json!({ "every_ms": 60_000 })).await;
    let (_, status) = served.raw("KeyExpiry/ShopDb/status", "").await;
    assert_eq!(status["schedule"]["every_ms"], 60_000, "{status}");
}

/// Restate shows names, words and types, so that its UI and generated clients have them.
#[tokio::test(flavor = "multi_thread")]
async fn discovery_has_the_handlers_with_types_and_words() {
    let served = Served::start(SHOP).await;
    let url = format!("{}/services/ShopDb", served.restate.admin_url());
    let service: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    let handlers = service["handlers"].as_array().unwrap();
    let names: Vec<_> = handlers
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    for name in ["charge", "take", "order", "payments"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let charge = handlers.iter().find(|one| one["name"] == "charge").unwrap();
    let words = charge["documentation"].as_str().unwrap();
    assert!(words.starts_with("Takes a payment."), "{words}");
    assert!(words.contains("INSERT INTO payment"), "{words}");
    let schema = &charge["input_json_schema"];
    assert_eq!(schema["properties"]["cents"]["type"], "integer", "{charge}");
    assert_eq!(schema["required"], json!(["cents", "order"]), "{charge}");
    let answer = &charge["output_json_schema"];
    assert_eq!(answer["properties"]["paid_at"]["format"], "date-time");

    let url = format!("{url}/openapi");
    let openapi: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    assert!(
        paths.keys().any(|path| path.contains("charge")),
        "{paths:?}"
    );

    let (status, _) = served.raw("ShopDb/no_such_effect", "{}").await;
    assert_eq!(status, 404);
}

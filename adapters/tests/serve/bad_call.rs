//! Requests that are wrong: a clear 4xx each, and nothing is done.

use crate::bench::{SHOP, Served};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_is_refused_and_nothing_is_done() {
    let served = Served::start(SHOP).await;
    for (body, says) in [
        // What untyped JSON would store as something else.
        (r#"{"order": "x", "cents": "1e3"}"#, "`cents`"),
        (r#"{"order": "x", "cents": 1e3}"#, "`cents`"),
        (r#"{"order": "x", "cents": 7.5}"#, "`cents`"),
        (
            r#"{"order": "x", "cents": 99999999999999999999}"#,
            "`cents`",
        ),
        (r#"{"order": "x", "cents": true}"#, "`cents`"),
        (r#"{"order": "x", "cents": [1]}"#, "`cents`"),
        (r#"{"order": 7, "cents": 5}"#, "`order`"),
        (r#"{"order": {"sql": "1"}, "cents": 5}"#, "`order`"),
        // Missing, null, too many, twice.
        (r#"{"order": "x"}"#, "`cents` (int8) is missing"),
        (r#"{"order": null, "cents": 5}"#, "`order` (text) is null"),
        (
            r#"{"order": "x", "cents": 5, "more": 1}"#,
            "unknown parameter `more`",
        ),
        (
            r#"{"order": "x", "cents": 5, "cents": 6}"#,
            "twice: `cents`",
        ),
        // No object at all.
        ("[1, 2]", "no JSON object"),
        ("{", "no JSON object"),
        ("\"text\"", "no JSON object"),
        // A key that is none.
        (r#"{"order": "x", "cents": 5, "key": 7}"#, "`key`"),
        (r#"{"order": "x", "cents": 5, "key": ""}"#, "`key`"),
        (r#"{"order": "x", "cents": 5, "key": "a\u0000b"}"#, "`key`"),
    ] {
        let (status, message) = served.refused("charge", body).await;
        assert_eq!(status, 400, "{body}: {message}");
        assert!(
            message.starts_with("exactly-once/invalid: "),
            "{body}: {message}"
        );
        assert!(message.contains(says), "{body}: {message}");
        for value in ["1e3", "7.5", "9999999", "sql"] {
            assert!(!message.contains(value), "a value is shown: {message}");
        }
    }
    let large = format!(r#"{{"order": "{}", "cents": 5}}"#, "x".repeat(5_000));
    let (status, message) = served.refused("charge", &large).await;
    assert_eq!(status, 413, "{message}");
    assert!(message.contains("the limit is 4096"), "{message}");
    for (handler, body) in [
        ("payments", r#"{"order": "x", "key": "mine"}"#),
        (
            "order",
            r#"{"order": "x", "item": "apple", "cents": 5, "key": "mine"}"#,
        ),
    ] {
        let (status, message) = served.refused(handler, body).await;
        assert_eq!(status, 400, "{message}");
        assert!(message.contains("takes no `key`"), "{message}");
    }
    let count = "SELECT count(*) FROM payment";
    let row = served.shop.client().await.query_one(count, &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 0);
    assert_eq!(served.shop.taken("x"), 0);
    // None of them is left to be retried.
    let open = "SELECT id FROM sys_invocation WHERE status <> 'completed'";
    assert!(served.restate.query(open).await.unwrap().is_empty());
}

//! What a service may choose of a request: whether it needs a key, which one, and what makes two
//! requests the same; and what it keeps of a response.

use exactly_once::{Fingerprint, IdempotencyKey, http::KeyedTx, memory::MemoryStore};
use http::{HeaderName, StatusCode};

use crate::bench::{Asked, Bench, answer, body, pay, post, send};

static KEY: Option<&str> = Some("\"k\"");

/// Goal: where the key is optional, a request without one passes untouched; a malformed one does not.
#[tokio::test]
async fn a_key_may_be_optional() {
    let bench = Bench::new();
    let layer = bench.transactional().key_optional().max_request_bytes(4);
    let service = bench.service(layer, async |request: Asked| {
        let keyed = request.extensions().get::<KeyedTx<MemoryStore>>();
        answer(StatusCode::OK, if keyed.is_some() { "keyed" } else { "" })
    });
    for _ in 0..2 {
        let keyless = send(&service, post("/pay", None, "a long body")).await;
        assert_eq!(body(keyless).await, "");
    }
    let keyed = send(&service, post("/pay", KEY, "5")).await;
    assert_eq!(body(keyed).await, "keyed");
    let malformed = send(&service, post("/pay", Some("k"), "5")).await;
    assert_eq!(malformed.status(), StatusCode::BAD_REQUEST);
    assert_eq!(bench.handled(), 3);
}

/// Goal: the key may be in the body, as the id of a webhook's event.
#[tokio::test]
async fn a_service_may_find_the_key_itself() {
    let bench = Bench::new();
    let layer = bench
        .transactional()
        .key(|request| {
            let event: Option<serde_json::Value> = serde_json::from_slice(request.body()).ok();
            let id = event.as_ref().and_then(|event| event["id"].as_str());
            id.map(IdempotencyKey::new).transpose()
        })
        .fingerprint(|request| Fingerprint::of_bytes(request.uri().path(), b""));
    let service = bench.paying(layer);
    let first = send(&service, post("/hook", None, r#"{"id":"e1","try":1}"#)).await;
    assert_eq!(first.status(), StatusCode::CREATED);
    let again = send(&service, post("/hook", None, r#"{"id":"e1","try":2}"#)).await;
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    let other = send(&service, post("/else", None, r#"{"id":"e1","try":1}"#)).await;
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    for nameless in ["{}", r#"{"id":""}"#, "no json"] {
        let refused = send(&service, post("/hook", None, nameless)).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST, "{nameless}");
    }
    assert_eq!(bench.paid().await, 1);
}

/// Goal: JSON in another order or with another charset is the same request, if the service says so,
/// and another value is another one.
#[tokio::test]
async fn json_may_be_compared_as_a_value() {
    for as_value in [true, false] {
        let bench = Bench::new();
        let mut layer = bench.transactional();
        if as_value {
            layer = layer.json_as_value();
        }
        let service = bench.paying(layer);
        let json = |kind: &str, text: &str| {
            let mut request = post("/pay", KEY, text);
            let headers = request.headers_mut();
            headers.insert("content-type", kind.parse().unwrap());
            request
        };
        let first = json("application/json", r#"{"cents":5,"to":"ann"}"#);
        let first = send(&service, first).await;
        assert_eq!(first.status(), StatusCode::CREATED);
        let spelled = json(
            "Application/JSON; charset=utf-8",
            r#"{ "to": "\u0061nn", "cents": 5 }"#,
        );
        let again = send(&service, spelled).await;
        let expected = if as_value { 201 } else { 422 };
        assert_eq!(again.status(), expected, "as a value: {as_value}");
        for other in [
            json("application/json", r#"{"cents":5.0,"to":"ann"}"#),
            json("application/json", r#"{"cents":5,"to":"bob"}"#),
            json("text/plain", r#"{"cents":5,"to":"ann"}"#),
        ] {
            let other = send(&service, other).await;
            assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
        }
        assert_eq!(bench.paid().await, 1);
    }
}

/// Goal: the headers that say what the body is and how it may be cached come back with it.
#[tokio::test]
async fn headers_of_the_response_are_kept() {
    const KEPT: [(&str, &str); 6] = [
        ("content-disposition", "attachment; filename=\"a.pdf\""),
        ("content-range", "bytes 0-6/7"),
        ("cache-control", "private, max-age=60"),
        ("vary", "accept-language"),
        ("expires", "Thu, 01 Dec 1994 16:00:00 GMT"),
        ("allow", "GET, POST"),
    ];
    let bench = Bench::new();
    let service = bench.service(bench.transactional(), async |request: Asked| {
        pay(&request).await;
        let mut response = answer(StatusCode::OK, "receipt");
        for (name, value) in KEPT {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    });
    for _ in 0..2 {
        let response = send(&service, post("/pay", KEY, "5")).await;
        for (name, value) in KEPT {
            assert_eq!(response.headers()[name], value);
        }
    }
    assert_eq!(bench.handled(), 1);
}

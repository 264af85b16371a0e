//! The process: ports, health, metrics, logs, and the wrappers that it prints.

use exactly_once_servers::Restate;
use serde_json::{Value, json};

use crate::bench::{SHOP, Served, Shop};

#[tokio::test(flavor = "multi_thread")]
async fn health_metrics_and_logs_say_what_happens_and_no_value() {
    let served = Served::start(SHOP).await;
    let secret = json!({ "order": "s3cret-order", "cents": 4711, "key": "the-key" });
    served.call("charge", secret).await;
    served
        .refused("charge", r#"{"order": "s3cret-order", "cents": "no"}"#)
        .await;

    assert_eq!(served.get("/livez").await, (200, "ok\n".to_owned()));
    let (status, ready) = served.get("/readyz").await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((status, &ready["ready"]), (200, &json!(true)), "{ready}");
    assert_eq!(
        ready["stores"],
        json!({ "ledger": "ready", "stock": "ready" })
    );

    let (_, metrics) = served.get("/metrics").await;
    for line in [
        "exactly_once_serve_calls_total{handler=\"charge\",outcome=\"ok\"} 1",
        "exactly_once_serve_calls_total{handler=\"charge\",outcome=\"invalid\"} 1",
        "exactly_once_serve_call_duration_seconds_bucket{handler=\"charge\"",
        "exactly_once_operations_total{backend=\"postgres\",operation=\"execute_one_shot\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let calls: Vec<Value> = served
        .log()
        .into_iter()
        .filter(|line| line["message"] == "call")
        .collect();
    let done = calls.iter().find(|line| line["outcome"] == "ok").unwrap();
    assert_eq!(
        (&done["handler"], &done["key"]),
        (&json!("charge"), &json!("the-key"))
    );
    assert!(
        done["invocation"].as_str().unwrap().starts_with("inv_"),
        "{done}"
    );
    for text in [served.serve.log(), metrics] {
        assert!(!text.contains("s3cret") && !text.contains("4711"), "{text}");
    }

    // A store that is away: alive, not ready, and the store is named.
    served.shop.postgres.kill();
    assert_eq!(served.get("/livez").await.0, 200);
    let (status, ready) = served.get("/readyz").await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!(status, 503, "{ready}");
    assert_eq!(ready["stores"]["stock"], "ready", "{ready}");
    assert_ne!(ready["stores"]["ledger"], "ready", "{ready}");
}

/// The ports come first, so a process that can't have them touches no database.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_ends_it_before_anything_is_made() {
    let shop = Shop::open().await;
    shop.write(SHOP);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for arguments in [
        ["--listen", taken.as_str(), "--admin", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:0", "--admin", taken.as_str()],
    ] {
        let output = shop.run(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(&format!("can't listen at {taken}")), "{text}");
    }
    let tables =
        "SELECT count(*) FROM information_schema.schemata WHERE schema_name LIKE 'exactly%'";
    let row = shop.client().await.query_one(tables, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

/// With Restate's public key in the file, only what that Restate has signed is served.
#[tokio::test(flavor = "multi_thread")]
async fn requests_that_restate_has_not_signed_are_refused() {
    let shop = Shop::open().await;
    let pem = shop.folder.path().join("identity.pem");
    let made = std::process::Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(&pem)
        .output()
        .unwrap();
    assert!(made.status.success());
    let signing = Restate::options()
        .variable(
            "RESTATE_REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE",
            pem.to_str().unwrap(),
        )
        .start()
        .await
        .unwrap();
    // It prints its public key.
    let log = signing.server().log();
    let at = log
        .find("publickeyv1_")
        .unwrap_or_else(|| panic!("no key in {log}"));
    let key: String = log[at..]
        .chars()
        .take_while(|char| char.is_ascii_alphanumeric() || *char == '_')
        .collect();
    let keys = |key: &str| format!("identity_keys = [\"{key}\"]");
    shop.write(&SHOP.replacen("max_body_bytes = 4096", &keys("wrong"), 1));
    let output = shop.run(&["--check"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("identity_keys"), "{text}");

    let ledger = shop.postgres.url();
    let file = SHOP.replacen("max_body_bytes = 4096", &keys(&key), 1);
    let served = Served::before(shop, &file, &ledger, signing).await;
    served
        .call("charge", json!({ "order": "a", "cents": 1 }))
        .await;
    let other = Restate::start().await.unwrap();
    let refused = other.register(&served.serve.url()).await.unwrap_err();
    assert!(format!("{refused:#}").contains("401"), "{refused:#}");
}

#[test]
fn the_wrappers_need_no_database_and_have_the_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("effects.toml");
    std::fs::write(&path, SHOP).unwrap();
    let types = |language: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_exactly-once"))
            .args(["serve", "--types", language, "--config"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let typescript = types("ts");
    for line in [
        "  note?: string | null;",
        "  charge: (ctx: Context, request: ChargeRequest) => Promise<ChargeRow>;",
        "  stocked: (ctx: Context, request: StockedRequest) => Promise<StockedRow | null>;",
        "  payments: (ctx: Context, request: PaymentsRequest) => Promise<PaymentsRow[]>;",
        "  order: (ctx: Context, request: OrderRequest) => Promise<null>;",
        "export const Account: VirtualObjectDefinition<\"Account\", {",
    ] {
        assert!(
            typescript.lines().any(|found| found == line),
            "{line}:\n{typescript}"
        );
    }
    let python = types("py");
    for line in [
        "    async def charge(self, *, cents: int, order: str, note: Optional[str] = None, key: Optional[str] = None) -> ChargeRow:",
        "    async def payments(self, *, order: str) -> List[PaymentsRow]:",
        "ChargeRow = TypedDict(\"ChargeRow\", {\"id\": int, \"paid_at\": str})",
    ] {
        assert!(
            python.lines().any(|found| found == line),
            "{line}:\n{python}"
        );
    }
}

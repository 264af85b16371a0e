//! Maintenance: the file names Restate's ingress, and `serve` starts the schedules through it.

use std::time::Duration;

use exactly_once_servers::{Restate, process::Signal};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::bench::{SHOP, Served, Shop};

const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// How often a schedule runs; `None` where it has not been started.
async fn every_ms(served: &Served, object: &str) -> Option<u64> {
    let (_, status) = served.raw(&format!("{object}/ShopDb/status"), "").await;
    status["schedule"]["every_ms"].as_u64()
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_started_through_the_ingress_and_do_their_work() {
    let (shop, restate) = (Shop::open().await, Restate::start().await.unwrap());
    let ledger = shop.postgres.url();
    let file = |key_expiry: &str| {
        let top = format!("ingress = \"{}\"\nmax_body_bytes", restate.ingress_url());
        SHOP.replacen("max_body_bytes", &top, 1).replacen(
            "answer = \"row\"",
            "answer = \"row\"\nretention = \"1s\"",
            1,
        ) + &format!("\n[schedules]\nkey_expiry = \"{key_expiry}\"\nsweep = \"30s\"\n")
    };
    let (first, second) = (file("1s"), file("2s"));
    // Restate gets to know the service only after its start: it insists.
    let served = Served::before(shop, &first, &ledger, restate).await;
    until("both schedules run", async || {
        every_ms(&served, "KeyExpiry").await == Some(1_000)
            && every_ms(&served, "InDoubtSweep").await == Some(30_000)
    })
    .await;

    served
        .call("charge", json!({ "order": "a", "cents": 5 }))
        .await;
    let keys = "SELECT count(*) FROM exactly_once.keys";
    let client = served.shop.client().await;
    until("the key has expired", async || {
        let row = client.query_one(keys, &[]).await.unwrap();
        row.get::<_, i64>(0) == 0
    })
    .await;
    assert_eq!(served.shop.payments("a").await, 1);

    // A reload changes them; there is still one of each.
    served.shop.write(&second);
    served.serve.signal(Signal::HUP).await.unwrap();
    until("the schedule has changed", async || {
        every_ms(&served, "KeyExpiry").await == Some(2_000)
    })
    .await;
    let objects = "SELECT DISTINCT service_key FROM state WHERE service_name = 'KeyExpiry'";
    let found: Vec<Value> = served.restate.query(objects).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
}

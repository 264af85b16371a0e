//! URLs, passwords and pools that won't do.

use std::time::Duration;

use exactly_once::{
    Adjust, Amount, BalanceStore, ErrorKind, FencingToken, IdempotencyStore, Store,
    postgres::{Timeouts, TokioPostgresStore},
};

use crate::{
    fresh, receipt,
    world::{claim, refused, timeouts, world},
};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_urls_are_typed_and_keep_the_password() {
    let world = world().await;
    let url = world.url();
    let secret = url.replace("throwaway", "sesame-42");
    let kind = |url: String| async move {
        let builder = TokioPostgresStore::builder(url);
        assert!(!format!("{builder:?}").contains("sesame-42"));
        let error = builder.connect().await.unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("sesame-42"),
            "{error}"
        );
        error.kind()
    };
    assert_eq!(kind(secret.clone()).await, ErrorKind::Configuration);
    assert_eq!(
        kind(format!("{url}_missing")).await,
        ErrorKind::Configuration
    );
    for broken in [
        "nonsense sesame-42",
        "postgres://a:sesame-42@h:port/d",
        "postgres://u:sesame-42@h/d?x=y",
    ] {
        assert_eq!(
            kind(broken.to_owned()).await,
            ErrorKind::Configuration,
            "{broken}"
        );
    }
    let nobody = "postgres://u:sesame-42@127.0.0.1:1/d".to_owned();
    assert_eq!(kind(nobody).await, ErrorKind::Unavailable);
}

// Opposing transfers and adjustments meet in one order; what does not fit is reported as such.
#[tokio::test(flavor = "multi_thread")]
async fn a_pool_of_one_with_nested_use_is_busy_and_not_a_deadlock() {
    let world = world().await;
    let starved = Timeouts {
        acquire: Duration::from_millis(200),
        ..timeouts()
    };
    let builder = TokioPostgresStore::builder(world.url())
        .timeouts(starved)
        .pool_size(1);
    let store = builder.connect().await.unwrap();
    let tx = fresh(&store, "k").await;
    let key = claim("a").key().clone();
    let adjust = Adjust::new(
        key,
        exactly_once::AccountId::new("a").unwrap(),
        Amount::new(1),
    );
    refused(store.adjust(&adjust).await, ErrorKind::Busy, &["pool"]);
    let _ = store.complete(tx, &claim("k"), &receipt()).await.unwrap();
    let lease = exactly_once::LeaseStore::release(&store, &claim("l"), FencingToken::new(1)).await;
    lease.unwrap();
    store.close().await.unwrap();
    refused(store.now().await, ErrorKind::Unavailable, &["closed"]);
}

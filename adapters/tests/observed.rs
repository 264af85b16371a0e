//! The observing layer counts what happened, by its word, and passes the whole suite itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(all(feature = "memory", feature = "metrics"))]

use exactly_once::{
    Claim, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, WorkError, memory::MemoryStore,
    observe::Observed,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

#[test]
fn fresh_replayed_and_mismatch_are_counted_apart() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(load()));

    let mut counts: Vec<(String, String, u64)> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter_map(|(key, _, _, value)| {
            let label = |name: &str| {
                let mut labels = key.key().labels();
                labels
                    .find(|label| label.key() == name)
                    .map(|label| label.value().to_owned())
            };
            match value {
                DebugValue::Counter(count) => Some((label("operation")?, label("outcome")?, count)),
                _ => None,
            }
        })
        .collect();
    counts.sort();
    let expected = [
        ("claim", "fresh", 2),
        ("claim", "mismatch", 1),
        ("claim", "replayed", 3),
        ("complete", "recorded", 1),
        ("rollback", "ok", 1),
    ];
    let expected: Vec<_> = expected
        .map(|(operation, outcome, count)| (operation.into(), outcome.into(), count))
        .into();
    assert_eq!(counts, expected);
}

async fn load() {
    let store = Observed::new(MemoryStore::new());
    let key = || IdempotencyKey::new("k").unwrap();
    let claim = |request: i64| Claim::new(key(), Fingerprint::of("charge", &request).unwrap());
    let failed = store
        .execute_once(&claim(1), async |_tx| {
            Err::<i64, _>(WorkError::from_boxed("the network is down".into()))
        })
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::WorkFailed);
    for _ in 0..4 {
        assert_eq!(
            store
                .execute_once(&claim(1), async |_tx| Ok(7))
                .await
                .unwrap()
                .value,
            7
        );
    }
    let other = store.execute_once(&claim(2), async |_tx| Ok(7)).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Mismatch);
}

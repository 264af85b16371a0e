//! The observing layer counts what happened, by its word, and puts each call into a span.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(all(feature = "memory", feature = "metrics"))]

use std::{
    io::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exactly_once::{
    AccountId, Amount, BalanceStore, BegunPrepared, Claim, CompareAndSet, ErrorKind, ExecuteOnce,
    Expected, Fingerprint, IdempotencyKey, Namespace, OpenAccount, Participation,
    PreparedTransactions, Store, TransactionId, Version, WorkError, memory::MemoryStore,
    observe::Observed,
};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};

/// What the work has left in the metrics: counters by operation and outcome, gauges by name.
type Seen = (Vec<(String, String, u64)>, Vec<(String, f64)>);

/// One test at a time: a span whose first use in one thread meets a subscriber that another one is just
/// setting may be taken for one that is not wanted, for good (a race in `tracing`).
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn observe(work: impl Future<Output = ()>) -> Seen {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work));
    let (mut counts, mut gauges) = Seen::default();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let label = |name: &str| {
            let mut labels = key.key().labels();
            let label = labels.find(|label| label.key() == name);
            label.map_or_else(String::new, |label| label.value().to_owned())
        };
        match value {
            DebugValue::Counter(count) => {
                counts.push((label("operation"), label("outcome"), count));
            }
            DebugValue::Gauge(gauge) => {
                let mut name = key.key().name().to_owned();
                for part in ["namespace", "place"] {
                    name = format!("{name} {part}={}", label(part));
                }
                gauges.push((name, gauge.0));
            }
            DebugValue::Histogram(_) => {}
        }
    }
    counts.sort();
    gauges.sort_by(|a, b| a.0.cmp(&b.0));
    (counts, gauges)
}

/// Goal: a conflict is counted as one; what is in doubt, and for how long, is a gauge.
#[test]
fn conflicts_and_what_is_in_doubt_are_seen() {
    let _alone = alone();
    let (counts, gauges) = observe(async {
        let store = Observed::new(MemoryStore::new());
        let key = |name: &str| IdempotencyKey::new(name).unwrap();
        let till = || AccountId::new("till").unwrap();
        store
            .open_account(&OpenAccount::new(key("open"), till()))
            .await
            .unwrap();
        let stale = Expected::Version(Version::new(17).unwrap());
        let set = CompareAndSet::new(key("set"), till(), stale, Amount::new(5));
        let refused = store.compare_and_set(&set).await.unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Conflict { .. }));

        let now = store.now().await.unwrap();
        let until = now.checked_add(Duration::from_secs(60)).unwrap();
        let forget = now.checked_add(Duration::from_secs(3_600)).unwrap();
        let name = TransactionId::new("order").unwrap();
        let print = Fingerprint::of("order", &1).unwrap();
        let order = Participation::new(&name, print, until, forget).unwrap();
        let BegunPrepared::Fresh(tx) = store.begin_prepared(&order).await.unwrap() else {
            panic!("it is new");
        };
        store.prepare(tx, &order).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.in_doubt(None, 10).await.unwrap();
        // Another namespace, and another store of the same backend, have gauges of their own.
        let other = store.with_namespace(Namespace::new("other").unwrap());
        other.in_doubt(None, 10).await.unwrap();
        Observed::new(MemoryStore::new())
            .in_doubt(None, 10)
            .await
            .unwrap();
    });
    let conflict = ("compare_and_set".to_owned(), "conflict".to_owned(), 1);
    assert!(counts.contains(&conflict), "{counts:?}");
    assert_eq!(gauges.len(), 6, "{gauges:?}");
    let of = |name: &str| -> Vec<f64> {
        let gauges = gauges.iter().filter(|(gauge, _)| gauge.starts_with(name));
        gauges.map(|(_, value)| *value).collect()
    };
    let mut counts = of("exactly_once_in_doubt ");
    counts.sort_by(f64::total_cmp);
    assert_eq!(counts, [0.0, 0.0, 1.0]);
    let oldest = of("exactly_once_in_doubt_oldest_seconds ");
    assert!(oldest.iter().any(|age| *age >= 0.01), "{gauges:?}");
}

/// Goal: the gauges count the whole listing, and are set after its last page only. Method: three in
/// doubt, by pages of two: after the first page nothing is set, after the second all three; a page from
/// the middle, and a listing that is given up, set nothing.
#[test]
fn what_is_in_doubt_is_counted_over_all_pages() {
    let _alone = alone();
    let (_, gauges) = observe(async {
        let store = Observed::new(MemoryStore::new());
        for name in ["a", "b", "c"] {
            let minute = Duration::from_secs(60);
            let order = Participation::within(&store, name, &1, minute)
                .await
                .unwrap();
            let BegunPrepared::Fresh(tx) = store.begin_prepared(&order).await.unwrap() else {
                panic!("it is new");
            };
            store.prepare(tx, &order).await.unwrap();
        }
        let page = store.in_doubt(None, 2).await.unwrap();
        let last = store.in_doubt(page.next.as_ref(), 2).await.unwrap();
        assert_eq!((last.entries.len(), last.next), (1, None));
        // The same page again belongs to no listing that is known.
        store.in_doubt(page.next.as_ref(), 2).await.unwrap();
        store.in_doubt(None, 2).await.unwrap();
    });
    assert_eq!(gauges[0].1, 3.0, "{gauges:?}");
    assert_eq!(gauges.len(), 2, "{gauges:?}");
}

/// Goal: how many effects share a commit is seen, though the store's own thread commits them.
#[cfg(feature = "rusqlite")]
#[tokio::test]
async fn the_size_of_a_group_is_seen() {
    use exactly_once::{OneShot, OneShotStore, Receipt, sqlite::SqliteStore};
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // For all threads; the other tests have recorders of their own.
    recorder.install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path().join("group.db"))
        .await
        .unwrap();
    let effects = (0..20).map(|number: i64| {
        let key = IdempotencyKey::new(number.to_string()).unwrap();
        let effect = OneShot {
            claim: Claim::new(key, Fingerprint::of("group", &number).unwrap()),
            statements: Vec::new(),
            receipt: Receipt::json(&number).unwrap(),
        };
        let store = store.clone();
        async move { store.execute_one_shot(&effect).await.unwrap() }
    });
    futures_util::future::join_all(effects).await;
    let sizes: Vec<f64> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().name() == "exactly_once_group_size")
        .flat_map(|(.., value)| match value {
            DebugValue::Histogram(sizes) => sizes.into_iter().map(|size| size.0).collect(),
            _ => Vec::new(),
        })
        .collect();
    assert_eq!(sizes.iter().sum::<f64>(), 20.0, "{sizes:?}");
    assert!(sizes.len() < 20, "nothing was grouped: {sizes:?}");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Goal: each call is a span with the names that OpenTelemetry has for database clients, and with
/// neither key nor receipt.
#[test]
fn each_call_is_a_span_with_the_standard_names() {
    let _alone = alone();
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || observe(load()));
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let spans = |wanted: &[&str]| {
        let matches = |line: &&str| wanted.iter().all(|part| line.contains(part));
        text.lines().filter(matches).count()
    };
    let call = [
        "otel.name=\"claim\"",
        "otel.kind=\"client\"",
        "db.system.name=\"memory\"",
        "db.operation.name=\"claim\"",
        "db.namespace=\"default\"",
    ];
    assert_eq!(spans(&call), 6, "{text}");
    assert_eq!(spans(&["exactly_once.outcome=\"replayed\""]), 3, "{text}");
    assert!(!text.contains("secret-key"), "{text}");
}

#[test]
fn fresh_replayed_and_mismatch_are_counted_apart() {
    let _alone = alone();
    let (counts, _) = observe(load());
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
    let key = || IdempotencyKey::new("secret-key").unwrap();
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

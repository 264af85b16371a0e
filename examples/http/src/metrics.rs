//! What Prometheus reads at `/metrics`.

use std::time::Duration;

use anyhow::Result;
use exactly_once::PreparedTransactions;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets for the durations, in seconds: a commit takes from a tenth of a millisecond (memory) to
/// seconds (a lock that is waited for).
const BUCKETS: [f64; 8] = [0.000_2, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0];
/// How often the gauges of what is in doubt are read again.
const EVERY: Duration = Duration::from_secs(15);

/// Records from now on; once in a process.
///
/// # Errors
/// Where something else records already.
pub fn install() -> Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new();
    let seconds = Matcher::Suffix("_seconds".to_owned());
    Ok(builder
        .set_buckets_for_metric(seconds, &BUCKETS)?
        .install_recorder()?)
}

/// Asks the store now and then what is in doubt, for the gauges `exactly_once_in_doubt` and
/// `exactly_once_in_doubt_oldest_seconds`: nothing else asks while all is well. Never ends.
pub async fn watch<S: PreparedTransactions>(store: S, handle: PrometheusHandle) {
    loop {
        // Counted by the store's own layer, errors too; the gauges are set after the last page.
        let mut after = None;
        while let Ok(page) = store.in_doubt(after.as_ref(), 1_000).await {
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        handle.run_upkeep();
        tokio::time::sleep(EVERY).await;
    }
}

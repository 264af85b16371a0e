//! One observed call: a span around it, and a count and a duration after it.

use std::{future::Future, time::Instant};

use exactly_once_core::{Result, Store};
use tracing::{Instrument, field};

use super::outcome::Outcome;

/// Runs the call in its span. A call that is dropped half way is neither counted nor timed: no caller
/// knows how it ended.
pub(super) async fn call<S: Store, T: Outcome>(
    store: &S,
    operation: &'static str,
    call: impl Future<Output = Result<T>>,
) -> Result<T> {
    let span = tracing::debug_span!(
        "exactly_once",
        otel.name = operation,
        otel.kind = "client",
        db.system.name = system_name(store.backend()),
        db.operation.name = operation,
        db.namespace = store.namespace().as_str(),
        exactly_once.outcome = field::Empty,
        error.type = field::Empty,
        otel.status_code = field::Empty,
    );
    let started = Instant::now();
    let answer = call.instrument(span.clone()).await;
    let outcome = match &answer {
        Ok(answer) => answer.outcome(),
        Err(error) => {
            span.record("error.type", error.kind().as_str());
            span.record("otel.status_code", "ERROR");
            error.kind().as_str()
        }
    };
    span.record("exactly_once.outcome", outcome);
    count(store.backend(), operation, outcome, started);
    answer
}

/// The well-known value of OpenTelemetry, where it is another one than ours.
fn system_name(backend: &'static str) -> &'static str {
    match backend {
        "postgres" => "postgresql",
        other => other,
    }
}

#[cfg(feature = "metrics")]
fn count(backend: &'static str, operation: &'static str, outcome: &'static str, started: Instant) {
    metrics::counter!(
        "exactly_once_operations_total",
        "backend" => backend, "operation" => operation, "outcome" => outcome
    )
    .increment(1);
    metrics::histogram!(
        "exactly_once_operation_duration_seconds",
        "backend" => backend, "operation" => operation
    )
    .record(started.elapsed().as_secs_f64());
}

#[cfg(not(feature = "metrics"))]
fn count(_: &'static str, _: &'static str, _: &'static str, _: Instant) {}

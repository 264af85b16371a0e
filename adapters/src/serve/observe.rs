//! One log line and two metrics for each attempt at a call: which handler, which key, how it ended, how
//! long it took. No parameter and no row is in them.

use std::time::Instant;

use super::config::Handler;
use crate::IdempotencyKey;

/// One attempt. Dropped without an end, it was given back: the engine tries again.
pub(super) struct Attempt<'a> {
    handler: &'a Handler,
    invocation: &'a str,
    key: Option<&'a IdempotencyKey>,
    started: Instant,
    ended: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn begin(
        handler: &'a Handler,
        invocation: &'a str,
        key: Option<&'a IdempotencyKey>,
        started: Instant,
    ) -> Self {
        Self {
            handler,
            invocation,
            key,
            started,
            ended: false,
        }
    }

    /// `outcome` is `ok`, the kind of the refusal, or `cancelled`.
    pub(super) fn end(mut self, outcome: &'static str) {
        self.ended = true;
        self.report(outcome);
    }

    fn report(&self, outcome: &'static str) {
        let (handler, elapsed) = (&self.handler.name, self.started.elapsed());
        metrics::counter!(
            "exactly_once_serve_calls_total",
            "handler" => handler.clone(), "outcome" => outcome
        )
        .increment(1);
        metrics::histogram!(
            "exactly_once_serve_call_duration_seconds", "handler" => handler.clone()
        )
        .record(elapsed.as_secs_f64());
        tracing::info!(
            handler,
            kind = self.handler.kind(),
            key = self.key.map(IdempotencyKey::as_str),
            invocation = self.invocation,
            outcome,
            ms = elapsed.as_secs_f64() * 1_000.0,
            "call"
        );
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.report("given_back");
        }
    }
}

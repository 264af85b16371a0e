//! What a layer can be configured with.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use exactly_once_core::{Fingerprint, IdempotencyKey, InvalidName, Retention};
use http::{HeaderName, Method, Request, StatusCode, header, response};

use super::scope::FindScope;

/// What becomes of a request whose handler has answered.
///
/// A handler says it by putting an `Ending` into its response's extensions; with axum, return
/// `Extension(Ending::Refuse)` as a part of the response. [`problem`](super::problem()) and
/// [`KeyedTx::problem`](super::KeyedTx::problem) do so by the kind of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The layer commits what the handler wrote, and records its response.
    Commit,
    /// The layer undoes what the handler wrote, and records its response: the answer on every retry.
    Refuse,
    /// The layer undoes what the handler wrote, and records nothing: a retry runs the handler again.
    RollBack,
}

impl Ending {
    /// What the layer does by default with a response of this status that the *handler* decided.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            // They depend on the client's credentials or on the moment.
            401 | 403 | 407 | 408 | 421 | 425 | 429 => Self::RollBack,
            100..=399 => Self::Commit,
            400..=499 => Self::Refuse,
            _ => Self::RollBack,
        }
    }

    /// The same where the response may be the router's or an extractor's: it names no decision,
    /// and the handler has not used its transaction or attempt. What such a response refuses, or
    /// where it redirects to, may be otherwise after the next deployment.
    fn of_unknown(status: StatusCode) -> Self {
        match status.as_u16() {
            301 | 302 | 307 | 308 => Self::RollBack,
            _ => match Self::of(status) {
                Self::Refuse => Self::RollBack,
                ending => ending,
            },
        }
    }
}

/// Whether the handler has used its transaction or attempt: from then on its answer is its own.
#[derive(Clone, Debug, Default)]
pub(super) struct Begun(Arc<AtomicBool>);

impl Begun {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

type FindKey = dyn Fn(&Request<Bytes>) -> Result<Option<IdempotencyKey>, InvalidName> + Send + Sync;
type MakeFingerprint = dyn Fn(&Request<Bytes>) -> Fingerprint + Send + Sync;
type Judge = dyn Fn(&response::Parts) -> Option<Ending> + Send + Sync;

#[derive(Clone)]
pub(super) struct Options {
    pub(super) methods: Vec<Method>,
    pub(super) scope: Option<Arc<FindScope>>,
    pub(super) bare_keys: bool,
    pub(super) key_optional: bool,
    pub(super) key: Option<Arc<FindKey>>,
    pub(super) fingerprint: Option<Arc<MakeFingerprint>>,
    pub(super) any_host: bool,
    pub(super) json_as_value: bool,
    pub(super) max_request_bytes: usize,
    pub(super) max_response_bytes: Option<usize>,
    pub(super) max_duration: Duration,
    pub(super) retention: Retention,
    pub(super) keep_headers: Vec<HeaderName>,
    pub(super) documentation: Option<String>,
    pub(super) judge: Option<Arc<Judge>>,
}

impl Options {
    pub(super) fn new(scope: Option<Arc<FindScope>>) -> Self {
        Self {
            methods: vec![Method::POST, Method::PATCH],
            scope,
            bare_keys: false,
            key_optional: false,
            key: None,
            fingerprint: None,
            any_host: false,
            json_as_value: false,
            max_request_bytes: 1024 * 1024,
            max_response_bytes: None,
            max_duration: Duration::from_secs(60),
            retention: Retention::default(),
            keep_headers: vec![
                header::ALLOW,
                header::CACHE_CONTROL,
                header::CONTENT_DISPOSITION,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
                header::CONTENT_RANGE,
                header::CONTENT_TYPE,
                header::ETAG,
                header::EXPIRES,
                header::LAST_MODIFIED,
                header::LINK,
                header::LOCATION,
                header::VARY,
            ],
            documentation: None,
            judge: None,
        }
    }

    pub(super) fn documentation(&self) -> Option<&str> {
        self.documentation.as_deref()
    }

    /// What becomes of this response.
    pub(super) fn ending(&self, response: &response::Parts, begun: bool) -> Ending {
        let judged = self.judge.as_ref().and_then(|judge| judge(response));
        judged
            .or_else(|| response.extensions.get().copied())
            .unwrap_or_else(|| {
                if begun {
                    Ending::of(response.status)
                } else {
                    Ending::of_unknown(response.status)
                }
            })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("methods", &self.methods)
            .field("scope", &self.scope.is_some())
            .field("bare_keys", &self.bare_keys)
            .field("key_optional", &self.key_optional)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("max_response_bytes", &self.max_response_bytes)
            .field("max_duration", &self.max_duration)
            .field("retention", &self.retention)
            .field("keep_headers", &self.keep_headers)
            .field("documentation", &self.documentation)
            .finish_non_exhaustive()
    }
}

//! What a layer can be told.

use std::{fmt, sync::Arc};

use exactly_once_core::{Namespace, Retention};
use http::{HeaderName, Method, StatusCode, header, request::Parts};

/// What becomes of a request whose handler has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// What the handler wrote is committed, and its response is recorded.
    Commit,
    /// What the handler wrote is undone, and its response is recorded: the answer on every retry.
    Refuse,
    /// What the handler wrote is undone, and nothing is recorded: a retry runs it again.
    RollBack,
}

impl Ending {
    /// What the layer does by default with a response of this status.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            // Who asks, or when: another attempt may be told otherwise.
            401 | 403 | 407 | 408 | 421 | 425 | 429 => Self::RollBack,
            100..=399 => Self::Commit,
            400..=499 => Self::Refuse,
            _ => Self::RollBack,
        }
    }
}

type Scope = dyn Fn(&Parts) -> Result<Namespace, StatusCode> + Send + Sync;

#[derive(Clone)]
pub(super) struct Options {
    pub(super) methods: Vec<Method>,
    pub(super) bare_keys: bool,
    pub(super) max_request_bytes: usize,
    pub(super) retention: Retention,
    pub(super) keep_headers: Vec<HeaderName>,
    pub(super) documentation: Option<String>,
    pub(super) scope: Option<Arc<Scope>>,
    pub(super) judge: fn(StatusCode) -> Ending,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            methods: vec![Method::POST, Method::PATCH],
            bare_keys: false,
            max_request_bytes: 1024 * 1024,
            retention: Retention::default(),
            keep_headers: vec![
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
                header::CONTENT_TYPE,
                header::ETAG,
                header::LAST_MODIFIED,
                header::LINK,
                header::LOCATION,
            ],
            documentation: None,
            scope: None,
            judge: Ending::of,
        }
    }
}

impl Options {
    pub(super) fn documentation(&self) -> Option<&str> {
        self.documentation.as_deref()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("methods", &self.methods)
            .field("bare_keys", &self.bare_keys)
            .field("max_request_bytes", &self.max_request_bytes)
            .field("retention", &self.retention)
            .field("keep_headers", &self.keep_headers)
            .field("documentation", &self.documentation)
            .field("scope", &self.scope.is_some())
            .finish_non_exhaustive()
    }
}

//! Refusals, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use exactly_once_core::{Advice, Error, ErrorKind};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

/// The answer to a store's error: its status, `Retry-After` where a retry is due, and a problem as
/// body. What the database said is not told to the client; log the error itself.
///
/// ```
/// use exactly_once::{Error, ErrorKind, http::problem};
///
/// let error = Error::new(ErrorKind::Ambiguous, "complete", "postgres");
/// let response = problem(&error);
/// assert_eq!(response.status(), 503);
/// assert_eq!(response.headers()["retry-after"], "1");
/// ```
#[must_use]
pub fn problem(error: &Error) -> Response<Full<Bytes>> {
    of_error(error, None).map(Full::new)
}

/// A problem in the making.
pub(super) struct Problem<'a> {
    pub(super) status: StatusCode,
    pub(super) title: &'a str,
    pub(super) detail: &'a str,
    pub(super) retry_after: Option<Duration>,
}

impl Problem<'_> {
    /// As a response; `documentation` is where the API explains its use of keys.
    pub(super) fn response(self, documentation: Option<&str>) -> Response<Bytes> {
        let body = json!({
            "type": documentation.unwrap_or("about:blank"),
            "title": self.title,
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(after) = self.retry_after {
            // Whole seconds, and never "at once": that would be a busy loop.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

/// The refusal that belongs to a store's error.
pub(super) fn of_error(error: &Error, documentation: Option<&str>) -> Response<Bytes> {
    let kind = error.kind();
    let retry_after = match kind.advice() {
        Advice::RetrySameKey | Advice::Retry { after: None } => Some(Duration::from_secs(1)),
        Advice::Retry { after } => after,
        _ => None,
    };
    let (status, title) = match kind {
        ErrorKind::InProgress { .. } => (
            StatusCode::CONFLICT,
            "A request is outstanding for this Idempotency-Key",
        ),
        ErrorKind::Mismatch => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "Idempotency-Key is already used",
        ),
        _ => (
            StatusCode::from_u16(kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind.as_str(),
        ),
    };
    let detail = match (kind, error.rejection()) {
        (_, Some(rejection)) => rejection.message(),
        (ErrorKind::InProgress { .. }, _) => {
            "the first request with this key has not ended yet: repeat it later, with the same key"
        }
        (ErrorKind::Mismatch, _) => {
            "this key was used with another method, path or body: use a new key for a new request"
        }
        (ErrorKind::Ambiguous, _) => {
            "the request may or may not have taken effect: repeat it with the same key"
        }
        _ if kind.is_retryable() => "nothing was done: repeat the request with the same key",
        _ => "repeating the request can't help",
    };
    Problem {
        status,
        title,
        detail,
        retry_after,
    }
    .response(documentation)
}

/// A failure of the layer or the handler that is no store's error.
pub(super) fn internal(title: &str, detail: &str) -> Response<Bytes> {
    Problem {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        title,
        detail,
        retry_after: None,
    }
    .response(None)
}

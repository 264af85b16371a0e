//! Refusals, as `application/problem+json` (RFC 9457).

use std::time::Duration;

use bytes::Bytes;
use exactly_once_core::{Advice, Error, ErrorKind, Rejection};
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

use super::Ending;

/// The response to a store's error: its status, `Retry-After` where a retry is due, and a problem as
/// body. It holds nothing of what the database said; log the error itself.
///
/// The response carries its [`Ending`] by the error's kind: the layer records a refusal that is final
/// (insufficient funds, a constraint), and never what a retry may see otherwise.
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
    let ending = if Rejection::of_refusal(error).is_some() {
        Ending::Refuse
    } else {
        Ending::RollBack
    };
    let mut response = of_error(error, None).map(Full::new);
    response.extensions_mut().insert(ending);
    response
}

/// When to retry what gives no time of its own.
pub(super) const SOON: Duration = Duration::from_secs(1);

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
    let status = StatusCode::from_u16(kind.http_status());
    let detail = match (kind, error.rejection()) {
        (_, Some(rejection)) => rejection.message(),
        (ErrorKind::Ambiguous, _) => {
            "the request may or may not have taken effect: repeat it with the same key"
        }
        _ if kind.is_retryable() => "nothing was done: repeat the request with the same key",
        (ErrorKind::Unreadable, _) => {
            "the request took effect, and this version of the service can't read its answer: repeat \
             it later, with the same key"
        }
        (ErrorKind::Configuration, _) => {
            "the service has to be put right first: repeat the request later, with the same key"
        }
        _ => "repeating the request can't help",
    };
    Problem {
        status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        title: kind.as_str(),
        detail,
        retry_after: retry_after(kind),
    }
    .response(documentation)
}

/// The refusal where the store did not grant the request's own key.
pub(super) fn of_claim(error: &Error, documentation: Option<&str>) -> Response<Bytes> {
    let kind = error.kind();
    let (status, title, detail) = match kind {
        ErrorKind::InProgress { .. } => (
            StatusCode::CONFLICT,
            "A request is outstanding for this Idempotency-Key",
            "the first request with this key has not ended yet: repeat it later, with the same key",
        ),
        ErrorKind::Mismatch => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "Idempotency-Key is already used",
            "this key was used with another method, target or body: use a new key for a new request",
        ),
        _ => return of_error(error, documentation),
    };
    Problem {
        status,
        title,
        detail,
        retry_after: retry_after(kind),
    }
    .response(documentation)
}

/// The response to a request whose answer a repeat will find.
pub(super) fn later(title: &str, after: Duration, documentation: Option<&str>) -> Response<Bytes> {
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title,
        detail: "repeat the request with the same key",
        retry_after: Some(after),
    }
    .response(documentation)
}

fn retry_after(kind: ErrorKind) -> Option<Duration> {
    match kind.advice() {
        Advice::RetrySameKey | Advice::Retry { after: None } => Some(SOON),
        Advice::Retry { after } => after,
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_repair_makes_good_is_to_be_repeated() {
        for kind in [ErrorKind::Unreadable, ErrorKind::Configuration] {
            let response = of_error(&Error::new(kind, "claim", "memory"), None);
            let text = String::from_utf8_lossy(response.body()).into_owned();
            assert!(text.contains("later, with the same key"), "{text}");
            assert_eq!(text.contains("took effect"), kind == ErrorKind::Unreadable);
        }
    }
}

//! What is asked, and under which key.

use bytes::Bytes;
use exactly_once_core::{BoxError, Claim, Fingerprint, Namespace};
use http::{Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{
    key::{Found, find},
    options::Options,
    problem::Problem,
};

/// A request that was read whole, and the key that it came with.
pub(super) struct Keyed {
    pub(super) request: Request<Bytes>,
    pub(super) claim: Claim,
    /// The client's own namespace, where the layer was told how to find it.
    pub(super) namespace: Option<Namespace>,
}

/// Reads the request, or says why it is refused before the store is asked.
pub(super) async fn read<B>(
    options: &Options,
    request: Request<B>,
) -> Result<Keyed, Response<Bytes>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let refuse = |status, title: &str, detail: &str| {
        Problem {
            status,
            title,
            detail,
            retry_after: None,
        }
        .response(options.documentation())
    };
    let (parts, body) = request.into_parts();
    let key = match find(&parts.headers, options.bare_keys) {
        Found::Key(key) => key,
        Found::Missing => {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "Idempotency-Key is missing",
                "this operation needs the header Idempotency-Key: a new key for each new request, \
                 and the same key when it is repeated",
            ));
        }
        Found::Malformed(detail) => {
            return Err(refuse(
                StatusCode::BAD_REQUEST,
                "Idempotency-Key is malformed",
                &detail,
            ));
        }
    };
    let namespace = match &options.scope {
        None => None,
        Some(scope) => Some(scope(&parts).map_err(|status| {
            let detail = "the request belongs to no client that may send keys";
            refuse(status, "Idempotency-Key has no scope", detail)
        })?),
    };
    let body = match Limited::new(body, options.max_request_bytes)
        .collect()
        .await
    {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the limit is {} bytes", options.max_request_bytes);
            return Err(refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "The request is too large",
                &detail,
            ));
        }
        Err(_) => {
            let detail = "the request's body did not arrive in full";
            return Err(refuse(StatusCode::BAD_REQUEST, "Bad request", detail));
        }
    };
    let claim = Claim::new(key, fingerprint(&parts, &body)).with_retention(options.retention);
    Ok(Keyed {
        request: Request::from_parts(parts, body),
        claim,
        namespace,
    })
}

/// Over method, path, query, what kind of body it is, and the body. Of the headers nothing else: a
/// client's retry may come through another proxy.
fn fingerprint(parts: &Parts, body: &Bytes) -> Fingerprint {
    let mut request = Vec::with_capacity(body.len() + 256);
    let target = parts.uri.path_and_query();
    let kinds = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
    let kinds = kinds.iter().map(|name| parts.headers.get(name));
    let mut part = |bytes: &[u8]| {
        request.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        request.extend_from_slice(bytes);
    };
    part(target.map_or("/", |target| target.as_str()).as_bytes());
    for kind in kinds {
        part(kind.map_or(&[], |kind| kind.as_bytes()));
    }
    part(body);
    Fingerprint::of_bytes(parts.method.as_str(), &request)
}

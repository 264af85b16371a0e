//! What a request asks, and under which key.

use axum::extract::OriginalUri;
use bytes::Bytes;
use exactly_once_core::{BoxError, Claim, Fingerprint, IdempotencyKey};
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};

use super::{
    json,
    key::{Found, find},
    layer::RequestBody,
    options::{Begun, Options},
    problem::Problem,
    running::Entered,
    scope::stored_key,
};

/// A request that was read whole, and its key.
pub(super) struct Keyed {
    pub(super) request: Request<Bytes>,
    /// As the client sent it.
    pub(super) client_key: IdempotencyKey,
    /// Under the key as it is stored.
    pub(super) claim: Claim,
    pub(super) begun: Begun,
    pub(super) entered: Option<Entered>,
}

/// A request with its key, or without one where it needs none.
pub(super) enum Read<B> {
    Keyed(Box<Keyed>),
    Keyless(Box<Request<RequestBody<B>>>),
}

/// Reads the request, or says why it is refused before the store is asked.
pub(super) async fn read<B>(
    options: &Options,
    request: Request<B>,
) -> Result<Read<B>, Box<Response<Bytes>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let scope = options
        .scope
        .as_ref()
        .map(|scope| scope(&parts))
        .transpose();
    let scope = scope.map_err(|status| {
        let detail = "the request belongs to no client that may send keys";
        refuse(options, status, "Idempotency-Key has no scope", detail)
    });
    let (key, scope, request) = match &options.key {
        Some(own) => {
            let request = Request::from_parts(parts, collect(options, body).await?);
            match own(&request) {
                Ok(Some(key)) => (key, scope?, request),
                Ok(None) if options.key_optional => {
                    let request = request.map(|body| Either::Right(Full::new(body)));
                    return Ok(Read::Keyless(Box::new(request)));
                }
                Ok(None) => return Err(missing(options)),
                Err(error) => return Err(malformed(options, &error.to_string())),
            }
        }
        // Before the body is read: what is refused anyway needs no reading.
        None => match find(&parts.headers, options.bare_keys) {
            Found::Key(key) => {
                let scope = scope?;
                let body = collect(options, body).await?;
                (key, scope, Request::from_parts(parts, body))
            }
            Found::Missing if options.key_optional => {
                let request = Request::from_parts(parts, Either::Left(body));
                return Ok(Read::Keyless(Box::new(request)));
            }
            Found::Missing => return Err(missing(options)),
            Found::Malformed(detail) => return Err(malformed(options, &detail)),
        },
    };
    let stored = stored_key(scope.as_ref(), &key);
    let stored = stored.map_err(|error| malformed(options, &error.to_string()))?;
    let fingerprint = match &options.fingerprint {
        Some(own) => own(&request),
        None => fingerprint(options, &request),
    };
    let claim = Claim::new(stored, fingerprint)
        .with_retention(options.retention)
        .without_waiting();
    Ok(Read::Keyed(Box::new(Keyed {
        request,
        client_key: key,
        claim,
        begun: Begun::default(),
        entered: None,
    })))
}

async fn collect<B>(options: &Options, body: B) -> Result<Bytes, Box<Response<Bytes>>>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    match Limited::new(body, options.max_request_bytes)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the limit is {} bytes", options.max_request_bytes);
            let title = "The request is too large";
            Err(refuse(
                options,
                StatusCode::PAYLOAD_TOO_LARGE,
                title,
                &detail,
            ))
        }
        Err(_) => {
            let detail = "the request's body did not arrive in full";
            Err(refuse(
                options,
                StatusCode::BAD_REQUEST,
                "Bad request",
                detail,
            ))
        }
    }
}

fn missing(options: &Options) -> Box<Response<Bytes>> {
    let detail = "this operation needs the header Idempotency-Key: a new key for each new request, \
                  and the same key when it is repeated";
    let title = "Idempotency-Key is missing";
    refuse(options, StatusCode::BAD_REQUEST, title, detail)
}

fn malformed(options: &Options, detail: &str) -> Box<Response<Bytes>> {
    let title = "Idempotency-Key is malformed";
    refuse(options, StatusCode::BAD_REQUEST, title, detail)
}

pub(super) fn refuse(
    options: &Options,
    status: StatusCode,
    title: &str,
    detail: &str,
) -> Box<Response<Bytes>> {
    let problem = Problem {
        status,
        title,
        detail,
        retry_after: None,
    };
    Box::new(problem.response(options.documentation()))
}

/// Over method, host, path, query, what kind of body it is, and the body. Of the headers nothing
/// else: a client's retry may come through another proxy.
fn fingerprint(options: &Options, request: &Request<Bytes>) -> Fingerprint {
    let body = request.body();
    let mut parts = Vec::with_capacity(body.len() + 256);
    let mut part = |bytes: &[u8]| {
        parts.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        parts.extend_from_slice(bytes);
    };
    let header = |name| {
        request
            .headers()
            .get(name)
            .map_or(&[][..], HeaderValue::as_bytes)
    };
    // A nested router cuts its own part off the target, and keeps the original aside.
    let original = request.extensions().get::<OriginalUri>();
    let uri = original.map_or(request.uri(), |original| &original.0);
    let host = if options.any_host {
        String::new()
    } else {
        host(uri, request)
    };
    part(host.as_bytes());
    let target = uri.path_and_query();
    part(target.map_or("/", |target| target.as_str()).as_bytes());
    let encoding = header(header::CONTENT_ENCODING);
    let kind = header(header::CONTENT_TYPE);
    let value = if options.json_as_value && encoding.is_empty() && is_json(kind) {
        json::canonical(body)
    } else {
        None
    };
    match value {
        Some(value) => {
            part(b"json");
            part(value.as_bytes());
        }
        None => {
            part(kind);
            part(encoding);
            part(body);
        }
    }
    Fingerprint::of_bytes(request.method().as_str(), &parts)
}

/// The host and port that the client named, as HTTP/2 or as HTTP/1 has them.
fn host(uri: &Uri, request: &Request<Bytes>) -> String {
    let named = uri.authority().or_else(|| request.uri().authority());
    let host = match named {
        // Without the name of a user.
        Some(authority) => {
            let whole = authority.as_str();
            let host = whole.rsplit_once('@').map_or(whole, |(_, host)| host);
            host.to_owned()
        }
        None => {
            let header = request.headers().get(header::HOST);
            let header = header.map_or(&[][..], HeaderValue::as_bytes);
            String::from_utf8_lossy(header).into_owned()
        }
    };
    host.to_ascii_lowercase()
}

/// Whether the media type is JSON, whatever its parameters.
fn is_json(kind: &[u8]) -> bool {
    let end = kind.iter().position(|byte| *byte == b';');
    let kind = kind[..end.unwrap_or(kind.len())].trim_ascii();
    let kind = kind.to_ascii_lowercase();
    kind == b"application/json" || kind.ends_with(b"+json")
}

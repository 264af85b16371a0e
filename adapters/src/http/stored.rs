//! A response as a receipt, and back: a line of JSON with status and headers, then the body's bytes.

use bytes::Bytes;
use exactly_once_core::{Error, ErrorKind, Outcome, Receipt, Result};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::problem::of_error;

/// Says that a response is a stored one.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

#[derive(Serialize, Deserialize)]
struct Head {
    /// The format's version.
    v: u8,
    status: u16,
    headers: Vec<(String, String)>,
}

/// The response with its headers of these names.
pub(super) fn receipt(response: &Response<Bytes>, keep: &[HeaderName]) -> Result<Receipt> {
    let headers = response.headers().iter();
    let headers = headers
        .filter(|(name, _)| keep.contains(name))
        // A value is bytes, not UTF-8: byte by byte as U+0000 to U+00FF, and back the same way.
        .map(|(name, value)| {
            let value = value.as_bytes().iter().map(|byte| char::from(*byte));
            (name.as_str().to_owned(), value.collect())
        });
    let head = Head {
        v: 1,
        status: response.status().as_u16(),
        headers: headers.collect(),
    };
    let mut bytes = serde_json::to_vec(&head).map_err(|error| unreadable().with_source(error))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(response.body());
    Ok(Receipt::from_bytes(bytes))
}

/// The stored response, marked as such; a problem where what is stored is no response.
pub(super) fn replay(outcome: Outcome, documentation: Option<&str>) -> Response<Bytes> {
    let response = match outcome {
        Outcome::Applied(receipt) => read(receipt),
        // Recorded by a call that used the key without this layer.
        Outcome::Rejected(rejection) => Err(Error::rejected(rejection, "replay", "http")),
    };
    let mut response = response.unwrap_or_else(|error| of_error(&error, documentation));
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

fn read(receipt: Receipt) -> Result<Response<Bytes>> {
    let bytes = receipt.into_bytes();
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or_else(unreadable)?;
    let head: Head =
        serde_json::from_slice(&bytes[..end]).map_err(|error| unreadable().with_source(error))?;
    if head.v != 1 {
        return Err(unreadable());
    }
    let mut response = Response::new(bytes.slice(end + 1..));
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| unreadable())?;
    for (name, value) in head.headers {
        let value: Option<Vec<u8>> = value.chars().map(|part| u8::try_from(part).ok()).collect();
        let value = HeaderValue::from_bytes(&value.ok_or_else(unreadable)?);
        let name = HeaderName::from_bytes(name.as_bytes());
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(unreadable());
        };
        response.headers_mut().append(name, value);
    }
    Ok(response)
}

fn unreadable() -> Error {
    Error::new(ErrorKind::Forgotten, "replay", "http").with_message(
        "the request took effect, but what is stored under its key is no response of this layer",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_TYPE, LINK, SET_COOKIE};

    #[test]
    fn a_response_comes_back_as_it_was() {
        let body: Vec<u8> = (0..=255).collect();
        let mut response = Response::new(Bytes::from(body.clone()));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.append(LINK, HeaderValue::from_static("<a>; rel=\"b\""));
        headers.append(LINK, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.append(SET_COOKIE, HeaderValue::from_static("secret"));
        let receipt = receipt(&response, &[LINK, CONTENT_TYPE]).unwrap();
        let back = replay(Outcome::Applied(receipt), None);
        assert_eq!(back.status(), StatusCode::CREATED);
        let links: Vec<_> = back.headers().get_all(LINK).into_iter().collect();
        assert_eq!(links[0], "<a>; rel=\"b\"");
        assert_eq!(links[1].as_bytes(), b"caf\xe9");
        assert!(!back.headers().contains_key(SET_COOKIE), "not asked for");
        assert_eq!(back.headers()[REPLAYED], "true");
        assert_eq!(back.body().as_ref(), body);
    }

    #[test]
    fn what_is_no_response_is_said() {
        for bytes in [
            "",
            "{}",
            "{}\n",
            "17\nx",
            "{\"v\":2,\"status\":200,\"headers\":[]}\n",
        ] {
            let back = replay(Outcome::Applied(Receipt::from_bytes(bytes)), None);
            assert_eq!(back.status(), StatusCode::GONE, "{bytes}");
        }
    }
}

//! The one walk along an error's `source()` chain: what the user's own error type means.
//!
//! A handler's error is often an enum of its own, around a [`Rejection`], an [`Error`] of this crate
//! or an error of the driver. Each keeps its meaning, however deep it lies. A transparent wrapper
//! (thiserror's `#[error(transparent)]`, anyhow) hides the error that it wraps and shows that one's
//! source, so a [`Rejection`] and an [`Error`] have a source that stands for them.

use std::error::Error as StdError;

use crate::{
    error::{Body, BoxError, Error, ErrorKind},
    rejection::{Reason, Rejection},
};

/// Against a chain that ends in itself.
const LONGEST: usize = 64;

type Link<'a> = &'a (dyn StdError + 'static);

/// The links of a chain, each with the one that wraps it.
fn links(source: &BoxError) -> impl Iterator<Item = (Link<'_>, Option<Link<'_>>)> {
    let mut next: Option<(Link<'_>, Option<Link<'_>>)> = Some((&**source, None));
    std::iter::from_fn(move || {
        let (link, wrapper) = next?;
        next = link.source().map(|source| (source, Some(link)));
        Some((link, wrapper))
    })
    .take(LONGEST)
}

/// The rejection or the store's error in a chain, whichever is nearest to its begin; otherwise the
/// chain itself.
pub(crate) fn own(
    source: BoxError,
    operation: &'static str,
    store: &'static str,
) -> Result<Error, BoxError> {
    let source = match source.downcast::<Error>() {
        Ok(error) => return Ok(*error),
        Err(source) => source,
    };
    let found = links(&source).find_map(|(link, _)| {
        if let Some(rejection) = link.downcast_ref::<Rejection>() {
            return Some(Error::rejected(rejection.clone(), operation, store));
        }
        if let Some(reason) = link.downcast_ref::<Reason>() {
            return Some(Error::rejected(reason.clone().into(), operation, store));
        }
        let body = match link.downcast_ref::<Error>() {
            Some(error) => error.body(),
            None => link.downcast_ref::<Body>()?,
        };
        Some(body.again())
    });
    match found {
        // A rejection is its own source.
        Some(error) if error.rejection().is_some() => Ok(error),
        Some(error) => Ok(error.with_hidden_source(source)),
        None => Err(source),
    }
}

/// What an error of the user's work means, for adapters: see
/// [`Transactional::classify`](crate::Transactional::classify).
///
/// `driver` says what *one* error means that is the driver's own, and `None` of any other. Its second
/// argument is the error around it, if there is one: a transparent wrapper around a driver's error
/// shows the driver's text, and only what that error has as its source.
pub fn classify(
    operation: &'static str,
    store: &'static str,
    source: BoxError,
    driver: impl Fn(Link<'_>, Option<Link<'_>>) -> Option<Error>,
) -> Error {
    let source = match own(source, operation, store) {
        Ok(error) => return error,
        Err(source) => source,
    };
    let found = links(&source).find_map(|(link, wrapper)| driver(link, wrapper));
    match found {
        Some(error) => error.with_hidden_source(source),
        None => Error::new(ErrorKind::WorkFailed, operation, store).with_source(source),
    }
}

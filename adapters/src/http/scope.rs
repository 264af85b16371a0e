//! Which client a key belongs to, and the name under which the store keeps it.

use std::{fmt, sync::Arc};

use exactly_once_core::{IdempotencyKey, InvalidName, Namespace};
use http::{StatusCode, request::Parts};
use sha2::{Digest, Sha256};

use super::{IdempotencyKeyLayer, options::Options};

/// What every stored key of a request begins with.
const PREFIX: &str = "http:";
/// What it begins with where scope and key are too long for a name.
const DIGEST: &str = "http#";

/// Finds the client of a request.
pub(super) type FindScope = dyn Fn(&Parts) -> Result<Namespace, StatusCode> + Send + Sync;

/// A layer that still needs its scope: say [`scope`](Self::scope), or
/// [`unscoped`](Self::unscoped).
///
/// It is not a layer yet, so that a service can't share one space of keys between its clients by
/// omission:
///
/// ```compile_fail,E0277
/// # use exactly_once::{http::IdempotencyKeyLayer, memory::MemoryStore};
/// # fn layer(_: impl tower_layer::Layer<()>) {}
/// layer(IdempotencyKeyLayer::transactional(MemoryStore::new()));
/// ```
///
/// ```
/// # #[cfg(feature = "memory")] {
/// # use exactly_once::{http::IdempotencyKeyLayer, memory::MemoryStore};
/// # fn layer(_: impl tower_layer::Layer<()>) {}
/// layer(IdempotencyKeyLayer::transactional(MemoryStore::new()).unscoped());
/// # }
/// ```
#[derive(Clone)]
#[must_use = "say `.scope(…)` or `.unscoped()`"]
pub struct NeedsScope<F>(pub(super) F);

impl<F> NeedsScope<F> {
    /// Gives each client a space of keys of its own: two clients that send the same key and the
    /// same request make two effects, and neither reads the other's response.
    ///
    /// An outer (authentication) layer must already have identified the client. The layer refuses a
    /// request for which `scope` returns a status, with that status.
    pub fn scope(
        self,
        scope: impl Fn(&Parts) -> Result<Namespace, StatusCode> + Send + Sync + 'static,
    ) -> IdempotencyKeyLayer<F> {
        let scope: Arc<FindScope> = Arc::new(scope);
        IdempotencyKeyLayer::new(self.0, Options::new(Some(scope)))
    }

    /// Lets all clients share one space of keys: for a service with one client, or whose clients
    /// trust one another. A client that sends another one's key and request reads its response, and
    /// makes no effect of its own.
    pub fn unscoped(self) -> IdempotencyKeyLayer<F> {
        IdempotencyKeyLayer::new(self.0, Options::new(None))
    }
}

impl<F> fmt::Debug for NeedsScope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NeedsScope")
    }
}

/// The key under which the store keeps a request's key, in the namespace of the layer's store:
/// `http:3:ann:8e03978e` for the key `8e03978e` of the client `ann`, `http::8e03978e` without a
/// scope, and `http#` with a digest where that is longer than a name may be.
///
/// Use it to look a client's key up, or to forget it. Because all scopes share the store's
/// namespace, [`expire`](exactly_once_core::IdempotencyStore::expire) covers them all. No key that
/// a client sends can take a key of the service's own, as long as those do not begin with `http:`
/// or `http#`.
///
/// ```
/// use exactly_once::{IdempotencyKey, Namespace, http::stored_key};
///
/// let key = IdempotencyKey::new("8e03978e")?;
/// let ann = Namespace::new("ann")?;
/// assert_eq!(stored_key(Some(&ann), &key)?.as_str(), "http:3:ann:8e03978e");
/// assert_eq!(stored_key(None, &key)?.as_str(), "http::8e03978e");
/// # Ok::<(), exactly_once::InvalidName>(())
/// ```
///
/// # Errors
/// None for names that are valid: the digest always fits.
pub fn stored_key(
    scope: Option<&Namespace>,
    key: &IdempotencyKey,
) -> Result<IdempotencyKey, InvalidName> {
    // The length keeps ("a", "b:c") and ("a:b", "c") apart.
    let scope = scope.map_or_else(String::new, |scope| {
        format!("{}:{scope}", scope.as_str().len())
    });
    let plain = format!("{PREFIX}{scope}:{key}");
    match IdempotencyKey::new(plain.as_str()) {
        Ok(key) => Ok(key),
        Err(_) => {
            let digest = hex::encode(Sha256::digest(plain.as_bytes()));
            IdempotencyKey::new(format!("{DIGEST}{digest}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_and_key_run_into_others() {
        let long = "x".repeat(255);
        let scopes = [
            None,
            Some("a"),
            Some("a:b"),
            Some("1:a"),
            Some("a:"),
            Some(":"),
            Some(&long),
        ];
        let keys = [
            "k", "b:k", ":k", "a:k", "1:a:k", "3:a:b:k", "http::k", "#k", &long,
        ];
        let mut stored = std::collections::HashSet::new();
        for scope in scopes {
            for key in keys {
                let scope = scope.map(|scope| Namespace::new(scope).unwrap());
                let key = IdempotencyKey::new(key).unwrap();
                let name = stored_key(scope.as_ref(), &key).unwrap();
                assert!(name.as_str().starts_with("http"));
                assert!(stored.insert(name), "{scope:?} {key}");
            }
        }
    }
}

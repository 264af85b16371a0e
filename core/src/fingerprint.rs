//! What was asked under a key, so that a key reused for another request is told apart.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind};

/// 32 bytes over an operation's name and its canonical request.
///
/// Two requests have the same fingerprint exactly when the operation name and the request are
/// equal (field order aside). A key that comes with another fingerprint than the one it was first
/// used with is a *mismatch*, and the stored receipt is not given away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Over the operation's name and the request as serde sees it.
    ///
    /// The request is hashed in a canonical form: map keys sorted, every part tagged and prefixed
    /// with its length, so no two different requests run into one another.
    ///
    /// ```
    /// # use exactly_once_core::Fingerprint;
    /// let a = Fingerprint::of("charge", &("alice", 500))?;
    /// assert_eq!(a, Fingerprint::of("charge", &("alice", 500))?);
    /// assert_ne!(a, Fingerprint::of("charge", &("alice", 501))?);
    /// assert_ne!(a, Fingerprint::of("refund", &("alice", 500))?);
    /// # Ok::<(), exactly_once_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the request can't be serialised (a map with keys that are no
    /// strings, say). Retrying can't help.
    pub fn of(operation: &str, request: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        let request = serde_json::to_value(request).map_err(|error| {
            Error::new(ErrorKind::Invalid, "fingerprint", "core")
                .with_message("the request can't be serialised, so it can't be fingerprinted")
                .with_source(error)
        })?;
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/fingerprint/1");
        part(&mut hash, b'o', operation.as_bytes());
        absorb(&mut hash, &request);
        Ok(Self(hash.finalize().into()))
    }

    /// Over the operation's name and bytes that are canonical already.
    #[must_use]
    pub fn of_bytes(operation: &str, request: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/fingerprint/1");
        part(&mut hash, b'o', operation.as_bytes());
        part(&mut hash, b'b', request);
        Self(hash.finalize().into())
    }

    /// A fingerprint that was stored, or that the caller computes by rules of its own.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A tagged, length-prefixed part: no concatenation of parts equals another one.
fn part(hash: &mut Sha256, tag: u8, bytes: &[u8]) {
    hash.update([tag]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn absorb(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Null => part(hash, b'n', &[]),
        Value::Bool(flag) => part(hash, b't', &[u8::from(*flag)]),
        Value::Number(number) => part(hash, b'#', number.to_string().as_bytes()),
        Value::String(text) => part(hash, b's', text.as_bytes()),
        Value::Array(items) => {
            part(hash, b'a', &(items.len() as u64).to_be_bytes());
            items.iter().for_each(|item| absorb(hash, item));
        }
        Value::Object(fields) => {
            part(hash, b'm', &(fields.len() as u64).to_be_bytes());
            // Sorted here: another crate may switch serde_json's map to insertion order.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            for (name, field) in fields {
                part(hash, b'k', name.as_bytes());
                absorb(hash, field);
            }
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn parts_do_not_run_into_one_another() {
        let of = |operation: &str, request: &[&str]| Fingerprint::of(operation, request).unwrap();
        assert_ne!(of("a", &["b", "c"]), of("a", &["bc"]));
        assert_ne!(of("a", &["b", "c"]), of("ab", &["c"]));
        assert_ne!(of("a", &[]), of("a", &[""]));
        assert_ne!(
            Fingerprint::of("a", &1).unwrap(),
            Fingerprint::of("a", "1").unwrap()
        );
        assert_ne!(
            Fingerprint::of("a", &()).unwrap(),
            Fingerprint::of("a", &false).unwrap()
        );
    }

    #[test]
    fn map_order_does_not_matter() {
        let one: HashMap<_, _> = (0..50).map(|i| (i.to_string(), i)).collect();
        let two: HashMap<_, _> = (0..50).rev().map(|i| (i.to_string(), i)).collect();
        assert_eq!(
            Fingerprint::of("a", &one).unwrap(),
            Fingerprint::of("a", &two).unwrap()
        );
    }

    #[test]
    fn what_cannot_be_serialised_is_invalid() {
        let odd: HashMap<(u8, u8), u8> = [((1, 2), 3)].into();
        let error = Fingerprint::of("a", &odd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

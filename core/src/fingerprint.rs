//! What was asked under a key, so that a key reused for another request is found out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};

use crate::{
    canonical::{Canonical, Sequences},
    error::{Error, ErrorKind},
};

/// Begins every hash, so that no other digest of the same bytes is a fingerprint.
const DOMAIN: &[u8] = b"exactly-once/fingerprint/1";

/// 32 bytes over an operation's name and its canonical request.
///
/// A key that comes with another fingerprint than the one it was first used with is a *mismatch*,
/// and the stored receipt is not given away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Over the operation's name and the request as serde sees it.
    ///
    /// Two requests of one type have the same fingerprint exactly when serde writes the same of
    /// both. No feature of any crate, and no order of a map, changes it.
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
    /// # What a request may hold
    /// Any type that serde serialises: numbers up to 128 bits, floats, maps with keys of any type.
    /// To ensure correctness, a retry must build the same request. So it must hold
    /// - no `HashSet`: serde sees a sequence, and its order differs from run to run. Use a
    ///   `BTreeSet`, or sort into a `Vec`. (A `HashMap` is fine: maps are sorted.)
    /// - no clock's or random value of the moment.
    ///
    /// # How a request type may grow
    /// A retry may meet the next version of the program. These changes keep the fingerprint of the
    /// requests that both versions can make:
    ///
    /// | change | keeps it |
    /// |---|---|
    /// | reorder fields; rename the type; a newtype around a value; `flatten` | yes |
    /// | a wider integer (`u32` to `u64` or `i128`), `f32` to `f64` | yes, for equal values |
    /// | a field `T` that becomes `Option<T>` | yes, for `Some` |
    /// | a new field `Option<T>` with `#[serde(default, skip_serializing_if = "Option::is_none")]` | yes, for `None` |
    /// | a new field without `skip_serializing_if`, also one that is `None` | no |
    /// | rename or remove a field or a variant; an integer that becomes a float or text | no |
    ///
    /// For a change that can't keep it, make the request that is fingerprinted a type of its own,
    /// apart from the type that the handler receives, and leave that one alone.
    ///
    /// # Canonical form
    /// SHA-256 over `exactly-once/fingerprint/1`, then `o`, the length and the bytes of the
    /// operation's name, then the request. A length is 8 bytes, big-endian. A value is:
    ///
    /// | serde's | bytes |
    /// |---|---|
    /// | `()`, unit struct | `u` |
    /// | `None` | `n`, preceded by an `S` for each `Some` around it |
    /// | `Some` around anything else, newtype struct | as the value inside |
    /// | `true`, `false` | `t`, `f` |
    /// | integers of all sizes | `i` and 17 bytes: two's complement, big-endian |
    /// | floats | `d` and the 8 bytes of the double, big-endian; each NaN is `7ff8000000000000` |
    /// | text, `char` | `s`, length, UTF-8 |
    /// | bytes | `b`, length, bytes |
    /// | sequences, tuples, tuple structs | `a`, the items, `e` |
    /// | maps, structs | `m`, the entries (key, value; a field's name is text) sorted by their bytes, `e` |
    /// | enum variants | `v`, length and bytes of the name, then the content: `u`, a value, a sequence or a map |
    ///
    /// A `serde_json` number that is text (`arbitrary_precision`) is the integer or the double of
    /// that value; one that neither holds exactly is `N`, length, `digits` `e` `exponent`.
    /// `core/tests/fingerprint_vectors.json` has test vectors for other languages.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the request's own `Serialize` refuses (a path that is not UTF-8,
    /// say). Retrying can't help.
    pub fn of(operation: &str, request: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        Canonical::new(begin(operation), Sequences::Ordered)
            .digest(request)
            .map(Self)
            .map_err(|error| {
                Error::new(ErrorKind::Invalid, "fingerprint", "core").with_message(format!(
                    "the request can't be serialised, so it can't be fingerprinted: {error}"
                ))
            })
    }

    /// Over the operation's name and bytes that are canonical already: the fingerprint of a request
    /// that is these bytes to serde.
    #[must_use]
    pub fn of_bytes(operation: &str, request: &[u8]) -> Self {
        let mut hash = begin(operation);
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

fn begin(operation: &str) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(DOMAIN);
    part(&mut hash, b'o', operation.as_bytes());
    hash
}

/// A tagged, length-prefixed part: no concatenation of parts equals another one.
fn part(hash: &mut Sha256, tag: u8, bytes: &[u8]) {
    hash.update([tag]);
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// 64 hexadecimal digits.
impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = || D::Error::custom("a fingerprint has 64 hexadecimal digits");
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(digits());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(at * 2..at * 2 + 2).ok_or_else(digits)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| digits())?;
        }
        Ok(Self(bytes))
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
    fn what_is_nothing_is_not_all_one() {
        let of = |value: &dyn Fn() -> Result<Fingerprint, Error>| value().unwrap();
        let distinct = [
            of(&|| Fingerprint::of("a", &())),
            of(&|| Fingerprint::of("a", &None::<u8>)),
            of(&|| Fingerprint::of("a", &Some(None::<u8>))),
            of(&|| Fingerprint::of("a", &Some(Some(None::<u8>)))),
            of(&|| Fingerprint::of("a", &f64::NAN)),
            of(&|| Fingerprint::of("a", &f64::INFINITY)),
            of(&|| Fingerprint::of("a", &f64::NEG_INFINITY)),
            of(&|| Fingerprint::of("a", &0.0)),
            of(&|| Fingerprint::of("a", &-0.0)),
            of(&|| Fingerprint::of("a", &0)),
            of(&|| Fingerprint::of("a", "")),
            of(&|| Fingerprint::of("a", &[0_u8; 0])),
            of(&|| Fingerprint::of("a", &HashMap::<u8, u8>::new())),
        ];
        let set: std::collections::HashSet<_> = distinct.iter().collect();
        assert_eq!(set.len(), distinct.len());
    }

    #[test]
    fn a_fingerprint_is_read_back_from_its_digits() {
        let print = Fingerprint::of("a", &1).unwrap();
        let text = serde_json::to_string(&print).unwrap();
        assert_eq!(text.len(), 66);
        assert_eq!(serde_json::from_str::<Fingerprint>(&text).unwrap(), print);
        for odd in ["\"\"", "\"zz\"", "7", &text.replace('"', "\"0")] {
            assert!(serde_json::from_str::<Fingerprint>(odd).is_err(), "{odd}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn what_cannot_be_serialised_is_invalid() {
        use std::os::unix::ffi::OsStrExt as _;
        let odd = std::path::Path::new(std::ffi::OsStr::from_bytes(b"\xff"));
        let error = Fingerprint::of("a", odd).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("UTF-8"), "{error}");
    }
}

//! Names: the strings that say *which* namespace, effect, account or transaction is meant.
//!
//! Every name is UTF-8, 1 to [`MAX_NAME_BYTES`] **bytes** long, checked when it is made, compared
//! byte by byte, and never folded, trimmed, normalised or cut. NUL is refused, because some
//! databases can't store it in text. Two names that differ in any byte are two names: `"é"` in NFC
//! and in NFD, `"a"` and `"a "`, `"A"` and `"a"` are all distinct.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest name, in bytes of UTF-8 (not characters).
///
/// It is a limit of our own: a database's own limit depends on the content (PostgreSQL's index
/// takes 100,000 times `a` and refuses 2,736 random bytes), so it could not be relied upon.
pub const MAX_NAME_BYTES: usize = 255;

/// Why a string is no name. Found before any I/O; retrying the same string can't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidName {
    /// The name has no byte at all.
    #[error("the {what} is empty; it needs 1 to {MAX_NAME_BYTES} bytes")]
    Empty {
        /// Which name was refused, as `"idempotency key"`.
        what: &'static str,
    },
    /// The name is longer than [`MAX_NAME_BYTES`].
    #[error(
        "the {what} is {length} bytes long; the limit is {MAX_NAME_BYTES} bytes of UTF-8. \
         Use a digest of the long value as the name"
    )]
    TooLong {
        /// Which name was refused.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The name holds U+0000.
    #[error("the {what} holds a NUL byte at offset {offset}; NUL is refused in names")]
    Nul {
        /// Which name was refused.
        what: &'static str,
        /// Where the first NUL is, in bytes.
        offset: usize,
    },
    /// The bytes are no UTF-8.
    #[error("the {what} is not UTF-8: the first {valid_up_to} bytes are, the next one is not")]
    NotUtf8 {
        /// Which name was refused.
        what: &'static str,
        /// How many leading bytes are valid.
        valid_up_to: usize,
    },
}

fn check(what: &'static str, name: &str) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::Empty { what });
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(InvalidName::TooLong {
            what,
            length: name.len(),
        });
    }
    match name.bytes().position(|byte| byte == 0) {
        Some(offset) => Err(InvalidName::Nul { what, offset }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// UTF-8, 1 to [`MAX_NAME_BYTES`] bytes, no NUL; compared byte by byte. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks the name and keeps it as it is.
            ///
            /// # Errors
            /// [`InvalidName`] says what is wrong and what the limit is. Nothing is trimmed or cut.
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check($what, &name)?;
                Ok(Self(name.into()))
            }

            /// Checks bytes that come from outside, a header or another language.
            ///
            /// # Errors
            /// [`InvalidName::NotUtf8`], or as [`Self::new`].
            pub fn from_bytes(name: &[u8]) -> Result<Self, InvalidName> {
                match std::str::from_utf8(name) {
                    Ok(name) => Self::new(name),
                    Err(error) => Err(InvalidName::NotUtf8 {
                        what: $what,
                        valid_up_to: error.valid_up_to(),
                    }),
                }
            }

            /// The name, byte for byte as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({:?})"), &*self.0)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl TryFrom<&str> for $type {
            type Error = InvalidName;
            fn try_from(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name!(
    /// A tenant or service: keys, accounts and transactions of two namespaces never meet.
    Namespace,
    "namespace"
);
name!(
    /// Names **one logical effect**, and is the same on every retry of it.
    ///
    /// To ensure exactly-once, a retry must bring the very same key: a key computed again on each
    /// attempt (a fresh UUID, a timestamp) makes each attempt an effect of its own.
    ///
    /// ```
    /// # use exactly_once_core::IdempotencyKey;
    /// let key = IdempotencyKey::new("charge/order-17")?;
    /// assert_eq!(key.as_str(), "charge/order-17");
    /// assert!(IdempotencyKey::new("").is_err());
    /// # Ok::<(), exactly_once_core::InvalidName>(())
    /// ```
    IdempotencyKey,
    "idempotency key"
);
name!(
    /// Names one account of a balance store.
    AccountId,
    "account id"
);
name!(
    /// Names one two-phase transaction, the same for all of its participants and on every retry.
    TransactionId,
    "transaction id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_bytes_and_exact() {
        assert!(IdempotencyKey::new("k".repeat(MAX_NAME_BYTES)).is_ok());
        assert_eq!(
            IdempotencyKey::new("k".repeat(MAX_NAME_BYTES + 1)),
            Err(InvalidName::TooLong {
                what: "idempotency key",
                length: MAX_NAME_BYTES + 1
            })
        );
        // 128 characters, 256 bytes
        assert!(IdempotencyKey::new("é".repeat(128)).is_err());
        assert_eq!(
            AccountId::new(""),
            Err(InvalidName::Empty { what: "account id" })
        );
    }

    #[test]
    fn nul_and_broken_utf8_are_refused_where_they_stand() {
        assert_eq!(
            Namespace::new("ab\0c"),
            Err(InvalidName::Nul {
                what: "namespace",
                offset: 2
            })
        );
        assert_eq!(
            TransactionId::from_bytes(b"ab\xff"),
            Err(InvalidName::NotUtf8 {
                what: "transaction id",
                valid_up_to: 2
            })
        );
    }

    #[test]
    fn serde_checks_as_well() {
        assert!(serde_json::from_str::<Namespace>("\"\"").is_err());
        let name = Namespace::new("a b%_\u{202e}").unwrap();
        let text = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<Namespace>(&text).unwrap(), name);
    }
}

//! The stored answer of an effect, given again byte for byte on every retry.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, ErrorKind};

/// The largest receipt by default, in bytes (1 MiB).
pub const MAX_RECEIPT_BYTES: usize = 1024 * 1024;

/// What an effect answered: opaque bytes, JSON by default.
///
/// Every later attempt and every other observer of the same key gets the same bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Receipt(Bytes);

impl Receipt {
    /// Keeps the bytes as they are; all 256 byte values are allowed, also no byte at all.
    ///
    /// The length is checked by the store, before the effect is committed.
    #[must_use]
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The value as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the value can't be serialised.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, Error> {
        serde_json::to_vec(value)
            .map(|bytes| Self(bytes.into()))
            .map_err(|error| {
                Error::new(ErrorKind::Invalid, "receipt", "core")
                    .with_message("the receipt can't be serialised as JSON")
                    .with_source(error)
            })
    }

    /// The value that was stored by [`Receipt::json`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the stored bytes are no such value: the type was changed in a
    /// way that can't read what an older version of the program stored. The effect *was* applied.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::new(ErrorKind::Invalid, "receipt", "core")
                .with_message(
                    "the effect was applied, but its stored receipt does not read as the type \
                     asked for: keep receipt types backwards compatible",
                )
                .with_source(error)
        })
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No byte at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses a receipt over the limit; stores call it before they write anything.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] with the size and the limit.
    pub fn check_size(
        &self,
        limit: usize,
        operation: &'static str,
        store: &'static str,
    ) -> Result<(), Error> {
        if self.0.len() <= limit {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TooLarge, operation, store).with_message(format!(
            "the receipt has {} bytes, the limit is {limit}: store the large part in a table of \
             your own and return its key",
            self.0.len()
        )))
    }
}

/// The length only: a receipt may hold what does not belong in a log.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} bytes)", self.0.len())
    }
}

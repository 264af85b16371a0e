//! The stored answer of an effect, given again byte for byte on every retry.

use std::{any::type_name, fmt};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};

use crate::{
    canonical::{Canonical, NoForm, Sequences},
    error::{Error, ErrorKind},
};

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

    /// The value as JSON, once it is certain that it reads back.
    ///
    /// ```
    /// # use exactly_once_core::Receipt;
    /// assert_eq!(Receipt::json("paid")?.decode::<String>()?, "paid");
    /// assert!(Receipt::json(&f64::NAN).is_err());
    /// # Ok::<(), exactly_once_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Receipt::of`].
    pub fn json<T>(value: &T) -> Result<Self, Error>
    where
        T: Serialize + ToOwned<Owned: Serialize + DeserializeOwned> + ?Sized,
    {
        Self::read_back::<T, T::Owned>(value).map(|(receipt, _)| receipt)
    }

    /// The value as JSON, and the value as it reads back: the one to answer with, since every retry
    /// will get it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] where the value does not survive: it can't be written (a map with keys
    /// that are no text), does not read back (`f64::NAN`, a 128-bit integer inside a tagged enum, a
    /// field that `flatten` doubles, more than 120 levels), or reads back as another one
    /// (`Some(None)`, `Some(f64::NAN)`).
    pub fn of<T: Serialize + DeserializeOwned>(value: &T) -> Result<(Self, T), Error> {
        Self::read_back(value)
    }

    fn read_back<T, U>(value: &T) -> Result<(Self, U), Error>
    where
        T: Serialize + ?Sized,
        U: Serialize + DeserializeOwned,
    {
        let bytes = serde_json::to_vec(value).map_err(|error| lost::<T>(&error))?;
        if depth(&bytes) > MAX_DEPTH {
            return Err(lost::<T>(&format_args!("it nests deeper than {MAX_DEPTH}")));
        }
        let back: U = serde_json::from_slice(&bytes).map_err(|error| lost::<T>(&why(&error)))?;
        // Not the bytes of both: a `HashMap` iterates in another order each time it is made.
        if form(value).map_err(|error| lost::<T>(&error))?
            != form(&back).map_err(|error| lost::<T>(&error))?
        {
            return Err(lost::<T>(&"it reads back as another value"));
        }
        Ok((Self(bytes.into()), back))
    }

    /// For an effect outside the database that has happened, though its value can't be stored: the
    /// key is kept, and each retry reports why there is no value.
    #[must_use]
    pub fn without_value(reason: &Error) -> Self {
        let reason = reason.text();
        // Small, so that it fits where the value did not.
        let reason = &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)];
        Self(format!("{WITHOUT_VALUE}{reason}").into())
    }

    /// The value that was stored by [`Receipt::json`].
    ///
    /// # Errors
    /// - [`ErrorKind::Unreadable`] where the stored bytes are no such value: the type was changed in a
    ///   way that can't read what an older version of the program stored. The effect *was* applied;
    ///   a version that reads it gets the value.
    /// - [`ErrorKind::Forgotten`] of a receipt [without a value](Self::without_value): the effect was
    ///   applied, and no version ever gets its value.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.0).map_err(|error| self.undecoded::<T>(&error))
    }

    fn undecoded<T>(&self, error: &serde_json::Error) -> Error {
        if let Some(reason) = self.0.strip_prefix(WITHOUT_VALUE.as_bytes()) {
            let reason = String::from_utf8_lossy(reason);
            return Error::new(ErrorKind::Forgotten, "receipt", "core").with_message(format!(
                "the effect was applied, and its value could not be stored: {reason}"
            ));
        }
        Error::new(ErrorKind::Unreadable, "receipt", "core").with_message(format!(
            "the effect was applied, but its stored receipt does not read as `{}` ({}): deploy a \
             version whose type reads it, with a default for each new field",
            type_name::<T>(),
            why(error)
        ))
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

/// Begins a receipt without a value; no JSON begins like this.
const WITHOUT_VALUE: &str = "\0applied without a value: ";

/// How much of the reason such a receipt keeps.
const MAX_REASON_BYTES: usize = 512;

/// How deep a value may nest. What serde_json reads ends at 127, and a journal keeps the value inside of
/// some of its own: what it could not give back would be retried for ever.
const MAX_DEPTH: usize = 120;

/// How deep the lists and objects of a text of JSON nest.
fn depth(json: &[u8]) -> usize {
    // Each level has a beginning and an end.
    if json.len() < 2 * MAX_DEPTH {
        return 0;
    }
    let (mut open, mut most) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' if !quoted => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// What serde writes of a value, apart from the order of maps and sets.
fn form(value: &(impl Serialize + ?Sized)) -> Result<[u8; 32], NoForm> {
    Canonical::new(Sha256::new(), Sequences::Sorted).digest(value)
}

fn lost<T: ?Sized>(why: &dyn fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, "receipt", "core").with_message(format!(
        "the value of type `{}` does not survive being stored as JSON, so it can't be the receipt: \
         {why}",
        type_name::<T>()
    ))
}

/// Where reading failed; not the text of the error, which may quote what was read.
fn why(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!("line {} column {}", error.line(), error.column());
    match text
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split_once('`'))
    {
        Some((field, _)) => format!("missing field `{field}`, {place}"),
        None => place,
    }
}

/// The length only: a receipt may hold what does not belong in a log.
impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use serde::Deserialize;

    use super::*;
    use crate::engine::Settled;

    fn refused<T: Serialize + DeserializeOwned + fmt::Debug>(value: &T) {
        let error = Receipt::of(value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{value:?}");
    }

    fn kept<T: Serialize + DeserializeOwned + fmt::Debug + PartialEq>(value: &T) {
        let (receipt, back) = Receipt::of(value).unwrap();
        assert_eq!(&back, value);
        assert_eq!(&receipt.decode::<T>().unwrap(), value);
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "type")]
    enum Tagged {
        Big { number: u128 },
        Small { number: f64 },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Doubled {
        id: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }

    #[test]
    fn what_does_not_survive_is_refused() {
        refused(&f64::NAN);
        refused(&f64::INFINITY);
        refused(&Some(f64::NAN));
        refused(&Some(None::<u8>));
        refused(&vec![None, Some(None::<u8>)]);
        refused(&Some(()));
        refused(&HashMap::from([((1, 2), 3)]));
        refused(&Tagged::Big { number: 7 });
        refused(&Doubled {
            id: 1,
            rest: BTreeMap::from([("id".to_owned(), 2)]),
        });
    }

    #[test]
    fn what_survives_is_kept() {
        for number in [0.1, 0.3, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e23] {
            kept(&number);
            kept(&Tagged::Small { number });
        }
        kept(&f32::MAX);
        kept(&i128::MIN);
        kept(&u128::MAX);
        kept(&Some(Some(7)));
        kept(
            &(0..200)
                .map(|i| (i, i.to_string()))
                .collect::<HashMap<_, _>>(),
        );
        kept(&(0..200).collect::<HashSet<_>>());
        kept(&"\0\u{1F4B3}\u{fffd}".to_owned());
    }

    #[test]
    fn what_a_journal_can_not_give_back_is_refused() {
        let nested = |levels| {
            (0..levels).fold(serde_json::json!("[\\\"[["), |inner, _| {
                serde_json::json!([inner, "]]"])
            })
        };
        for levels in [1, 119, 120] {
            let (_, value) = Receipt::of(&nested(levels)).unwrap();
            let journal = serde_json::to_vec(&Settled::Value(value)).unwrap();
            let read: Settled<serde_json::Value> = serde_json::from_slice(&journal).unwrap();
            assert_eq!(read.into_result().unwrap(), nested(levels));
        }
        for levels in [121, 127, 500] {
            refused(&nested(levels));
        }
    }

    #[test]
    fn a_receipt_that_this_program_cannot_read_was_applied_all_the_same() {
        #[derive(Debug, Deserialize)]
        struct Later {
            currency: String,
        }
        let receipt = Receipt::from_bytes("{\"secret\":4711}");
        let read = receipt.decode().map(|later: Later| later.currency);
        let error = read.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unreadable);
        assert!(
            error.to_string().contains("missing field `currency`"),
            "{error}"
        );
        let error = receipt.decode::<u8>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
        let error = Receipt::from_bytes("\"4711\"").decode::<u8>().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("4711"), "{error}");
    }

    #[test]
    fn a_receipt_without_a_value_says_so() {
        let reason = Receipt::of(&f64::NAN).unwrap_err();
        let error = Receipt::without_value(&reason).decode::<f64>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forgotten);
        assert!(error.to_string().contains("was applied"), "{error}");
        assert!(error.to_string().contains("f64"), "{error}");
    }
}

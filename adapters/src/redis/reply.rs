//! What a script answers: a word, then what belongs to it.

use std::sync::Arc;

use exactly_once_core::{Error, Timestamp};
use redis::Value;

use super::error::{Effect, from_driver, unexpected};

/// The run of the server that gave an answer, where it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Origin(Option<Arc<str>>);

impl Origin {
    pub(super) fn new(run: Option<&String>) -> Self {
        Self(run.map(|run| Arc::from(run.as_str())))
    }

    /// Whether both may be the same.
    pub(super) fn may_be(&self, other: &Self) -> bool {
        self.0.is_none() || other.0.is_none() || self == other
    }
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Nothing,
    Bytes(Vec<u8>),
    List(Vec<Item>),
}

impl Item {
    fn from_value(operation: &'static str, value: Value, effect: Effect) -> Result<Self, Error> {
        Ok(match value {
            Value::Nil => Self::Nothing,
            Value::Int(number) => Self::Bytes(number.to_string().into_bytes()),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(items) => Self::List(
                items
                    .into_iter()
                    .map(|item| Self::from_value(operation, item, effect))
                    .collect::<Result<_, _>>()?,
            ),
            Value::ServerError(error) => return Err(from_driver(operation, error.into(), effect)),
            other => return Err(unexpected(operation, &format!("{other:?}"))),
        })
    }

    pub(super) fn bytes(self) -> Option<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nothing | Self::List(_) => None,
        }
    }
}

/// The answer of a script.
#[derive(Debug)]
pub(super) struct Reply {
    operation: &'static str,
    pub(super) items: Vec<Item>,
    pub(super) origin: Origin,
}

impl Reply {
    pub(super) fn new(
        operation: &'static str,
        value: Value,
        effect: Effect,
        origin: Origin,
    ) -> Result<Self, Error> {
        match Item::from_value(operation, value, effect)? {
            Item::List(items) => Ok(Self {
                operation,
                items,
                origin,
            }),
            other => Err(unexpected(operation, &format!("{other:?}"))),
        }
    }

    /// The first word.
    pub(super) fn word(&self) -> &str {
        match self.items.first() {
            Some(Item::Bytes(bytes)) => std::str::from_utf8(bytes).unwrap_or_default(),
            _ => "",
        }
    }

    /// The bytes at a place; none where there are none.
    pub(super) fn bytes(&self, at: usize) -> &[u8] {
        match self.items.get(at) {
            Some(Item::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// The text at a place, for people: whatever bytes there are.
    pub(super) fn lossy(&self, at: usize) -> String {
        String::from_utf8_lossy(self.bytes(at)).into_owned()
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, Error> {
        std::str::from_utf8(self.bytes(at)).map_err(|_| self.unexpected())
    }

    pub(super) fn integer(&self, at: usize) -> Result<i64, Error> {
        self.text(at)?.parse().map_err(|_| self.unexpected())
    }

    pub(super) fn time(&self, at: usize) -> Result<Timestamp, Error> {
        self.integer(at).map(Timestamp::from_micros)
    }

    /// All that follows the first `skip` parts, as bytes.
    pub(super) fn rest(self, skip: usize) -> Vec<Vec<u8>> {
        self.items
            .into_iter()
            .skip(skip)
            .filter_map(Item::bytes)
            .collect()
    }

    /// The error for an answer that is not known here.
    pub(super) fn unexpected(&self) -> Error {
        unexpected(self.operation, self.word())
    }
}

//! The types that a configuration names.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The type of a parameter, as a configuration declares it: `int8`, `timestamptz`, `text[]`.
///
/// It has PostgreSQL's names, the short ones and those of the SQL standard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum ValueType {
    /// `bool`.
    Bool,
    /// `int2`: 16 bits.
    Int2,
    /// `int4`: 32 bits.
    Int4,
    /// `int8`: 64 bits.
    Int8,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `text`; an enum.
    Text,
    /// `bytea`.
    Bytes,
    /// `uuid`.
    Uuid,
    /// `numeric`.
    Numeric,
    /// `timestamptz`.
    Timestamp,
    /// `timestamp`.
    DateTime,
    /// `date`.
    Date,
    /// `time`.
    Time,
    /// `json`, `jsonb`.
    Json,
    /// An array of another type: `text[]`.
    Array(Box<ValueType>),
}

/// A name of no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no type `{0}`; there are: bool, int2, int4, int8, float4, float8, text, bytea, uuid, \
     numeric, timestamptz, timestamp, date, time, json, and each with [] as an array"
)]
pub struct UnknownType(String);

impl FromStr for ValueType {
    type Err = UnknownType;
    fn from_str(name: &str) -> Result<Self, UnknownType> {
        let name = name.trim();
        if let Some(item) = name.strip_suffix("[]") {
            return match item.parse::<Self>() {
                Ok(item) => Ok(Self::Array(Box::new(item))),
                Err(_) => Err(UnknownType(name.to_owned())),
            };
        }
        Ok(match name.to_ascii_lowercase().as_str() {
            "bool" | "boolean" => Self::Bool,
            "int2" | "smallint" => Self::Int2,
            "int4" | "int" | "integer" => Self::Int4,
            "int8" | "bigint" => Self::Int8,
            "float4" | "real" => Self::Float4,
            "float8" | "double precision" => Self::Float8,
            "text" | "varchar" | "character varying" => Self::Text,
            "bytea" | "blob" => Self::Bytes,
            "uuid" => Self::Uuid,
            "numeric" | "decimal" => Self::Numeric,
            "timestamptz" | "timestamp with time zone" => Self::Timestamp,
            "timestamp" | "timestamp without time zone" => Self::DateTime,
            "date" => Self::Date,
            "time" | "time without time zone" => Self::Time,
            "json" | "jsonb" => Self::Json,
            _ => return Err(UnknownType(name.to_owned())),
        })
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Text => "text",
            Self::Bytes => "bytea",
            Self::Uuid => "uuid",
            Self::Numeric => "numeric",
            Self::Timestamp => "timestamptz",
            Self::DateTime => "timestamp",
            Self::Date => "date",
            Self::Time => "time",
            Self::Json => "json",
            Self::Array(item) => return write!(f, "{item}[]"),
        })
    }
}

impl TryFrom<String> for ValueType {
    type Error = UnknownType;
    fn try_from(name: String) -> Result<Self, UnknownType> {
        name.parse()
    }
}

impl From<ValueType> for String {
    fn from(declared: ValueType) -> Self {
        declared.to_string()
    }
}

//! A request: its body as typed values, or what is wrong with it. Nothing is guessed: a number stays a
//! number, a text a text.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::config::{Field, Handler, KEY, Template};
use crate::{Error, ErrorKind, IdempotencyKey, Returning, Statement, Value};

const OPERATION: &str = "serve";

/// What a caller asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// The caller's own name of the effect.
    pub(super) key: Option<IdempotencyKey>,
    /// Every parameter of the handler; what may be left out and was is NULL.
    values: BTreeMap<String, Value>,
}

impl Request {
    /// Reads a body.
    ///
    /// # Errors
    /// - [Too large](ErrorKind::TooLarge): above the limit, of which nothing was read.
    /// - [Invalid](ErrorKind::Invalid): no JSON object, an unknown, missing or doubled parameter, or one
    ///   that is not of its type. The message names the parameter and never shows a value.
    pub(super) fn read(handler: &Handler, body: &[u8], limit: usize) -> Result<Self, Error> {
        if body.len() > limit {
            return Err(
                Error::new(ErrorKind::TooLarge, OPERATION, "request").with_message(format!(
                    "the request has {} bytes, the limit is {limit} (max_body_bytes)",
                    body.len()
                )),
            );
        }
        let Fields(mut fields) = match body.trim_ascii().is_empty() {
            true => Fields::default(),
            false => serde_json::from_slice(body).map_err(|error| unread(&error))?,
        };
        let key = match fields.remove(KEY) {
            None => None,
            Some(_) if !handler.takes_key() => return Err(no_key(handler)),
            Some(raw) => key(&raw)?,
        };
        let mut values = BTreeMap::new();
        for parameter in &handler.parameters {
            let raw = fields.remove(&parameter.name);
            let value = value(parameter, raw.as_deref())?;
            values.insert(parameter.name.clone(), value);
        }
        match fields.pop_first() {
            None => Ok(Self { key, values }),
            Some((name, _)) => Err(unknown(handler, &name)),
        }
    }

    /// What the effect depends on, for its fingerprint. A parameter that is NULL is left out, so one that
    /// the configuration gets later changes no request that lacks it.
    pub(super) fn of(&self) -> BTreeMap<&str, serde_json::Value> {
        let given = self
            .values
            .iter()
            .filter(|(_, value)| **value != Value::Null);
        given
            .map(|(name, value)| (name.as_str(), value.to_json()))
            .collect()
    }

    /// The statement with the values that it names.
    pub(super) fn bind(&self, template: &Template) -> Statement {
        let mut statement = Statement::named(template.sql.as_str());
        for name in &template.names {
            let value = self.values.get(name).cloned().unwrap_or(Value::Null);
            statement = statement.bind_named(name, value);
        }
        if let Some(rows) = template.rows {
            statement = statement.expecting_rows(rows);
        }
        match &template.returns {
            Some(returns) => statement.returning(Returning::rows(returns.max_rows)),
            None => statement,
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Invalid, OPERATION, "request").with_message(message)
}

/// Not the text of the error, which may quote the body.
fn unread(error: &serde_json::Error) -> Error {
    let text = error.to_string();
    if let Some(doubled) = text.strip_prefix(DOUBLED) {
        let name = doubled.split(" at line ").next().unwrap_or_default();
        return invalid(format!("{DOUBLED}{name}"));
    }
    invalid(format!(
        "the request is no JSON object of parameters (line {}, column {})",
        error.line(),
        error.column()
    ))
}

fn key(raw: &RawValue) -> Result<Option<IdempotencyKey>, Error> {
    let text: Option<String> = serde_json::from_str(raw.get())
        .map_err(|_| invalid("`key` must be a text of 1 to 255 bytes, or left out"))?;
    text.map(|text| IdempotencyKey::new(text).map_err(|error| invalid(format!("`key`: {error}"))))
        .transpose()
}

fn value(parameter: &Field, raw: Option<&RawValue>) -> Result<Value, Error> {
    let Field { name, of, optional } = parameter;
    let Some(raw) = raw else {
        return match optional {
            true => Ok(Value::Null),
            false => Err(invalid(format!("the parameter `{name}` ({of}) is missing"))),
        };
    };
    let value = Value::from_json(raw, of)
        .map_err(|error| invalid(format!("the parameter `{name}`: {error}")))?;
    if value == Value::Null && !optional {
        return Err(invalid(format!(
            "the parameter `{name}` ({of}) is null, which the configuration allows for `{of}?` only"
        )));
    }
    Ok(value)
}

fn unknown(handler: &Handler, name: &str) -> Error {
    let known: Vec<_> = handler
        .parameters
        .iter()
        .map(|parameter| parameter.name.as_str())
        .collect();
    let known = match known.is_empty() {
        true => "none".to_owned(),
        false => known.join(", "),
    };
    let name: String = name
        .chars()
        .filter(|char| !char.is_control())
        .take(64)
        .collect();
    invalid(format!(
        "unknown parameter `{name}`; {} `{}` takes: {known}",
        handler.kind(),
        handler.name
    ))
}

fn no_key(handler: &Handler) -> Error {
    invalid(format!(
        "{} `{}` takes no `key`: {}",
        handler.kind(),
        handler.name,
        match handler.kind() {
            "transaction" =>
                "its name and deadlines belong to one invocation; send an idempotency key to Restate",
            _ => "it changes nothing",
        }
    ))
}

/// An object of JSON whose values are read by their types; one name twice is refused.
#[derive(Default)]
struct Fields(BTreeMap<String, Box<RawValue>>);

const DOUBLED: &str = "a parameter is given twice: ";

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.insert(name.clone(), value).is_some() {
                        let name: String = name.chars().take(64).collect();
                        return Err(A::Error::custom(format!("{DOUBLED}`{name}`")));
                    }
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

//! What a handler takes and answers, as JSON Schema for Restate's discovery.

use serde_json::{Map, Value, json};

use super::config::{Answer, Field, Handler, KEY};
use crate::ValueType;

/// The schema of a request.
pub(super) fn of_request(handler: &Handler) -> Value {
    let mut properties = properties(&handler.parameters);
    if handler.takes_key() {
        let key = json!({
            "type": "string", "minLength": 1, "maxLength": 255,
            "description": "The caller's own name of this effect: another invocation with the same key is \
                            the same effect. Left out, the effect belongs to its invocation."
        });
        properties.insert(KEY.to_owned(), key);
    }
    let required: Vec<_> = handler
        .parameters
        .iter()
        .filter(|parameter| !parameter.optional)
        .map(|parameter| parameter.name.as_str())
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The schema of an answer.
pub(super) fn of_answer(answer: &Answer) -> Value {
    match answer {
        Answer::Nothing => json!({ "type": "null" }),
        Answer::Row(columns) => row(columns),
        Answer::Optional(columns) => json!({ "anyOf": [row(columns), { "type": "null" }] }),
        Answer::Rows(columns) => json!({ "type": "array", "items": row(columns) }),
    }
}

fn row(columns: &[Field]) -> Value {
    let names: Vec<_> = columns.iter().map(|column| column.name.as_str()).collect();
    json!({ "type": "object", "properties": properties(columns), "required": names })
}

fn properties(fields: &[Field]) -> Map<String, Value> {
    fields
        .iter()
        .map(|field| {
            let schema = of_type(&field.of);
            let schema = match field.optional {
                true => json!({ "anyOf": [schema, { "type": "null" }] }),
                false => schema,
            };
            (field.name.clone(), schema)
        })
        .collect()
}

fn of_type(of: &ValueType) -> Value {
    let text = |format: &str| json!({ "type": "string", "format": format });
    let whole = |bits: u32| {
        let most = (1_i64 << (bits - 2)) - 1 + (1_i64 << (bits - 2));
        json!({ "type": "integer", "minimum": -most - 1, "maximum": most })
    };
    match of {
        ValueType::Int2 => whole(16),
        ValueType::Int4 => whole(32),
        ValueType::Int8 => whole(64),
        ValueType::Float4 | ValueType::Float8 => json!({ "type": "number" }),
        ValueType::Bool => json!({ "type": "boolean" }),
        ValueType::Numeric => {
            json!({ "type": "string", "description": "a decimal number, as 12.50" })
        }
        ValueType::Uuid => text("uuid"),
        ValueType::Timestamp => text("date-time"),
        // RFC 3339 has no date-time without a zone.
        ValueType::DateTime => json!({ "type": "string", "description": "as 2026-01-31T12:00:00" }),
        ValueType::Date => text("date"),
        ValueType::Time => text("time"),
        ValueType::Json => json!({}),
        ValueType::Bytes => json!({ "type": "string", "description": "bytes, as \\x0a1b" }),
        ValueType::Array(item) => json!({ "type": "array", "items": of_type(item) }),
        _ => json!({ "type": "string" }),
    }
}

//! What must hold of all that we write into SQL, whatever it is made of. The test
//! `postgres_quoting` runs it on a fixed list of inputs, the fuzz target of the same name on any.

use exactly_once_core::{Fingerprint, Namespace, Participation, Timestamp, TransactionId, Value};

use crate::{
    identifier::{GidPrefix, check_schema, quote},
    literal,
};

/// Panics where the input would reach the server as anything but itself.
pub fn check(input: &[u8]) {
    bytes(input);
    let text = String::from_utf8_lossy(input);
    schema(&text);
    parameter(&Value::Text(text.clone().into_owned()));
    parameter(&Value::Bytes(input.to_vec().into()));
    let mut number = [0; 8];
    for (to, from) in number.iter_mut().zip(input) {
        *to = *from;
    }
    parameter(&Value::Integer(i64::from_le_bytes(number)));
    parameter(&Value::Float(f64::from_le_bytes(number)));
    identifier(&text, i64::from_le_bytes(number));
}

/// Between the first quote and the last there is nothing but hexadecimal, and it is the input.
fn bytes(input: &[u8]) {
    let sql = literal::bytes(input);
    let hex = sql
        .strip_prefix("pg_catalog.decode('")
        .and_then(|rest| rest.strip_suffix("','hex')"))
        .expect("the literal's form");
    assert_eq!(literal::unhex(hex).as_deref(), Some(input));
    assert!(hex.bytes().all(|digit| digit.is_ascii_hexdigit()), "{hex}");
}

/// Read as the server reads it: up to the first double quote that is not doubled.
fn schema(name: &str) {
    if check_schema(name).is_err() {
        return;
    }
    let quoted = quote(name);
    let mut read = String::new();
    let mut letters = quoted.strip_prefix('"').expect("a quote").chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if letters.as_str().starts_with('"') => {
                letters.next();
                read.push('"');
            }
            '"' => break,
            other => read.push(other),
        }
    }
    assert_eq!(letters.as_str(), "", "the name ends too soon: {quoted}");
    assert_eq!(read, name);
    assert!(name.len() <= 63 && !name.contains('\0'));
}

/// An escape string with neither quotes nor anything that a setting gives a meaning to.
fn parameter(value: &Value) {
    let sql = literal::untyped(value);
    let inner = sql
        .strip_prefix("E'")
        .and_then(|rest| rest.strip_suffix('\''))
        .expect("the literal's form");
    let mut read = String::new();
    let mut rest = inner;
    while let Some(letter) = rest.chars().next() {
        let length = if letter == '\\' {
            let digits = rest.get(2..10).expect("eight digits");
            assert!(rest.starts_with("\\U"), "{sql}");
            let code = u32::from_str_radix(digits, 16).expect("hexadecimal");
            read.push(char::from_u32(code).expect("a letter"));
            10
        } else {
            assert!(matches!(letter, ' '..='~') && letter != '\'', "{sql}");
            read.push(letter);
            1
        };
        rest = &rest[length..];
    }
    match value {
        Value::Text(text) => assert_eq!(read, *text),
        Value::Integer(number) => assert_eq!(read.parse(), Ok(*number)),
        Value::Float(number) if number.is_nan() => assert_eq!(read, "NaN"),
        Value::Float(number) => assert_eq!(read.parse(), Ok(*number)),
        Value::Bytes(bytes) => assert_eq!(read, format!("\\x{}", literal::hex(bytes))),
        _ => {}
    }
}

/// Short and plain, and it reads back.
fn identifier(name: &str, moment: i64) {
    let (Ok(transaction), Ok(namespace)) = (TransactionId::new(name), Namespace::new(name)) else {
        return;
    };
    let prefix = GidPrefix::new(name, name, namespace.as_str());
    let fingerprint = Fingerprint::of("fuzz", name).expect("a fingerprint");
    let (not_after, forget_after) = (moment.min(i64::MAX - 1), i64::MAX);
    let Ok(participation) = Participation::new(
        &transaction,
        fingerprint,
        Timestamp::from_micros(not_after),
        Timestamp::from_micros(forget_after),
    ) else {
        return;
    };
    let gid = prefix.gid(&participation);
    assert!(gid.len() <= 199, "{} bytes: {gid}", gid.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_-".contains(&byte);
    assert!(gid.bytes().all(plain), "{gid}");
    assert_eq!(prefix.parse(&gid), Some(participation));
    assert_eq!(GidPrefix::new("", "", "").parse(&gid), None);
}

//! One-shot statements: commands of Redis, as writes that can be checked before they are applied.

use exactly_once_core::{ErrorKind, Result, Statement, Value, adapter::Word};

use super::{
    commands::{Verb, Write},
    error::error,
};

/// Statements as writes, each with the number of its statement.
pub(super) fn writes_of(statements: &[Statement], operation: &'static str) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for (at, statement) in (1..).zip(statements) {
        let parsed = parse(statement)
            .map_err(|message| error(ErrorKind::Refused, operation).with_message(message))?;
        writes.extend(parsed.into_iter().map(|write| Write {
            statement: at,
            ..write
        }));
    }
    Ok(writes)
}

const SUPPORTED: &str = "SET key value [NX|XX] [EX|PX|EXAT|PXAT time|KEEPTTL], DEL, INCR, DECR, INCRBY, DECRBY, HSET, HDEL, \
                         HINCRBY, SADD, SREM, RPUSH and ZADD key score member";

/// A command: the words of the text, then the parameters.
fn parse(statement: &Statement) -> std::result::Result<Vec<Write>, String> {
    // Refusals name the command, so it comes from the text: a parameter may be a secret.
    if !matches!(statement.words().next(), Some(Word::Written(_))) {
        return Err("an empty statement".to_owned());
    }
    let words: Vec<Vec<u8>> = statement
        .words()
        .map(|word| match word {
            Word::Written(word) => word.as_bytes().to_vec(),
            Word::Bound(value) => bytes_of(value),
        })
        .collect();
    let (name, rest) = words.split_first().ok_or("an empty statement")?;
    let name = String::from_utf8_lossy(name).to_ascii_uppercase();
    let (key, rest) = rest
        .split_first()
        .ok_or_else(|| format!("{name} needs a key"))?;
    let one = |verb, a: &[u8], b: &[u8]| vec![Write::new(verb, key.as_slice(), a, b)];
    let each = |verb| -> Vec<Write> {
        rest.iter()
            .map(|item| Write::new(verb, key.as_slice(), item.as_slice(), []))
            .collect()
    };
    let writes = match (name.as_str(), rest) {
        ("SET", [value]) => one(Verb::Set, value, b""),
        ("SET", [value, options @ ..]) => one(Verb::Set, value, &set_options(options)?),
        ("DEL", _) => std::iter::once(key)
            .chain(rest)
            .map(|key| Write::new(Verb::Del, key.as_slice(), [], []))
            .collect(),
        ("INCR", []) => one(Verb::Incr, b"1", b""),
        ("DECR", []) => one(Verb::Incr, b"-1", b""),
        ("INCRBY", [delta]) => one(Verb::Incr, &integer(delta)?, b""),
        ("DECRBY", [delta]) => one(Verb::Incr, &negated(delta)?, b""),
        ("HSET", [_, _, ..]) if rest.len().is_multiple_of(2) => rest
            .chunks_exact(2)
            .map(|pair| Write::new(Verb::HSet, key.as_slice(), nth(pair, 0), nth(pair, 1)))
            .collect(),
        ("HINCRBY", [field, delta]) => one(Verb::HIncr, field, &integer(delta)?),
        ("HDEL", [_, ..]) => each(Verb::HDel),
        ("SADD", [_, ..]) => each(Verb::SAdd),
        ("SREM", [_, ..]) => each(Verb::SRem),
        ("RPUSH", [_, ..]) => each(Verb::RPush),
        ("ZADD", [_, _, ..]) if rest.len().is_multiple_of(2) => {
            let mut writes = Vec::new();
            for pair in rest.chunks_exact(2) {
                writes.push(Write::new(
                    Verb::ZAdd,
                    key.as_slice(),
                    nth(pair, 1),
                    score(nth(pair, 0))?,
                ));
            }
            writes
        }
        _ => {
            return Err(format!(
                "{name} with {} arguments can't be checked before it is applied; what can: \
                 {SUPPORTED}",
                rest.len() + 1
            ));
        }
    };
    Ok(writes)
}

fn nth(words: &[Vec<u8>], at: usize) -> &[u8] {
    words.get(at).map(Vec::as_slice).unwrap_or_default()
}

/// As the scripts take them: a condition, then how long the value stays, as `NX PX 5000`.
fn set_options(words: &[Vec<u8>]) -> std::result::Result<Vec<u8>, String> {
    let (mut condition, mut stays) = (String::new(), String::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let word = String::from_utf8_lossy(word).to_ascii_uppercase();
        match word.as_str() {
            "NX" | "XX" if condition.is_empty() => condition = word,
            "KEEPTTL" if stays.is_empty() => stays = word,
            "EX" | "PX" | "EXAT" | "PXAT" if stays.is_empty() => {
                let time = number(words.next().map(Vec::as_slice).unwrap_or_default())?;
                // The server takes no more milliseconds than this, counted from 1970.
                let unit = if word.starts_with('E') { 1000 } else { 1 };
                let most = i64::MAX / 2;
                if !(1..=most / unit).contains(&time) {
                    return Err(format!(
                        "SET with {word} and a number that is no time to live"
                    ));
                }
                stays = format!("{word} {time}");
            }
            _ => return Err("SET with an option that it does not take here".to_owned()),
        }
    }
    Ok(match stays.is_empty() {
        true => condition,
        false => format!("{condition} {stays}"),
    }
    .into_bytes())
}

fn number(word: &[u8]) -> std::result::Result<i64, String> {
    std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "a delta that is no 64-bit integer".to_owned())
}

/// As Redis prints it: no plus sign, no leading zero.
fn integer(word: &[u8]) -> std::result::Result<Vec<u8>, String> {
    number(word).map(|number| number.to_string().into_bytes())
}

fn negated(word: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let negated = number(word)?
        .checked_neg()
        .ok_or("a delta that can't be negated")?;
    Ok(negated.to_string().into_bytes())
}

/// A score as Redis reads it back, refused where it is no number.
fn score(word: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let score: Option<f64> = std::str::from_utf8(word)
        .ok()
        .and_then(|text| text.parse().ok());
    match score {
        Some(score) if score.is_finite() => Ok(score.to_string().into_bytes()),
        _ => Err("a score that is no finite number".to_owned()),
    }
}

fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Bool(flag) => vec![if *flag { b'1' } else { b'0' }],
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Float(number) => number.to_string().into_bytes(),
        Value::Text(text) => text.clone().into_bytes(),
        Value::Bytes(bytes) => bytes.to_vec(),
        // NULL has none: the empty string.
        value => value.as_text().unwrap_or_default().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_cannot_be_checked_is_refused_by_name() {
        assert!(
            parse(&Statement::new("EVAL return").bind("x"))
                .unwrap_err()
                .contains("EVAL")
        );
        assert!(parse(&Statement::new("INCRBY k 1.5")).is_err());
        assert!(parse(&Statement::new("ZADD k nan m")).is_err());
        assert!(parse(&Statement::new("")).is_err());
        assert_eq!(parse(&Statement::new("incrby k +05")).unwrap()[0].a, b"5");
        assert_eq!(parse(&Statement::new("DEL a b")).unwrap().len(), 2);
        let options = |text: &str| parse(&Statement::new(text)).map(|writes| writes[0].b.clone());
        assert_eq!(options("set k v ex 60 nx").unwrap(), b"NX EX 60");
        assert_eq!(options("set k v KEEPTTL").unwrap(), b" KEEPTTL");
        for wrong in ["set k v ex 0", "set k v ex", "set k v nx xx", "set k v get"] {
            assert!(options(wrong).is_err(), "{wrong}");
        }
    }
}

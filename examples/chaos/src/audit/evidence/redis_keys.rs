//! What Redis holds, by plain commands.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use redis::{AsyncCommands, aio::MultiplexedConnection};

use super::{Change, Held, KeyRow, KeyState};
use crate::{
    model::{Line, NAMESPACE, Row},
    service::rows::LISTS,
};

/// Keys of the library are `exactly-once:{tag}:length:namespace:kind:name`; on one node, the tag is
/// the same for all.
const OWN: &str = "exactly-once:{*}:";

pub(super) async fn read(url: &str) -> Result<Held> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut held = Held::default();
    for list in 0..LISTS {
        let entries: Vec<String> = connection.lrange(format!("effects:{list}"), 0, -1).await?;
        for entry in entries {
            held.rows
                .push(row(&entry).with_context(|| format!("no row: {entry}"))?);
        }
    }
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query_async(&mut connection).await?;
    let now = seconds * 1_000_000 + micros;
    for (name, fields) in hashes(&mut connection, "key").await? {
        held.keys.push(KeyRow {
            key: name,
            state: state(&fields, now),
        });
    }
    for (name, fields) in hashes(&mut connection, "account").await? {
        let number = |field: &str| -> Result<i64> {
            Ok(fields.get(field).context("no such field")?.parse()?)
        };
        held.accounts.insert(name, (number("a")?, number("v")?));
    }
    for (account, lines) in hashes(&mut connection, "history").await? {
        for (version, text) in &lines {
            let change = change(&account, version, text);
            held.history
                .push(change.with_context(|| format!("no line: {text}"))?);
        }
    }
    held.history.sort_by(|one, other| {
        let place = |change: &Change| (change.line.account.clone(), change.line.version);
        place(one).cmp(&place(other))
    });
    held.operations = Some(applied(&mut connection).await?);
    Ok(held)
}

/// Operations that were applied: behind the fingerprint, the record of a refusal begins with `!`.
async fn applied(connection: &mut MultiplexedConnection) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (key, name) in names(connection, "operation").await? {
        let record: Vec<u8> = connection.get(&key).await?;
        if record.get(32) != Some(&b'!') {
            found.push(name);
        }
    }
    Ok(found)
}

/// The keys of one kind, whole and as names.
async fn names(
    connection: &mut MultiplexedConnection,
    kind: &str,
) -> Result<Vec<(String, String)>> {
    let middle = format!("{}:{NAMESPACE}:{kind}:", NAMESPACE.len());
    // The server is at rest.
    let keys: Vec<String> = connection.keys(format!("{OWN}{middle}*")).await?;
    Ok(keys
        .into_iter()
        .filter_map(|key| {
            let name = key.split_once(&middle)?.1.to_owned();
            Some((key, name))
        })
        .collect())
}

async fn hashes(
    connection: &mut MultiplexedConnection,
    kind: &str,
) -> Result<Vec<(String, BTreeMap<String, String>)>> {
    let mut found = Vec::new();
    for (key, name) in names(connection, kind).await? {
        let fields: BTreeMap<String, Vec<u8>> = connection.hgetall(&key).await?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = fields
            .into_iter()
            .map(|(field, value)| (field, text(value)));
        found.push((name, fields.collect()));
    }
    Ok(found)
}

/// `s` is the state, `o` the outcome, `d` the deadline of a lease.
fn state(fields: &BTreeMap<String, String>, now: i64) -> KeyState {
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    match field("s").as_str() {
        "A" => KeyState::Applied(field("o")),
        "J" => KeyState::Rejected(field("o")),
        _ => KeyState::Leased {
            over: field("d")
                .parse::<i64>()
                .is_ok_and(|deadline| deadline <= now),
        },
    }
}

fn row(entry: &str) -> Option<Row> {
    let mut words = entry.split(' ');
    Some(Row {
        name: words.next()?.to_owned(),
        amount: words.next()?.parse().ok()?,
        stamp: words.next()?.parse().ok()?,
    })
}

/// `kind|delta|before|after|key`.
fn change(account: &str, version: &str, text: &str) -> Option<Change> {
    let mut words = text.splitn(5, '|').skip(1);
    let (delta, before, after) = (words.next()?, words.next()?, words.next()?);
    Some(Change {
        key: words.next()?.to_owned(),
        line: Line {
            account: account.to_owned(),
            version: version.parse().ok()?,
            delta: delta.parse().ok()?,
            before: before.parse().ok()?,
            after: after.parse().ok()?,
        },
    })
}

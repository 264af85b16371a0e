//! Quoting, on many inputs without a server, and on some with one.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(feature = "tokio-postgres")]

// The sources themselves: what they make is private to the adapter.
#[path = "../src/postgres/base64.rs"]
mod base64;
#[path = "../src/postgres/identifier.rs"]
mod identifier;
#[path = "../src/postgres/literal.rs"]
mod literal;
#[path = "support/postgres_quoting.rs"]
mod quoting;
#[path = "support/postgres_world.rs"]
mod world;

use exactly_once_core::Value;
use tokio_postgres::{NoTls, SimpleQueryMessage};
use world::world;

/// What inputs are put together from.
const PARTS: [&[u8]; 24] = [
    b"'",
    b"''",
    b"\"",
    b"\"\"",
    b"\\",
    b"\\'",
    b"\\\\",
    b"--",
    b"/*",
    b"*/",
    b";",
    b"$$",
    b"$1",
    b"E'",
    b"U&\"",
    b"\0",
    b"\n",
    b"%",
    b":",
    "é".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{1f600}".as_bytes(),
    b"\xff\xfe",
    b"a7",
];

/// The inputs of a seed, the same on every run.
fn inputs(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    (0..count).map(move |_| {
        let length = draw(24);
        let mut input = Vec::new();
        for _ in 0..length {
            input.extend_from_slice(PARTS[draw(PARTS.len())]);
        }
        input
    })
}

#[test]
fn nothing_gets_out_of_its_quotes() {
    for input in inputs(20_000) {
        quoting::check(&input);
    }
    for byte in 0..=255 {
        quoting::check(&[byte]);
        quoting::check(&[byte; 255]);
    }
}

// The server reads names and values as they were meant, whatever it holds of backslashes.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_reads_what_was_written() {
    let world = world().await;
    let (client, connection) = tokio_postgres::connect(&world.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    for setting in ["on", "off"] {
        let set = format!("SET standard_conforming_strings = {setting}");
        client.batch_execute(&set).await.unwrap();
        for input in inputs(400) {
            let text = String::from_utf8_lossy(&input).replace('\0', "");
            let name: String = text.chars().take(15).collect();
            if identifier::check_schema(&name).is_err() {
                continue;
            }
            let sql = format!(
                "SELECT encode({}, 'hex') AS {}, {}, {}",
                literal::bytes(&input),
                identifier::quote(&name),
                literal::text(&text),
                literal::untyped(&Value::Text(text.clone())),
            );
            let messages = client.simple_query(&sql).await.unwrap();
            let row = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let row = row.unwrap();
            assert_eq!(row.columns()[0].name(), name);
            assert_eq!(row.get(0), Some(&*literal::hex(&input)));
            assert_eq!([row.get(1), row.get(2)], [Some(&*text), Some(&*text)]);
        }
    }
}

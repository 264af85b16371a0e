//! A consumer of an at-least-once queue: the message's own number is the key, and a message is
//! acknowledged after the commit, also when it is a replay.
//! `cargo run -p exactly-once --example queue_consumer --features rusqlite`. `examples/queue` is the same
//! on Redis Streams, under kills.
#![allow(clippy::print_stdout)]

use std::path::Path;

use exactly_once::{
    Advice, Claim, ExecuteOnce, Fingerprint, IdempotencyKey, Result,
    sqlite::{SqliteStore, SqliteTx},
};

/// As its producer made it; the queue may deliver it more than once.
#[derive(Clone, serde::Serialize)]
pub(crate) struct Message {
    /// The producer's number: the same in each delivery.
    pub number: u64,
    /// What is paid.
    pub cents: i64,
}

/// What the consumer does with a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Done, now or earlier.
    Acknowledge,
    /// It can never succeed: for a person to look at.
    PutAside,
    /// It may succeed later, or its outcome is not known yet: the queue delivers it again.
    Leave,
}

/// Handles one delivery.
pub(crate) async fn consume(store: &SqliteStore, message: &Message) -> Result<Delivery> {
    let key = IdempotencyKey::new(format!("message/{}", message.number))?;
    let claim = Claim::new(key, Fingerprint::of("pay", message)?);
    let cents = message.cents;
    let done = store
        .execute_once(&claim, async move |tx: &mut SqliteTx| {
            let insert = "INSERT INTO payment (cents) VALUES (?1)";
            tx.run(move |db| db.execute(insert, [cents])).await?;
            Ok(())
        })
        .await;
    Ok(match done {
        Ok(_) => Delivery::Acknowledge,
        Err(error) => match error.kind().advice() {
            Advice::Retry { .. } | Advice::RetrySameKey => Delivery::Leave,
            _ => Delivery::PutAside,
        },
    })
}

/// A new file with the table of payments, none of which may be negative.
pub(crate) fn create(file: &Path) -> rusqlite::Result<()> {
    let table = "CREATE TABLE payment (cents INTEGER NOT NULL CHECK (cents > 0)) STRICT";
    rusqlite::Connection::open(file)?.execute_batch(table)
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("shop.db");
    create(&file)?;
    let store = SqliteStore::open(&file).await?;
    for (number, cents) in [(1, 500), (2, -1), (1, 500)] {
        let message = Message { number, cents };
        println!("message {number}: {:?}", consume(&store, &message).await?);
    }
    Ok(())
}

//! Two statements and a decision of your own in one exactly-once transaction on Postgres:
//! `DATABASE_URL=postgres://… cargo run -p exactly-once --example postgres_closure --features tokio-postgres`.
#![allow(clippy::print_stdout)]

use exactly_once::{
    Claim, Error, ExecuteOnce, Fingerprint, IdempotencyKey, Rejection,
    postgres::{TokioPostgresStore, TokioPostgresTx},
};

/// The first statement takes a seat, the second one books it. Without a free seat the request is
/// rejected, and each retry gets the same rejection.
pub(crate) async fn book(store: &TokioPostgresStore, guest: &str) -> Result<i64, Error> {
    let key = IdempotencyKey::new(format!("book/{guest}"))?;
    let claim = Claim::new(key, Fingerprint::of("book", guest)?);
    let guest = guest.to_owned();
    let done = store
        .execute_once(&claim, async move |tx: &mut TokioPostgresTx| {
            let take = "UPDATE seat SET taken = true WHERE id = (SELECT id FROM seat \
                        WHERE NOT taken ORDER BY id LIMIT 1 FOR UPDATE) RETURNING id";
            let Some(row) = tx.client()?.query_opt(take, &[]).await? else {
                return Err(Rejection::new(409, "no seat is free").into());
            };
            let seat: i64 = row.try_get(0)?;
            let write = "INSERT INTO booking (seat, guest) VALUES ($1, $2)";
            tx.client()?.execute(write, &[&seat, &guest]).await?;
            Ok(seat)
        })
        .await?;
    Ok(done.value)
}

/// The two tables, with one free seat.
pub(crate) const TABLES: &str = "CREATE TABLE IF NOT EXISTS seat (id int8 PRIMARY KEY, taken bool NOT NULL); \
     CREATE TABLE IF NOT EXISTS booking (seat int8 PRIMARY KEY, guest text NOT NULL); \
     INSERT INTO seat VALUES (1, false) ON CONFLICT DO NOTHING";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var("DATABASE_URL")?;
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    client.batch_execute(TABLES).await?;
    let store = TokioPostgresStore::builder(url).connect().await?;
    for guest in ["alice", "alice", "bob"] {
        match book(&store, guest).await {
            Ok(seat) => println!("{guest} has seat {seat}"),
            Err(error) => println!("{guest}: {error}"),
        }
    }
    Ok(())
}

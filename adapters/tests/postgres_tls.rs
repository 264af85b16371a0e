//! TLS on a real server, by both drivers: what is asked for is what is had, or a configuration error.
// Not every target uses all of the support, and helpers of tests may panic as tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code
)]
#![cfg(all(feature = "tokio-postgres-tls", feature = "sqlx-postgres-tls"))]

#[path = "support/postgres_world.rs"]
mod world;

use exactly_once::{
    ErrorKind, Result, Transactional,
    postgres::{SqlxPostgresStore, TokioPostgresStore},
};
use exactly_once_servers::{Authority, Postgres};
use world::{major, refused, timeouts};

const SECRET: &str = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// Whether the connection is secret, through tokio-postgres.
async fn tokio(url: &str) -> Result<bool> {
    let builder = TokioPostgresStore::builder(url).timeouts(timeouts());
    let store = builder.connect().await?;
    let tx = store.begin().await?;
    let row = tx.client()?.query_one(SECRET, &[]).await.unwrap();
    Ok(row.get::<_, &str>(0) == "true")
}

/// The same through sqlx.
async fn sqlx(url: &str) -> Result<bool> {
    let builder = SqlxPostgresStore::builder(url).timeouts(timeouts());
    let store = builder.connect().await?;
    let mut tx = store.begin().await?;
    let secret: String = sqlx::query_scalar(SECRET)
        .fetch_one(tx.connection()?)
        .await
        .unwrap();
    Ok(secret == "true")
}

async fn is_secret(url: &str, expected: bool) {
    assert_eq!(tokio(url).await.unwrap(), expected, "tokio-postgres: {url}");
    assert_eq!(sqlx(url).await.unwrap(), expected, "sqlx: {url}");
}

/// Refused as a setting to fix, and without the password.
async fn is_refused(url: &str, word: &str) {
    for answer in [tokio(url).await, sqlx(url).await] {
        let error = answer.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("throwaway"), "the password is in {text}");
        refused::<()>(Err(error), ErrorKind::Configuration, &[word]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sslmode_asks_for_is_had() {
    let (ours, foreign) = (Authority::new().await, Authority::new().await);
    let (ours, foreign) = (ours.unwrap(), foreign.unwrap());
    let certificate = ours.issue("IP:127.0.0.1").await.unwrap();
    let server = Postgres::options(major())
        .certificate(&certificate)
        .start()
        .await
        .unwrap();
    let url = server.url();
    let with = |mode: &str, root: &Authority| {
        format!("{url}?sslmode={mode}&sslrootcert={}", root.file().display())
    };
    is_secret(&format!("{url}?sslmode=disable"), false).await;
    is_secret(&url, true).await;
    is_secret(&format!("{url}?sslmode=require"), true).await;
    is_secret(&with("verify-ca", &ours), true).await;
    is_secret(&with("verify-full", &ours), true).await;
    // Another's authority, or none of ours.
    is_refused(&with("verify-ca", &foreign), "certificate").await;
    is_refused(&with("verify-full", &foreign), "certificate").await;
    is_refused(&format!("{url}?sslmode=verify-full"), "certificate").await;
    // The right authority, another host's certificate.
    let by_name = |url: String| url.replace("127.0.0.1", "localhost");
    is_secret(&by_name(with("verify-ca", &ours)), true).await;
    is_refused(&by_name(with("verify-full", &ours)), "certificate").await;
    is_refused(
        &format!("{url}?sslmode=verify-full&sslrootcert=/nowhere"),
        "sslrootcert",
    )
    .await;
    is_refused(&format!("{url}?sslmode=nonsense"), "URL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_refused_where_it_is_asked_for() {
    let server = Postgres::start(major()).await.unwrap();
    let url = server.url();
    is_secret(&url, false).await;
    is_refused(&format!("{url}?sslmode=require"), "sslmode").await;
}

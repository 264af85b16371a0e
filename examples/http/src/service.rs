//! The router and its handlers.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use axum::{
    Extension, Json, Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn_with_state,
    response::Result as Answer,
    routing::{get, post},
};
use exactly_once::{
    Rejection, Transactional,
    http::{Attempt, IdempotencyKeyLayer, KeyedTx},
    observe::Observed,
    sqlite::SqliteStore,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};

use crate::crash::{AFTER_COMMIT, BEFORE_COMMIT, point};

/// The store, counted and in spans. Another backend: another type here, and another URL.
pub type Store = Observed<SqliteStore>;

/// How long a mail's key is held after a crash before a retry may send it again.
const LEASE: Duration = Duration::from_secs(30);

/// What is asked of `/payments`.
#[derive(Debug, Deserialize, Serialize)]
pub struct Payment {
    /// How much, in cents.
    pub cents: i64,
}

/// What `/payments` answers.
#[derive(Debug, Deserialize, Serialize)]
pub struct Receipt {
    /// The payment's number.
    pub payment: i64,
    /// How much, in cents.
    pub cents: i64,
}

/// Opens the database, and makes the service's own table.
///
/// # Errors
/// As the store has them.
pub async fn open(database: &Path) -> Result<Store> {
    let store = SqliteStore::open(database).await?;
    let mut tx = store.begin().await?;
    // No unique column on purpose: a payment that happened twice would be there twice.
    tx.run(|db| {
        db.execute_batch(
            "CREATE TABLE IF NOT EXISTS payment (number INTEGER PRIMARY KEY, cents INTEGER) STRICT",
        )
    })
    .await?;
    store.commit(tx).await?;
    Ok(Observed::new(store))
}

/// The whole service; mails are lines of a file. Its one client needs no scope: a service with
/// several gives each one of its own by `.scope(…)`.
pub fn router(store: Store, metrics: PrometheusHandle, outbox: PathBuf) -> Router {
    let payments = Router::new()
        .route("/payments", post(pay))
        .layer(from_fn_with_state(BEFORE_COMMIT, point))
        .layer(IdempotencyKeyLayer::transactional(store.clone()).unscoped())
        .layer(from_fn_with_state(AFTER_COMMIT, point));
    let mails = Router::new()
        .route("/mails", post(mail))
        .with_state(outbox)
        .layer(IdempotencyKeyLayer::leased(store, LEASE).unscoped());
    let metrics = get(async move || metrics.render());
    Router::new()
        .merge(payments)
        .merge(mails)
        .route("/metrics", metrics)
}

/// Exactly once: the row, the key and this answer are committed together.
async fn pay(
    Extension(keyed): Extension<KeyedTx<Store>>,
    Json(payment): Json<Payment>,
) -> Answer<(StatusCode, Json<Receipt>)> {
    let cents = payment.cents;
    if cents <= 0 {
        // Recorded: the same refusal on every retry.
        let refusal = Rejection::new(422, "a payment has at least one cent");
        return Err(keyed.problem(refusal).into());
    }
    let mut tx = keyed.lock().await.map_err(|error| keyed.problem(error))?;
    let insert = "INSERT INTO payment (cents) VALUES (?1) RETURNING number";
    let number = tx
        .run(move |db| db.query_row(insert, [cents], |row| row.get(0)))
        .await
        .map_err(|error| keyed.problem(error))?;
    let receipt = Receipt {
        payment: number,
        cents,
    };
    Ok((StatusCode::CREATED, Json(receipt)))
}

/// Outside of the database: the key and the token go along, so that the other side can tell a
/// repeated mail and one of a zombie.
async fn mail(
    State(outbox): State<PathBuf>,
    Extension(attempt): Extension<Attempt>,
    text: String,
) -> Answer<StatusCode> {
    let line = format!("{} {} {}\n", attempt.key(), attempt.token(), text.trim());
    let sent = tokio::task::spawn_blocking(move || {
        let mut file = OpenOptions::new().create(true).append(true).open(outbox)?;
        file.write_all(line.as_bytes())
    });
    match sent.await {
        Ok(Ok(())) => Ok(StatusCode::ACCEPTED),
        // Not recorded: a retry tries again.
        _ => Err(StatusCode::BAD_GATEWAY.into()),
    }
}

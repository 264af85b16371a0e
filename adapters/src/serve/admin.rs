//! The plain HTTP port for orchestrators and Prometheus: liveness, readiness, metrics.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};

use super::{
    catalog::{Catalog, Served},
    current::Current,
};
use crate::Store;

/// How long a store may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the port answers from.
#[derive(Clone)]
pub(super) struct Admin {
    pub(super) current: Arc<Current>,
    pub(super) metrics: PrometheusHandle,
}

/// `/livez` (the process runs), `/readyz` (every store answers), `/metrics`.
pub(super) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

async fn metrics(State(admin): State<Admin>) -> Response {
    admin.metrics.run_upkeep();
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, text)], admin.metrics.render()).into_response()
}

/// 503 while a store is away or the process ends: then Restate's calls should go elsewhere. A reload that
/// failed is shown, and is no reason to be unready: the configuration before it is served.
async fn readyz(State(admin): State<Admin>) -> Response {
    let catalog = admin.current.catalog();
    let stores = stores(&catalog).await;
    let ending = admin.current.is_ending();
    let ready = !ending && stores.values().all(|state| state == "ready");
    let body = json!({
        "ready": ready,
        "ending": ending,
        "stores": stores,
        "configuration": admin.current.state(),
    });
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let json = [(CONTENT_TYPE, "application/json")];
    (status, json, format!("{body}\n")).into_response()
}

async fn stores(catalog: &Catalog) -> Map<String, Value> {
    let asked = catalog.stores().map(|(name, store)| async move {
        let state = asked(store).await;
        (name.to_owned(), Value::from(state))
    });
    join_all(asked).await.into_iter().collect()
}

/// The kind of the error, not its text: the port needs no credentials.
async fn asked(store: &Served) -> &'static str {
    match tokio::time::timeout(PATIENCE, store.now()).await {
        Ok(Ok(_)) => "ready",
        Ok(Err(error)) => error.kind().as_str(),
        Err(_) => "no answer",
    }
}

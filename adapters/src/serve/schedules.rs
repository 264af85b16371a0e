//! Maintenance on a schedule: removes expired keys, and ends what dead coordinators left.
//!
//! The schedules are virtual objects of Restate, which can't multiply however often they are started. So
//! each start and each reload starts them, through the ingress, where the file names it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpStream, task::JoinSet};

use super::config::Config;

/// Between two attempts: Restate may know the service only after it was registered.
const PAUSE: Duration = Duration::from_secs(2);
/// One attempt may take this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is being started; given up when it is dropped.
pub(super) type Starting = JoinSet<()>;

/// Starts the schedules of the configuration, in the background, until Restate has taken them.
pub(super) fn start(config: &Config) -> Starting {
    let mut starting = Starting::new();
    let schedules = config.schedules;
    let wanted = [
        ("KeyExpiry", schedules.key_expiry),
        ("InDoubtSweep", schedules.sweep),
    ];
    for (object, every) in wanted {
        let Some(every) = every else { continue };
        let path = format!("/restate/call/{object}/{}/start", config.service);
        let body = json!({ "every_ms": u64::try_from(every.as_millis()).unwrap_or(u64::MAX) });
        match config.ingress.clone() {
            Some(ingress) => {
                starting.spawn(insist(ingress, path, body.to_string()));
            }
            None => tracing::warn!(
                "the schedule is not started, because the file has no `ingress`; start it with: \
                 curl INGRESS{path} --json '{body}'"
            ),
        }
    }
    starting
}

async fn insist(ingress: String, path: String, body: String) {
    loop {
        match tokio::time::timeout(PATIENCE, post(&ingress, &path, &body)).await {
            Ok(Ok(status)) if (200..300).contains(&status) => {
                tracing::info!(path, "schedule started");
                return;
            }
            Ok(Ok(status)) => tracing::debug!(path, status, "schedule not started yet"),
            Ok(Err(error)) => tracing::debug!(path, %error, "schedule not started yet"),
            Err(_) => tracing::debug!(path, "schedule not started yet: no answer"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One POST over a connection of its own; gives the status.
async fn post(
    ingress: &str,
    path: &str,
    body: &str,
) -> Result<u16, Box<dyn std::error::Error + Send + Sync>> {
    let authority = ingress.trim_start_matches("http://");
    let address = match authority.contains(':') {
        true => authority.to_owned(),
        false => format!("{authority}:80"),
    };
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::post(path)
        .header(HOST, authority)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))?;
    let answer = sender.send_request(request).await;
    connection.abort();
    Ok(answer?.status().as_u16())
}

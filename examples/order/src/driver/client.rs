//! A client of Restate's ingress: it asks again, with the same key, until it is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::load::Planned;
use crate::{
    audit::Answer,
    model::{Order, SERVICE},
};

/// How long one connection is waited on, before the client asks again.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an impatient client waits the first time.
const MOMENT: Duration = Duration::from_millis(30);
const PAUSE: Duration = Duration::from_millis(25);

/// A client; its clones share connections and the count.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    ingress: String,
    sent: Arc<AtomicU64>,
}

impl Client {
    /// Of this ingress.
    ///
    /// # Errors
    /// Where the HTTP client can't be made.
    pub fn new(ingress: &str) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            ingress: ingress.to_owned(),
            sent: Arc::default(),
        })
    }

    /// How many HTTP requests were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Asks until it is answered, or the patience is at its end.
    pub async fn ask(&self, planned: &Planned, patience: Duration) -> Answer {
        let deadline = Instant::now() + patience;
        let mut timeout = if planned.impatient { MOMENT } else { TIMEOUT };
        while Instant::now() < deadline {
            let within = timeout.min(deadline - Instant::now());
            timeout = TIMEOUT;
            match self.post("call", &planned.order, within).await {
                Ok((200, text)) => {
                    return match serde_json::from_str(&text) {
                        Ok(placed) => Answer::Placed(placed),
                        Err(error) => Answer::Refused {
                            status: 200,
                            message: format!("no answer of ours but {text}: {error}"),
                        },
                    };
                }
                Ok((status @ 400..=499, text)) => {
                    return Answer::Refused {
                        status,
                        message: message(&text),
                    };
                }
                // The ingress or the connection is in trouble: the same key, again.
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Answer::Silence
    }

    /// Starts an order and does not wait for its answer; gives the invocation's id.
    ///
    /// # Errors
    /// Where it is not taken.
    pub async fn send(&self, order: &Order) -> Result<String> {
        let (status, body) = self.post("send", order, TIMEOUT).await?;
        ensure!(status < 300, "{status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    async fn post(&self, how: &str, order: &Order, timeout: Duration) -> Result<(u16, String)> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let answer = self
            .http
            .post(format!("{}/restate/{how}/{SERVICE}/place", self.ingress))
            .header("idempotency-key", &order.name)
            .timeout(timeout)
            .json(order)
            .send()
            .await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

/// The ingress puts a terminal error's message into an object.
fn message(text: &str) -> String {
    serde_json::from_str::<Value>(text)
        .ok()
        .and_then(|body| body["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| text.to_owned())
}

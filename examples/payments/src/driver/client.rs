//! A client of Restate's ingress: it asks again, with the same key, until it is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::load::Planned;
use crate::{
    audit::{Answer, Request},
    model::SERVICE,
};

/// How long one connection is waited on, before the client asks again.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long an impatient client waits the first time.
const MOMENT: Duration = Duration::from_millis(15);
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

    /// Opens the accounts.
    ///
    /// # Errors
    /// Where one is refused.
    pub async fn open_accounts(&self, accounts: &[(String, i64)]) -> Result<()> {
        for account in accounts {
            let answer = self
                .post("open", &account.0, &json!(account), TIMEOUT)
                .await?;
            ensure!(
                answer.0 == 200,
                "opening {}: {} {}",
                account.0,
                answer.0,
                answer.1
            );
        }
        Ok(())
    }

    /// Asks until it is answered, or the patience is at its end.
    pub async fn ask(&self, planned: &Planned, patience: Duration) -> Answer {
        let (handler, body) = match &planned.request {
            Request::Charge(charge) => ("charge", json!(charge)),
            Request::Refund(refund) => ("refund", json!(refund)),
            Request::Transfer(order) => ("transfer", json!(order)),
        };
        let key = planned.request.name();
        let deadline = Instant::now() + patience;
        let mut timeout = if planned.impatient { MOMENT } else { TIMEOUT };
        while Instant::now() < deadline {
            let within = timeout.min(deadline - Instant::now());
            timeout = TIMEOUT;
            match self.post(handler, key, &body, within).await {
                Ok((200, text)) => match serde_json::from_str(&text) {
                    Ok(receipt) => return Answer::Done(receipt),
                    Err(error) => {
                        let message = format!("no receipt but {text}: {error}");
                        return Answer::Refused {
                            status: 200,
                            message,
                        };
                    }
                },
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

    async fn post(
        &self,
        handler: &str,
        key: &str,
        body: &Value,
        timeout: Duration,
    ) -> Result<(u16, String)> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let answer = self
            .http
            .post(format!("{}/restate/call/{SERVICE}/{handler}", self.ingress))
            .header("idempotency-key", key)
            .timeout(timeout)
            .json(body)
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

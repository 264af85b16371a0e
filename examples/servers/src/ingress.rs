//! A client of Restate's ingress: it asks again, with the same key, until it is answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use reqwest::RequestBuilder;
use serde_json::Value;

/// How long one connection is waited on, before the client asks again.
const TIMEOUT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(25);
/// What every refusal of this library begins with.
const REFUSAL: &str = "exactly-once/";

/// A client; its clones share connections and the count.
#[derive(Clone, Debug)]
pub struct Ingress {
    http: reqwest::Client,
    url: String,
    sent: Arc<AtomicU64>,
}

/// An answer that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; of an error, the message in it.
    pub text: String,
}

/// Which server to ask, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `Service/handler` or `Object/key/handler`.
    pub path: &'a str,
    /// The ingress key: asked twice, it is one invocation.
    pub key: &'a str,
    /// The input.
    pub body: &'a Value,
}

impl Ingress {
    /// Of this URL, without a slash at the end.
    ///
    /// # Errors
    /// Where the HTTP client can't be made.
    pub fn new(url: &str) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder().no_proxy().build()?,
            url: url.to_owned(),
            sent: Arc::default(),
        })
    }

    /// How many HTTP requests were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Asks until it is answered, or the patience is at its end. An impatient client drops its
    /// first connection after the moment given, and asks again.
    pub async fn ask(
        &self,
        call: Call<'_>,
        moment: Option<Duration>,
        patience: Duration,
    ) -> Option<Reply> {
        let mut timeout = moment.unwrap_or(TIMEOUT);
        self.insist(patience, || {
            let request = self.post("call", call);
            request.timeout(std::mem::replace(&mut timeout, TIMEOUT))
        })
        .await
    }

    /// Waits for the answer of an invocation, until it is there or the patience is at its end.
    pub async fn attach(&self, invocation: &str, patience: Duration) -> Option<Reply> {
        let url = format!("{}/restate/attach/{invocation}", self.url);
        self.insist(patience, || self.http.get(&url).timeout(TIMEOUT))
            .await
    }

    /// Starts an invocation and does not wait for its answer; gives its id.
    ///
    /// # Errors
    /// Where it is not taken.
    pub async fn send(&self, call: Call<'_>) -> Result<String> {
        let answer = self.post("send", call).timeout(TIMEOUT).send().await?;
        let (status, body) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{status} {body}");
        let body: Value = serde_json::from_str(&body)?;
        let id = body["invocationId"].as_str().context("no invocation id")?;
        Ok(id.to_owned())
    }

    fn post(&self, how: &str, call: Call<'_>) -> RequestBuilder {
        self.http
            .post(format!("{}/restate/{how}/{}", self.url, call.path))
            .header("idempotency-key", call.key)
            .json(call.body)
    }

    async fn insist(
        &self,
        patience: Duration,
        mut request: impl FnMut() -> RequestBuilder,
    ) -> Option<Reply> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            self.sent.fetch_add(1, Ordering::Relaxed);
            match once(request()).await {
                Ok(reply) if reply.is_final() => return Some(reply),
                // The ingress or the connection is in trouble: the same key, again.
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        None
    }
}

async fn once(request: RequestBuilder) -> Result<Reply> {
    let answer = request.send().await?;
    let (status, text) = (answer.status().as_u16(), answer.text().await?);
    let text = if status == 200 { text } else { message(text) };
    Ok(Reply { status, text })
}

impl Reply {
    /// Whether asking again would be answered the same.
    fn is_final(&self) -> bool {
        matches!(self.status, 200 | 400..=499) || self.text.starts_with(REFUSAL)
    }
}

/// The ingress puts a terminal error's message into an object.
fn message(text: String) -> String {
    serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|body| body["message"].as_str().map(str::to_owned))
        .unwrap_or(text)
}

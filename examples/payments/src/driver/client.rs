//! A client of the payment service, through Restate's ingress.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use exactly_once_servers::{Call, Ingress, Reply};
use serde_json::{Value, json};

use super::load::Planned;
use crate::{
    audit::{Answer, Request},
    model::SERVICE,
};

/// How long opening an account may take.
const OPENING: Duration = Duration::from_secs(30);
/// How long an impatient client waits the first time.
const MOMENT: Duration = Duration::from_millis(15);

/// A client; its clones share connections and the count.
#[derive(Clone, Debug)]
pub struct Client(Ingress);

impl Client {
    /// Of this ingress.
    ///
    /// # Errors
    /// Where the HTTP client can't be made.
    pub fn new(ingress: &str) -> Result<Self> {
        Ingress::new(ingress).map(Self)
    }

    /// How many HTTP requests were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.0.sent()
    }

    /// Opens the accounts.
    ///
    /// # Errors
    /// Where one is refused.
    pub async fn open_accounts(&self, accounts: &[(String, i64)]) -> Result<()> {
        for account in accounts {
            let (name, body) = (&account.0, json!(account));
            let reply = self.post("open", name, &body, None, OPENING).await;
            let reply = reply.with_context(|| format!("opening {name}: no answer"))?;
            ensure!(reply.status == 200, "opening {name}: {reply:?}");
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
        let moment = planned.impatient.then_some(MOMENT);
        match self.post(handler, key, &body, moment, patience).await {
            None => Answer::Silence,
            Some(Reply { status: 200, text }) => match serde_json::from_str(&text) {
                Ok(receipt) => Answer::Done(receipt),
                Err(error) => Answer::Refused {
                    status: 200,
                    message: format!("no receipt but {text}: {error}"),
                },
            },
            Some(Reply { status, text }) => Answer::Refused {
                status,
                message: text,
            },
        }
    }

    async fn post(
        &self,
        handler: &str,
        key: &str,
        body: &Value,
        moment: Option<Duration>,
        patience: Duration,
    ) -> Option<Reply> {
        let path = format!("{SERVICE}/{handler}");
        let path = path.as_str();
        self.0.ask(Call { path, key, body }, moment, patience).await
    }
}

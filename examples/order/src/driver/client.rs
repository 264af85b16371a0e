//! A client of the order service, through Restate's ingress.

use std::time::Duration;

use anyhow::Result;
use exactly_once_servers::{Call, Ingress, Reply};
use serde_json::json;

use super::load::Planned;
use crate::{
    audit::Answer,
    model::{Order, SERVICE},
};

/// How long an impatient client waits the first time.
const MOMENT: Duration = Duration::from_millis(30);

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

    /// Asks until it is answered, or the patience is at its end.
    pub async fn ask(&self, planned: &Planned, patience: Duration) -> Answer {
        let (path, body) = (path(), json!(planned.order));
        let call = Call {
            path: &path,
            key: &planned.order.name,
            body: &body,
        };
        let moment = planned.impatient.then_some(MOMENT);
        match self.0.ask(call, moment, patience).await {
            None => Answer::Silence,
            Some(Reply { status: 200, text }) => match serde_json::from_str(&text) {
                Ok(placed) => Answer::Placed(placed),
                Err(error) => Answer::Refused {
                    status: 200,
                    message: format!("no answer of ours but {text}: {error}"),
                },
            },
            Some(Reply { status, text }) => Answer::Refused {
                status,
                message: text,
            },
        }
    }

    /// Starts an order and does not wait for its answer; gives the invocation's id.
    ///
    /// # Errors
    /// Where it is not taken.
    pub async fn send(&self, order: &Order) -> Result<String> {
        let (path, body) = (path(), json!(order));
        let call = Call {
            path: &path,
            key: &order.name,
            body: &body,
        };
        self.0.send(call).await
    }
}

fn path() -> String {
    format!("{SERVICE}/place")
}

//! A one-shot effect of a handler, with each part named.

use serde::de::DeserializeOwned;

use crate::{
    error::{Error, Result},
    idempotency::{Claim, Outcome},
    one_shot::{OneShot, OneShotStore, Statement},
    receipt::Receipt,
    settle::settle_refusal,
    store::Store,
};

/// Applies it, and gives the value of the attempt that committed.
pub(super) async fn apply<S: OneShotStore, T: DeserializeOwned>(
    store: &S,
    claim: Claim,
    statements: Vec<Statement>,
    receipt: Result<Receipt>,
) -> Result<T> {
    const OPERATION: &str = "one_shot";
    let outcome = match receipt {
        Ok(receipt) => {
            let effect = OneShot {
                claim,
                statements,
                receipt,
            };
            store.execute_one_shot(&effect).await?.outcome
        }
        // An attempt of another version of the program may have applied it.
        Err(refusal) => settle_refusal(store, OPERATION, &claim, refusal).await?,
    };
    value_of(store, OPERATION, outcome)
}

/// What a recorded outcome means to a handler.
pub(super) fn value_of<S: Store, T: DeserializeOwned>(
    store: &S,
    operation: &'static str,
    outcome: Outcome,
) -> Result<T> {
    match outcome {
        Outcome::Applied(receipt) => receipt
            .decode()
            .map_err(|error| error.reported_by(operation, store.backend())),
        Outcome::Rejected(rejection) => Err(Error::rejected(rejection, operation, store.backend())),
    }
}

/// Statements that are known up front, for a step of a handler:
/// for which request, what to do, and what to answer.
///
/// ```
/// # use exactly_once_core::{Statement, engine::Effect};
/// # let (payment, receipt) = (("order-17", 500), "paid");
/// let effect = Effect::of_request(&payment)
///     .statement(Statement::new("INSERT INTO payments VALUES ($1, $2)").bind("order-17").bind(500))
///     .value(receipt);
/// # drop(effect);
/// ```
#[derive(Debug)]
#[must_use = "an effect needs its value, and a step that applies it"]
pub struct Effect<'r, R: ?Sized> {
    request: &'r R,
    statements: Vec<Statement>,
}

/// An [`Effect`] that says what it answers.
#[derive(Debug)]
#[must_use = "an effect needs a step that applies it"]
pub struct ValuedEffect<'r, R: ?Sized, T: ?Sized> {
    pub(super) request: &'r R,
    pub(super) statements: Vec<Statement>,
    pub(super) value: &'r T,
}

impl<'r, R: ?Sized> Effect<'r, R> {
    /// For a request: what the effect depends on. The same key with another request is a
    /// [mismatch](crate::ErrorKind::Mismatch).
    pub fn of_request(request: &'r R) -> Self {
        Self {
            request,
            statements: Vec::new(),
        }
    }

    /// With one more statement; all are applied in order, all or none.
    pub fn statement(mut self, statement: Statement) -> Self {
        self.statements.push(statement);
        self
    }

    /// With more statements.
    pub fn statements(mut self, statements: impl IntoIterator<Item = Statement>) -> Self {
        self.statements.extend(statements);
        self
    }

    /// What every attempt is answered with.
    pub fn value<T: ?Sized>(self, value: &'r T) -> ValuedEffect<'r, R, T> {
        ValuedEffect {
            request: self.request,
            statements: self.statements,
            value,
        }
    }
}

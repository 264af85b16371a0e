//! A one-shot effect of a handler, with each part named.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind, Result},
    idempotency::{Claim, IdempotencyStore, Outcome},
    one_shot::{OneShot, OneShotStore},
    receipt::Receipt,
    rows::Returned,
    settle::settle_refusal,
    statement::Statement,
    store::Store,
};

const OPERATION: &str = "one_shot";

/// Applies it, and gives the answer of the attempt that committed.
pub(super) async fn apply<S: OneShotStore, A>(
    store: &S,
    claim: Claim,
    parts: Parts<A>,
) -> Result<A> {
    let outcome = match parts.receipt {
        Ok(receipt) => {
            let effect = OneShot {
                claim,
                statements: parts.statements,
                receipt,
            };
            store.execute_one_shot(&effect).await?.outcome
        }
        // An attempt of another version of the program may have applied it.
        Err(refusal) => settle_refusal(store, OPERATION, &claim, refusal).await?,
    };
    read(store, outcome, &parts.read)
}

/// What a recorded outcome means to the handler of the effect.
pub(super) fn read<S: Store, A>(store: &S, outcome: Outcome, read: &Read<A>) -> Result<A> {
    let answer = receipt_of(store, OPERATION, outcome).and_then(|receipt| read(&receipt));
    answer.map_err(|error| error.reported_by(OPERATION, store.backend()))
}

/// The outcome of an attempt that was faster, or the refusal, for good.
pub(super) async fn refuse<S: IdempotencyStore, T: DeserializeOwned>(
    store: &S,
    claim: &Claim,
    refusal: Error,
) -> Result<T> {
    let outcome = settle_refusal(store, OPERATION, claim, refusal).await?;
    value_of(store, OPERATION, outcome)
}

fn receipt_of<S: Store>(store: &S, operation: &'static str, outcome: Outcome) -> Result<Receipt> {
    match outcome {
        Outcome::Applied(receipt) => Ok(receipt),
        Outcome::Rejected(rejection) => Err(Error::rejected(rejection, operation, store.backend())),
    }
}

/// What a recorded outcome means to a handler.
pub(super) fn value_of<S: Store, T: DeserializeOwned>(
    store: &S,
    operation: &'static str,
    outcome: Outcome,
) -> Result<T> {
    let value = receipt_of(store, operation, outcome).and_then(|receipt| receipt.decode());
    value.map_err(|error| error.reported_by(operation, store.backend()))
}

/// What the answer is read from. What the journal could not give back would be read again for ever: it
/// is reported as unreadable, since the effect is applied.
fn journaled<A: Serialize + DeserializeOwned>(answer: &A) -> Result<A> {
    Receipt::of(answer).map(|(_, back)| back).map_err(|error| {
        let message = error.text();
        Error::new(ErrorKind::Unreadable, OPERATION, "core").with_message(message)
    })
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
///
/// An effect may be answered with what the database has made:
///
/// ```
/// # use exactly_once_core::{Returning, Statement, engine::Effect};
/// # let payment = ("order-17", 500);
/// let insert = Statement::new("INSERT INTO payments (order_id) VALUES ($1) RETURNING id, at")
///     .bind("order-17")
///     .returning(Returning::rows(1));
/// let effect = Effect::of_request(&payment).statement(insert).row::<(i64, String)>();
/// # drop(effect);
/// ```
#[derive(Debug)]
#[must_use = "an effect needs its value, and a step that applies it"]
pub struct Effect<'r, R: ?Sized> {
    request: &'r R,
    statements: Vec<Statement>,
}

/// An [`Effect`] that is answered with a value.
#[derive(Debug)]
#[must_use = "an effect needs a step that applies it"]
pub struct ValuedEffect<'r, R: ?Sized, T: ?Sized> {
    request: &'r R,
    statements: Vec<Statement>,
    value: &'r T,
}

/// An [`Effect`] that is answered with rows of its statements.
#[must_use = "an effect needs a step that applies it"]
pub struct RowsEffect<'r, R: ?Sized, A> {
    request: &'r R,
    statements: Vec<Statement>,
    read: fn(Returned) -> Result<A>,
    answer: PhantomData<fn() -> A>,
}

impl<R: fmt::Debug + ?Sized, A> fmt::Debug for RowsEffect<'_, R, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowsEffect")
            .field("request", &self.request)
            .field("statements", &self.statements)
            .finish_non_exhaustive()
    }
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

    /// Every attempt is answered with the row that the last of the
    /// [returning](Statement::returning) statements returns: a struct by the names of the columns, a
    /// tuple by their places, or the value of the only column. Exactly one row is
    /// [required](Statement::expecting_rows), unless the statement says another number.
    pub fn row<T: Serialize + DeserializeOwned>(mut self) -> RowsEffect<'r, R, T> {
        let last = self.statements.iter_mut().rev();
        if let Some(last) = last.into_iter().find(|one| one.returns().is_some())
            && last.expected_rows().is_none()
        {
            *last = last.clone().expecting_rows(1);
        }
        self.answered(|returned| returned.into_last().one())
    }

    /// Every attempt is answered with the rows that the last of the
    /// [returning](Statement::returning) statements returns, as [`Self::row`] reads them.
    pub fn rows<T: Serialize + DeserializeOwned>(self) -> RowsEffect<'r, R, Vec<T>> {
        self.answered(|returned| returned.into_last().decode())
    }

    /// Every attempt is answered with all rows of all statements that return some.
    pub fn returned(self) -> RowsEffect<'r, R, Returned> {
        self.answered(Ok)
    }

    fn answered<A>(self, read: fn(Returned) -> Result<A>) -> RowsEffect<'r, R, A> {
        RowsEffect {
            request: self.request,
            statements: self.statements,
            read,
            answer: PhantomData,
        }
    }
}

/// An effect that says what it is answered with: what [`Effects::one_shot`](super::Effects::one_shot)
/// takes. You never implement it.
pub trait AnsweredEffect: sealed::Sealed {
    /// What it depends on.
    type Request: Serialize + ?Sized;
    /// What every attempt is answered with.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Takes it apart.
    #[doc(hidden)]
    fn with<O>(self, then: impl FnOnce(&Self::Request, Parts<Self::Answer>) -> O) -> O;
}

mod sealed {
    pub trait Sealed {}
}

/// What is applied, and how its receipt reads.
#[doc(hidden)]
pub struct Parts<A> {
    statements: Vec<Statement>,
    receipt: Result<Receipt>,
    read: Read<A>,
}

impl<A> Parts<A> {
    /// How its receipt reads, for an attempt that applies nothing.
    pub(super) fn reader(&self) -> Read<A> {
        self.read.clone()
    }
}

pub(super) type Read<A> = Arc<dyn Fn(&Receipt) -> Result<A> + Send + Sync>;

impl<R: ?Sized, T: ?Sized> sealed::Sealed for ValuedEffect<'_, R, T> {}

impl<R, T> AnsweredEffect for ValuedEffect<'_, R, T>
where
    R: Serialize + ?Sized,
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Request = R;
    type Answer = T;

    fn with<O>(self, then: impl FnOnce(&R, Parts<T>) -> O) -> O {
        let returns = self.statements.iter().any(|one| one.returns().is_some());
        let parts = Parts {
            statements: self.statements,
            receipt: Receipt::of(self.value).map(|(receipt, _)| receipt),
            read: Arc::new(move |receipt| match returns {
                true => Returned::of(receipt)?.value(),
                false => receipt.decode(),
            }),
        };
        then(self.request, parts)
    }
}

impl<R: ?Sized, A> sealed::Sealed for RowsEffect<'_, R, A> {}

impl<R, A> AnsweredEffect for RowsEffect<'_, R, A>
where
    R: Serialize + ?Sized,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    type Request = R;
    type Answer = A;

    fn with<O>(self, then: impl FnOnce(&R, Parts<A>) -> O) -> O {
        let returns = self.statements.iter().any(|one| one.returns().is_some());
        let read = self.read;
        let parts = Parts {
            statements: self.statements,
            receipt: match returns {
                true => Ok(Receipt::default()),
                false => Err(no_rows()),
            },
            read: Arc::new(move |receipt| journaled(&read(Returned::of(receipt)?)?)),
        };
        then(self.request, parts)
    }
}

fn no_rows() -> Error {
    Error::new(ErrorKind::Invalid, OPERATION, "core").with_message(
        "the effect is to be answered with rows, and none of its statements returns some: call \
         `returning` on one",
    )
}

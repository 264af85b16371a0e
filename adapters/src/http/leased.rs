//! A lease on the key while the handler has its effect somewhere else.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use exactly_once_core::{
    Advice, Claim, Error, ErrorKind, FencingToken, IdempotencyKey, Lease, LeaseStore, Leased,
    Outcome, Receipt, Result, Timestamp,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{Response, StatusCode, header};
use http_body_util::Either;

use super::{
    layer::{Answered, Failed, Form, Handler, ResponseBody, whole},
    options::{Begun, Ending, Options},
    problem::{Problem, SOON, internal, later, of_claim},
    request::Keyed,
    running::Entered,
    stored,
};
use crate::alarm;

/// How often an outcome that could not be stored is tried again, before the client gets an error.
const TRIES: u32 = 6;
/// The first wait between them; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The [leased form](super::IdempotencyKeyLayer::leased).
#[derive(Clone, Debug)]
pub struct LeasedForm<S> {
    pub(super) store: S,
    pub(super) ttl: Duration,
}

/// Which attempt at the key this is, in the request's extensions: hand key and token on with the
/// call that the handler makes, so that the other side can tell a repeated call (by the key) and a
/// zombie's (by a token that is smaller than one it has seen).
///
/// Once a handler has asked for either, a response with a status of 4xx is its own decision, which
/// the layer records (see [`Ending`](super::Ending)).
#[derive(Clone, Debug)]
pub struct Attempt {
    key: IdempotencyKey,
    client_key: IdempotencyKey,
    token: FencingToken,
    deadline: Timestamp,
    begun: Begun,
}

impl Attempt {
    /// The request's key as it is [stored](super::stored_key()), with the client's scope: another
    /// client's request has another one.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        self.begun.set();
        &self.key
    }

    /// The request's key as the client sent it. Two clients may send the same one.
    #[must_use]
    pub const fn client_key(&self) -> &IdempotencyKey {
        &self.client_key
    }

    /// Grows with each attempt at the key.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.begun.set();
        self.token
    }

    /// Until when the key is held, by the store's clock; the layer renews it while the handler runs.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

impl<S: LeaseStore> Form for LeasedForm<S> {
    fn max_receipt_bytes(&self) -> usize {
        self.store.capabilities().max_receipt_bytes
    }

    /// In a task of its own, which a client that goes away does not end: the effect may be half
    /// done, and its outcome has to be recorded.
    fn run<R: Send + 'static, E: Send + 'static>(
        self,
        options: Arc<Options>,
        keyed: Keyed,
        handler: Handler<R, E>,
    ) -> impl Future<Output = std::result::Result<Response<ResponseBody<R>>, E>> + Send {
        let turn = Turn {
            store: self.store,
            ttl: self.ttl,
            claim: keyed.claim,
            options,
            _entered: keyed.entered,
        };
        let mut request = keyed.request;
        async move {
            let task = tokio::spawn(async move {
                let lease = match turn.lease().await {
                    Ok(lease) => lease,
                    Err(answer) => return Ok(whole(*answer)),
                };
                request.extensions_mut().insert(Attempt {
                    key: turn.claim.key().clone(),
                    client_key: keyed.client_key,
                    token: lease.token,
                    deadline: lease.deadline,
                    begun: keyed.begun,
                });
                turn.run(lease.token, handler(request)).await
            });
            match task.await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    // As it would have gone on without this task.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Ok(whole(internal(
                        "The service is stopping",
                        "repeat the request later",
                    ))),
                },
            }
        }
    }
}

/// One request's turn at its key.
struct Turn<S> {
    store: S,
    ttl: Duration,
    claim: Claim,
    options: Arc<Options>,
    /// In progress here until the task ends, also where the client has gone.
    _entered: Option<Entered>,
}

impl<S: LeaseStore> Turn<S> {
    /// A lease, or the answer without it.
    async fn lease(&self) -> std::result::Result<Lease, Box<Response<Bytes>>> {
        let kind = match self.store.lease(&self.claim, self.ttl).await {
            Ok(Leased::Granted(lease)) => return Ok(lease),
            Ok(Leased::Completed(outcome)) => {
                let documentation = self.options.documentation();
                return Err(Box::new(stored::replay(outcome, documentation)));
            }
            Ok(Leased::InProgress { retry_after }) => ErrorKind::InProgress { retry_after },
            Ok(Leased::Mismatch) => ErrorKind::Mismatch,
            Err(error) => return Err(Box::new(self.failed(&error))),
        };
        let error = Error::new(kind, "lease", self.store.backend());
        Err(Box::new(self.failed(&error)))
    }

    async fn run<R, E>(
        &self,
        token: FencingToken,
        handler: BoxFuture<'static, std::result::Result<Answered<R>, Failed<E>>>,
    ) -> std::result::Result<Response<ResponseBody<R>>, E> {
        let answered = tokio::select! {
            answered = AssertUnwindSafe(handler).catch_unwind() => answered,
            () = self.fenced(token) => return Ok(whole(self.overtaken().await)),
        };
        let failed = match answered {
            Ok(Ok(Answered::Whole(response, ending))) => {
                return Ok(whole(self.end(token, response, ending).await));
            }
            Ok(Err(Failed::TooLarge(ending))) => {
                tracing::error!("a response was too large to be stored");
                return Ok(whole(self.end_without_response(token, ending).await));
            }
            Ok(Ok(Answered::Passing(response))) => {
                self.release(token).await;
                return Ok(response.map(Either::Left));
            }
            Ok(Err(failed)) => failed,
            Err(panic) => {
                self.release(token).await;
                std::panic::resume_unwind(panic)
            }
        };
        self.release(token).await;
        match failed {
            Failed::Service(error) => Err(error),
            Failed::TooLong => Ok(whole(later(
                "The request took too long",
                SOON,
                self.options.documentation(),
            ))),
            Failed::Body | Failed::TooLarge(_) => Ok(whole(internal(
                "The response did not end",
                "repeat the request with the same key",
            ))),
        }
    }

    /// Renews the lease, until another attempt holds the key.
    async fn fenced(&self, token: FencingToken) {
        loop {
            alarm::sleep(self.ttl / 3).await;
            match self.store.renew(&self.claim, token, self.ttl).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Fenced => return,
                // Still ours until another attempt takes it; the next round tries again.
                Err(error) => tracing::warn!(%error, "a lease could not be renewed"),
            }
        }
    }

    /// Another attempt holds the key, or has ended: its answer is the answer.
    async fn overtaken(&self) -> Response<Bytes> {
        let documentation = self.options.documentation();
        let after = match self.store.lease(&self.claim, self.ttl).await {
            Ok(Leased::Completed(outcome)) => return stored::replay(outcome, documentation),
            Ok(Leased::InProgress { retry_after }) => retry_after,
            Ok(Leased::Granted(lease)) => {
                // The other one gave it back. What this attempt did is not known to be whole.
                self.release(lease.token).await;
                SOON
            }
            Ok(Leased::Mismatch) => {
                let error = Error::new(ErrorKind::Mismatch, "lease", self.store.backend());
                return self.failed(&error);
            }
            Err(error) => return self.failed(&error),
        };
        let title = "Another attempt at this request has taken over";
        later(title, after, documentation)
    }

    async fn end(
        &self,
        token: FencingToken,
        response: Response<Bytes>,
        ending: Ending,
    ) -> Response<Bytes> {
        let recorded = match stored::receipt(&response, &self.options.keep_headers) {
            Ok(receipt) => self.finalize(token, receipt).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => response,
            Err(error) => match error.kind() {
                ErrorKind::TooLarge => {
                    tracing::error!(%error, "a response was too large to be stored");
                    self.end_without_response(token, ending).await
                }
                ErrorKind::Fenced | ErrorKind::Conflict { .. } => self.overtaken().await,
                _ => self.unrecorded(error),
            },
        }
    }

    /// Patient: what is not recorded will happen again. Finalizing twice is fine.
    async fn finalize(&self, token: FencingToken, receipt: Receipt) -> Result<()> {
        let outcome = Outcome::Applied(receipt);
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match self.store.finalize(&self.claim, token, &outcome).await {
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "an outcome could not be stored; trying again");
                }
                ended => return ended,
            }
            alarm::sleep(wait).await;
            wait *= 2;
        }
        self.store.finalize(&self.claim, token, &outcome).await
    }

    /// The effect has happened, or was refused for good, so its key must be kept. The first answer
    /// is the one that each retry gets.
    async fn end_without_response(&self, token: FencingToken, ending: Ending) -> Response<Bytes> {
        let gone = Problem {
            status: StatusCode::GONE,
            title: "The response was not kept",
            detail: match ending {
                Ending::Refuse => "the request was refused, in a response too large to be stored",
                _ => "the request took effect, and its response was too large to be stored",
            },
            retry_after: None,
        }
        .response(self.options.documentation());
        let recorded = match stored::receipt(&gone, &[header::CONTENT_TYPE]) {
            Ok(receipt) => self.finalize(token, receipt).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => gone,
            Err(error) => match error.kind() {
                ErrorKind::Fenced | ErrorKind::Conflict { .. } => self.overtaken().await,
                _ => self.unrecorded(error),
            },
        }
    }

    async fn release(&self, token: FencingToken) {
        if let Err(error) = self.store.release(&self.claim, token).await {
            // It ends by itself.
            tracing::debug!(%error, "a lease could not be released");
        }
    }

    /// The handler has answered, so its effect may have happened, whatever the store says of the
    /// record.
    fn unrecorded(&self, error: Error) -> Response<Bytes> {
        tracing::error!(%error, "an outcome could not be stored");
        match error.kind().advice() {
            Advice::Stop { .. } | Advice::Alarm => self.failed(&error),
            _ => {
                let open = Error::new(ErrorKind::Ambiguous, error.operation(), error.store());
                self.failed(&open.with_hidden_source(error))
            }
        }
    }

    fn failed(&self, error: &Error) -> Response<Bytes> {
        tracing::debug!(%error, "an Idempotency-Key was not completed");
        of_claim(error, self.options.documentation())
    }
}

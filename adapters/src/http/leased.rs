//! A lease on the key while the handler has its effect somewhere else.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use bytes::Bytes;
use exactly_once_core::{
    Claim, Error, ErrorKind, FencingToken, IdempotencyKey, Lease, LeaseStore, Leased, Outcome,
    Receipt, Result, Timestamp,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{Response, StatusCode};

use super::{
    layer::{Failed, Form, Handler},
    options::{Ending, Options},
    problem::{Problem, internal, of_error},
    request::Keyed,
    stored,
};

/// How often an outcome that could not be stored is tried again, before the client is told.
const TRIES: u32 = 6;
/// The first wait between them; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// The [leased form](super::IdempotencyKeyLayer::leased).
#[derive(Clone, Debug)]
pub struct LeasedForm<S> {
    pub(super) store: S,
    pub(super) ttl: Duration,
}

/// Which attempt at the key this is, in the request's extensions: hand it on with the call that the
/// handler makes, so that the other side can tell a repeated call (by the key) and a zombie's (by a
/// token that is smaller than one it has seen).
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The request's key.
    pub key: IdempotencyKey,
    /// Grows with each attempt.
    pub token: FencingToken,
    /// Until when the key is held, by the store's clock; renewed while the handler runs.
    pub deadline: Timestamp,
}

impl<S: LeaseStore> Form for LeasedForm<S> {
    /// In a task of its own, which a client that goes away does not end: the effect may be half
    /// done, and its outcome has to be recorded.
    fn run<E: Send + 'static>(
        self,
        options: &Options,
        keyed: Keyed,
        handler: Handler<E>,
    ) -> impl Future<Output = std::result::Result<Response<Bytes>, E>> + Send {
        let turn = Turn {
            store: match keyed.namespace {
                Some(namespace) => self.store.with_namespace(namespace),
                None => self.store,
            },
            ttl: self.ttl,
            claim: keyed.claim,
            options: options.clone(),
        };
        let request = keyed.request;
        async move {
            let task = tokio::spawn(async move {
                let lease = match turn.lease().await {
                    Ok(lease) => lease,
                    Err(answer) => return Ok(*answer),
                };
                let mut request = request;
                request.extensions_mut().insert(Attempt {
                    key: turn.claim.key().clone(),
                    token: lease.token,
                    deadline: lease.deadline,
                });
                turn.run(lease.token, handler(request)).await
            });
            match task.await {
                Ok(answer) => answer,
                Err(error) => match error.try_into_panic() {
                    // As it would have gone on without this task.
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Ok(internal(
                        "The service is stopping",
                        "repeat the request later",
                    )),
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
    options: Options,
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

    async fn run<E>(
        &self,
        token: FencingToken,
        handler: BoxFuture<'static, std::result::Result<Response<Bytes>, Failed<E>>>,
    ) -> std::result::Result<Response<Bytes>, E> {
        let answered = tokio::select! {
            answered = AssertUnwindSafe(handler).catch_unwind() => answered,
            () = self.fenced(token) => {
                let error = Error::new(ErrorKind::Fenced, "renew", self.store.backend());
                return Ok(self.failed(&error));
            }
        };
        match answered {
            Ok(Ok(response)) => Ok(self.end(token, response).await),
            Ok(Err(failed)) => {
                self.release(token).await;
                match failed {
                    Failed::Service(error) => Err(error),
                    Failed::Body => Ok(internal(
                        "The response did not end",
                        "repeat the request with the same key",
                    )),
                }
            }
            Err(panic) => {
                self.release(token).await;
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Renews the lease, until somebody else holds the key.
    async fn fenced(&self, token: FencingToken) {
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            match self.store.renew(&self.claim, token, self.ttl).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Fenced => return,
                // Still ours until somebody takes it; the next round tries again.
                Err(error) => tracing::warn!(%error, "a lease could not be renewed"),
            }
        }
    }

    async fn end(&self, token: FencingToken, response: Response<Bytes>) -> Response<Bytes> {
        if (self.options.judge)(response.status()) == Ending::RollBack {
            self.release(token).await;
            return response;
        }
        let recorded = match stored::receipt(&response, &self.options.keep_headers) {
            Ok(receipt) => self.finalize(token, receipt).await,
            Err(error) => Err(error),
        };
        match recorded {
            Ok(()) => response,
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                tracing::error!(%error, "a response was too large to be stored");
                self.record_without_response(token).await;
                response
            }
            Err(error) => self.failed(&error),
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
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        self.store.finalize(&self.claim, token, &outcome).await
    }

    /// The effect has happened, so its key must be kept, with or without its response.
    async fn record_without_response(&self, token: FencingToken) {
        let gone = Problem {
            status: StatusCode::GONE,
            title: "The response was not kept",
            detail: "the request took effect, and its response was too large to be stored",
            retry_after: None,
        }
        .response(self.options.documentation());
        let recorded = match stored::receipt(&gone, &self.options.keep_headers) {
            Ok(receipt) => self.finalize(token, receipt).await,
            Err(error) => Err(error),
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "an outcome could not be stored");
        }
    }

    async fn release(&self, token: FencingToken) {
        if let Err(error) = self.store.release(&self.claim, token).await {
            // It ends by itself.
            tracing::debug!(%error, "a lease could not be released");
        }
    }

    fn failed(&self, error: &Error) -> Response<Bytes> {
        tracing::debug!(%error, "an Idempotency-Key was not completed");
        of_error(error, self.options.documentation())
    }
}

//! Key, response and the handler's writes in one transaction.

use bytes::Bytes;
use exactly_once_core::{Claim, Claimed, Error, ErrorKind, IdempotencyStore, Receipt, Settled};
use http::{Request, Response};

use super::{
    keyed_tx::KeyedTx,
    layer::{Failed, Form, Handler},
    options::{Ending, Options},
    problem::{internal, of_error},
    request::Keyed,
    stored,
};

/// The [transactional form](super::IdempotencyKeyLayer::transactional).
#[derive(Clone, Debug)]
pub struct TransactionalForm<S>(pub(super) S);

impl<S: IdempotencyStore> Form for TransactionalForm<S> {
    async fn run<E: Send + 'static>(
        self,
        options: &Options,
        keyed: Keyed,
        handler: Handler<E>,
    ) -> std::result::Result<Response<Bytes>, E> {
        let store = match keyed.namespace {
            Some(namespace) => self.0.with_namespace(namespace),
            None => self.0,
        };
        let turn = Turn {
            store: &store,
            claim: &keyed.claim,
            options,
        };
        match turn.claim().await {
            Ok(tx) => turn.run(tx, keyed.request, handler).await,
            Err(answer) => Ok(*answer),
        }
    }
}

/// One request's turn at its key.
struct Turn<'a, S> {
    store: &'a S,
    claim: &'a Claim,
    options: &'a Options,
}

impl<S: IdempotencyStore> Turn<'_, S> {
    /// A transaction that holds the key, or the answer without it.
    async fn claim(&self) -> std::result::Result<S::Tx, Box<Response<Bytes>>> {
        let kind = match self.store.claim(self.claim).await {
            Ok(Claimed::Fresh(tx)) => return Ok(tx),
            Ok(Claimed::Completed(outcome)) => {
                return Err(Box::new(stored::replay(
                    outcome,
                    self.options.documentation(),
                )));
            }
            Ok(Claimed::InProgress { retry_after }) => ErrorKind::InProgress { retry_after },
            Ok(Claimed::Mismatch) => ErrorKind::Mismatch,
            Err(error) => return Err(Box::new(self.failed(&error))),
        };
        let error = Error::new(kind, "claim", self.store.backend());
        Err(Box::new(self.failed(&error)))
    }

    /// Dropped at any point, here or in the handler, the transaction is rolled back.
    async fn run<E>(
        &self,
        tx: S::Tx,
        request: Request<Bytes>,
        handler: Handler<E>,
    ) -> std::result::Result<Response<Bytes>, E> {
        let keyed = KeyedTx::new(self.store.clone(), self.claim.key().clone(), tx);
        let mut request = request;
        request.extensions_mut().insert(keyed.clone());
        let answered = handler(request).await;
        let Some(tx) = keyed.take() else {
            // Whoever holds it drops it, and so rolls it back.
            tracing::error!("a handler has answered and holds its transaction still");
            return Ok(internal(
                "The request's transaction was not given back",
                "nothing was done",
            ));
        };
        match answered {
            Ok(response) => Ok(self.end(tx, response).await),
            Err(failed) => {
                self.roll_back(tx).await;
                match failed {
                    Failed::Service(error) => Err(error),
                    Failed::Body => Ok(internal(
                        "The response did not end",
                        "nothing was done: repeat the request with the same key",
                    )),
                }
            }
        }
    }

    async fn end(&self, tx: S::Tx, response: Response<Bytes>) -> Response<Bytes> {
        let ending = (self.options.judge)(response.status());
        if ending == Ending::RollBack {
            self.roll_back(tx).await;
            return response;
        }
        let receipt = match stored::receipt(&response, &self.options.keep_headers) {
            Ok(receipt) => receipt,
            Err(error) => {
                self.roll_back(tx).await;
                return self.failed(&error);
            }
        };
        let tx = match ending {
            Ending::Commit => tx,
            _ => {
                self.roll_back(tx).await;
                // Somebody else may have come in between: then theirs is the answer.
                match self.claim().await {
                    Ok(empty) => empty,
                    Err(answer) => return *answer,
                }
            }
        };
        self.complete(tx, response, &receipt).await
    }

    async fn complete(
        &self,
        tx: S::Tx,
        response: Response<Bytes>,
        receipt: &Receipt,
    ) -> Response<Bytes> {
        match self.store.complete(tx, self.claim, receipt).await {
            Ok(Settled::Recorded) => response,
            Ok(Settled::Superseded(outcome)) => {
                stored::replay(outcome, self.options.documentation())
            }
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                tracing::error!(%error, "a response was too large to be stored");
                internal(
                    "The response is too large to be stored",
                    "nothing was done; the service must answer with less",
                )
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn roll_back(&self, tx: S::Tx) {
        if let Err(error) = self.store.rollback(tx).await {
            // The connection is gone, and the transaction with it.
            tracing::debug!(%error, "rollback of an HTTP request");
        }
    }

    fn failed(&self, error: &Error) -> Response<Bytes> {
        tracing::debug!(%error, "an Idempotency-Key was not completed");
        of_error(error, self.options.documentation())
    }
}

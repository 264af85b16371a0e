//! Key, response and the handler's writes in one transaction.

use std::sync::Arc;

use bytes::Bytes;
use exactly_once_core::{
    Claim, Claimed, Error, ErrorKind, IdempotencyStore, Receipt, Settled,
    adapter::{nested::within, settle_refusal},
};
use http::{Request, Response};
use http_body_util::Either;

use super::{
    keyed_tx::KeyedTx,
    layer::{Answered, Failed, Form, Handler, ResponseBody, whole},
    options::{Ending, Options},
    problem::{SOON, internal, later, of_claim},
    request::Keyed,
    stored,
};

/// The [transactional form](super::IdempotencyKeyLayer::transactional).
#[derive(Clone, Debug)]
pub struct TransactionalForm<S>(pub(super) S);

impl<S: IdempotencyStore> Form for TransactionalForm<S> {
    fn max_receipt_bytes(&self) -> usize {
        self.0.capabilities().max_receipt_bytes
    }

    async fn run<R: Send + 'static, E: Send + 'static>(
        self,
        options: Arc<Options>,
        keyed: Keyed,
        handler: Handler<R, E>,
    ) -> std::result::Result<Response<ResponseBody<R>>, E> {
        let turn = Turn {
            store: &self.0,
            claim: &keyed.claim,
            options: &options,
        };
        match turn.claim().await {
            Ok(tx) => {
                let lent = KeyedTx::new(
                    self.0.clone(),
                    keyed.claim.key().clone(),
                    keyed.client_key.clone(),
                    keyed.begun.clone(),
                    tx,
                );
                turn.run(lent, keyed.request, handler).await
            }
            Err(answer) => Ok(whole(*answer)),
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
                let documentation = self.options.documentation();
                return Err(Box::new(stored::replay(outcome, documentation)));
            }
            Ok(Claimed::InProgress { retry_after }) => ErrorKind::InProgress { retry_after },
            Ok(Claimed::Mismatch) => ErrorKind::Mismatch,
            Err(error) => return Err(Box::new(self.failed(&error))),
        };
        let error = Error::new(kind, "claim", self.store.backend());
        let documentation = self.options.documentation();
        Err(Box::new(of_claim(&error, documentation)))
    }

    /// Dropped at any point, here or in the handler, the transaction is rolled back.
    async fn run<R, E>(
        &self,
        keyed: KeyedTx<S>,
        request: Request<Bytes>,
        handler: Handler<R, E>,
    ) -> std::result::Result<Response<ResponseBody<R>>, E> {
        let mut request = request;
        request.extensions_mut().insert(keyed.clone());
        let answered = within(self.store.place(), handler(request)).await;
        let Some(tx) = keyed.take() else {
            // Dropping its guard rolls it back.
            tracing::error!("a handler has answered and holds its transaction still");
            return Ok(whole(internal(
                "The request's transaction was not given back",
                "nothing was done",
            )));
        };
        if matches!(answered, Err(Failed::TooLong)) {
            // A statement may be running in it still: its end is not waited for.
            drop(tx);
            let documentation = self.options.documentation();
            return Ok(whole(later(
                "The request took too long, and nothing was done",
                SOON,
                documentation,
            )));
        }
        let failed = match answered {
            Ok(Answered::Whole(response, ending)) => {
                return Ok(whole(self.end(tx, response, ending).await));
            }
            Ok(Answered::Passing(response)) => {
                self.roll_back(tx).await;
                return Ok(response.map(Either::Left));
            }
            Err(failed) => failed,
        };
        self.roll_back(tx).await;
        Ok(whole(match failed {
            Failed::Service(error) => return Err(error),
            Failed::TooLarge(_) => too_large(),
            Failed::Body | Failed::TooLong => internal(
                "The response did not end",
                "nothing was done: repeat the request with the same key",
            ),
        }))
    }

    async fn end(&self, tx: S::Tx, response: Response<Bytes>, ending: Ending) -> Response<Bytes> {
        let receipt = match stored::receipt(&response, &self.options.keep_headers) {
            Ok(receipt) => receipt,
            Err(error) => {
                self.roll_back(tx).await;
                return self.failed(&error);
            }
        };
        let tx = match ending {
            Ending::Commit => tx,
            Ending::Refuse | Ending::RollBack => {
                self.roll_back(tx).await;
                // Another attempt may have come in between: then its answer stands.
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
        let error = match self.store.complete(tx, self.claim, receipt).await {
            Ok(Settled::Recorded) => return response,
            Ok(Settled::Superseded(outcome)) => {
                return stored::replay(outcome, self.options.documentation());
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::TooLarge {
            tracing::error!(%error, "a response was too large to be stored");
            return too_large();
        }
        // Refused at the commit, by a deferred constraint say: as final as in the work.
        match settle_refusal(self.store, "complete", self.claim, error).await {
            Ok(outcome) => stored::replay(outcome, self.options.documentation()),
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
        of_claim(error, self.options.documentation())
    }
}

fn too_large() -> Response<Bytes> {
    internal(
        "The response is too large to be stored",
        "nothing was done; the service must answer with less",
    )
}

//! The transaction that the key was claimed in, for the handler.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use bytes::Bytes;
use exactly_once_core::{Error, ErrorKind, IdempotencyKey, Result, Transactional, WorkError};
use http::Response;
use http_body_util::Full;
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use super::{options::Begun, problem::problem};

/// The transaction that the request's key was claimed in: what is written in it is committed with
/// the key and the response, or not at all.
///
/// It is in the request's extensions; with axum, `Extension<KeyedTx<SqliteStore>>`. The layer ends
/// the transaction when the handler has answered; a handler must let go of it before.
pub struct KeyedTx<S: Transactional> {
    store: S,
    key: IdempotencyKey,
    client_key: IdempotencyKey,
    begun: Begun,
    /// `None` once the layer has taken it back.
    tx: Arc<Mutex<Option<S::Tx>>>,
}

impl<S: Transactional> KeyedTx<S> {
    pub(super) fn new(
        store: S,
        key: IdempotencyKey,
        client_key: IdempotencyKey,
        begun: Begun,
        tx: S::Tx,
    ) -> Self {
        Self {
            store,
            key,
            client_key,
            begun,
            tx: Arc::new(Mutex::new(Some(tx))),
        }
    }

    /// The transaction, for one caller at a time.
    ///
    /// From here on a response with a status of 4xx is the handler's own decision, which the layer
    /// records (see [`Ending`](super::Ending)).
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) once the handler has answered: the transaction has ended.
    pub async fn lock(&self) -> Result<TxGuard<S>> {
        let guard = self.tx.clone().lock_owned().await;
        match OwnedMutexGuard::try_map(guard, Option::as_mut) {
            Ok(tx) => {
                self.begun.set();
                Ok(TxGuard(tx))
            }
            Err(_) => Err(Error::new(ErrorKind::Invalid, "lock", self.store.backend())
                .with_message("the request's transaction is over: its handler has answered")),
        }
    }

    /// The store, in the namespace that the layer has it in.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The request's key as it is [stored](super::stored_key()), with the client's scope: name with
    /// it what the handler does under this key, and no other client's request has the same name.
    pub const fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The request's key as the client sent it.
    pub const fn client_key(&self) -> &IdempotencyKey {
        &self.client_key
    }

    /// The response to an error that the work met: its status by what the *store* says of it, and a
    /// problem as body. A [rejection](exactly_once_core::Rejection) responds with its own status.
    ///
    /// The response carries its [`Ending`](super::Ending), as [`problem`](super::problem()) has it.
    pub fn problem(&self, error: impl Into<WorkError>) -> Response<Full<Bytes>> {
        let error = error.into().into_error("http", &self.store);
        tracing::debug!(%error, "the work of an HTTP request failed");
        problem(&error)
    }

    /// Takes the transaction back; `None` while a guard of it is alive.
    pub(super) fn take(&self) -> Option<S::Tx> {
        self.tx.try_lock().ok()?.take()
    }
}

impl<S: Transactional> Clone for KeyedTx<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
            client_key: self.client_key.clone(),
            begun: self.begun.clone(),
            tx: self.tx.clone(),
        }
    }
}

/// Without the transaction: a driver's handle need not be printable.
impl<S: Transactional> fmt::Debug for KeyedTx<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedTx")
            .field("backend", &self.store.backend())
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// The transaction, held.
pub struct TxGuard<S: Transactional>(OwnedMappedMutexGuard<Option<S::Tx>, S::Tx>);

impl<S: Transactional> fmt::Debug for TxGuard<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TxGuard")
    }
}

impl<S: Transactional> Deref for TxGuard<S> {
    type Target = S::Tx;

    fn deref(&self) -> &S::Tx {
        &self.0
    }
}

impl<S: Transactional> DerefMut for TxGuard<S> {
    fn deref_mut(&mut self) -> &mut S::Tx {
        &mut self.0
    }
}

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

use super::problem::problem;

/// The transaction that the request's key was claimed in: what is written in it is committed with
/// the key and the response, or not at all.
///
/// It is in the request's extensions; with axum, `Extension<KeyedTx<SqliteStore>>`. The layer ends
/// the transaction when the handler has answered; a handler must let go of it before.
pub struct KeyedTx<S: Transactional> {
    store: S,
    key: IdempotencyKey,
    /// `None` once the layer has taken it back.
    tx: Arc<Mutex<Option<S::Tx>>>,
}

impl<S: Transactional> KeyedTx<S> {
    pub(super) fn new(store: S, key: IdempotencyKey, tx: S::Tx) -> Self {
        Self {
            store,
            key,
            tx: Arc::new(Mutex::new(Some(tx))),
        }
    }

    /// The transaction, for one at a time.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) once the handler has answered: the transaction is over.
    pub async fn lock(&self) -> Result<TxGuard<S>> {
        let guard = self.tx.clone().lock_owned().await;
        match OwnedMutexGuard::try_map(guard, Option::as_mut) {
            Ok(tx) => Ok(TxGuard(tx)),
            Err(_) => Err(Error::new(ErrorKind::Invalid, "lock", self.store.backend())
                .with_message("the request's transaction is over: its handler has answered")),
        }
    }

    /// The store, in the client's namespace.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The request's key.
    pub const fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The answer to an error that the work met: its status by what the *store* says of it, and a
    /// problem as body. A [rejection](exactly_once_core::Rejection) answers with its own status.
    pub fn problem(&self, error: impl Into<WorkError>) -> Response<Full<Bytes>> {
        let error = error.into().into_error("http", &self.store);
        tracing::debug!(%error, "the work of an HTTP request failed");
        problem(&error)
    }

    /// Takes the transaction back; `None` where somebody holds it still.
    pub(super) fn take(&self) -> Option<S::Tx> {
        self.tx.try_lock().ok()?.take()
    }
}

impl<S: Transactional> Clone for KeyedTx<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            key: self.key.clone(),
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

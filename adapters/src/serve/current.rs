//! What is served at this moment, and how it is replaced.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use super::{catalog::Catalog, restate::Endpoint};

/// The catalog in force, with its endpoint.
pub(super) struct Current {
    now: RwLock<Now>,
    ending: AtomicBool,
}

struct Now {
    catalog: Arc<Catalog>,
    endpoint: Endpoint,
    reloads: u64,
    /// Why the last reload changed nothing.
    refused: Option<String>,
}

impl Current {
    pub(super) fn new(catalog: Arc<Catalog>, endpoint: Endpoint) -> Self {
        Self {
            now: RwLock::new(Now {
                catalog,
                endpoint,
                reloads: 0,
                refused: None,
            }),
            ending: AtomicBool::new(false),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Now) -> T) -> T {
        read(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Cheap: it is taken for each request.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.read(|now| now.endpoint.clone())
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        self.read(|now| now.catalog.clone())
    }

    /// Serves these from now on, and returns what was served before.
    pub(super) fn replace(&self, catalog: Arc<Catalog>, endpoint: Endpoint) -> Arc<Catalog> {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let reloads = now.reloads + 1;
        let new = Now {
            catalog,
            endpoint,
            reloads,
            refused: None,
        };
        std::mem::replace(&mut *now, new).catalog
    }

    /// A reload was refused; what is served stays.
    pub(super) fn refuse(&self, why: String) {
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.refused = Some(why);
    }

    pub(super) fn state(&self) -> Value {
        self.read(|now| json!({ "reloads": now.reloads, "last_reload_refused": now.refused }))
    }

    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }
}

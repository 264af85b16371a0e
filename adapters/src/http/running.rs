//! The keys whose requests this process is working on.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use exactly_once_core::{Claim, ErrorKind, Fingerprint, IdempotencyKey};

/// When a repeated request may find the first one done.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A repeat of a request in progress gets its answer here, and so waits for no lock and holds no
/// connection of the store, which other keys need.
#[derive(Clone, Debug, Default)]
pub(super) struct Running(Arc<Mutex<HashMap<IdempotencyKey, Fingerprint>>>);

impl Running {
    /// Marks the key as in progress until the guard drops.
    pub(super) fn enter(&self, claim: &Claim) -> Result<Entered, ErrorKind> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match keys.entry(claim.key().clone()) {
            Entry::Occupied(other) if other.get() != claim.fingerprint() => {
                Err(ErrorKind::Mismatch)
            }
            Entry::Occupied(_) => Err(ErrorKind::InProgress {
                retry_after: RETRY_AFTER,
            }),
            Entry::Vacant(free) => {
                free.insert(*claim.fingerprint());
                Ok(Entered {
                    running: self.clone(),
                    key: claim.key().clone(),
                })
            }
        }
    }
}

/// The key is in progress here.
#[derive(Debug)]
pub(super) struct Entered {
    running: Running,
    key: IdempotencyKey,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut keys = self
            .running
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

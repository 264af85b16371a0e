//! Rivals of one key in one process wait here, and not each with a connection of the pool.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use exactly_once_core::{Claim, Fingerprint};
use tokio::{sync::OwnedMutexGuard, time::timeout};

/// A key of a namespace.
type Name = (String, String);

/// What is known of a key that a caller of this process is busy with.
#[derive(Default)]
struct Slot {
    turn: Arc<tokio::sync::Mutex<()>>,
    /// The request of the caller that holds the key's row; not of one that waits for it.
    holder: Mutex<Option<Fingerprint>>,
}

impl Slot {
    fn holder(&self) -> MutexGuard<'_, Option<Fingerprint>> {
        self.holder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys that callers of this process are busy with.
#[derive(Default)]
pub(super) struct Rivals(Mutex<HashMap<Name, Arc<Slot>>>);

impl Rivals {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Arc<Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a caller is busy with this key.
    pub(super) fn are_there(&self, namespace: &str, claim: &Claim) -> bool {
        self.lock().contains_key(&name(namespace, claim))
    }

    /// Waits for its turn with this key, so long.
    pub(super) async fn turn(
        self: &Arc<Self>,
        namespace: &str,
        claim: &Claim,
        patience: Duration,
    ) -> Result<Turn, Rival> {
        let name = name(namespace, claim);
        let slot = Arc::clone(self.lock().entry(name.clone()).or_default());
        // Removes the slot, also where this caller is dropped while it waits.
        let place = Place {
            rivals: Arc::clone(self),
            name,
            slot,
        };
        match timeout(patience, Arc::clone(&place.slot.turn).lock_owned()).await {
            Ok(turn) => Ok(Turn { _turn: turn, place }),
            Err(_) => {
                let other = |holder: &Fingerprint| holder != claim.fingerprint();
                Err(match place.slot.holder().as_ref().is_some_and(other) {
                    true => Rival::OfAnotherRequest,
                    false => Rival::OfThisRequest,
                })
            }
        }
    }
}

fn name(namespace: &str, claim: &Claim) -> Name {
    (namespace.to_owned(), claim.key().as_str().to_owned())
}

/// Why it is not this caller's turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rival {
    /// Another attempt at the same, or one of which nothing is known.
    OfThisRequest,
    /// The holder's request is another one.
    OfAnotherRequest,
}

/// The right to ask the database for a key, and then to hold it.
pub(super) struct Turn {
    // Dropped first: then only the place has the slot.
    _turn: OwnedMutexGuard<()>,
    place: Place,
}

impl Turn {
    /// From now on the key's row is held for this request.
    pub(super) fn holds(&self, claim: &Claim) {
        *self.place.slot.holder() = Some(*claim.fingerprint());
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.place.slot.holder() = None;
    }
}

/// A caller that has a key's slot or waits for it.
struct Place {
    rivals: Arc<Rivals>,
    name: Name,
    slot: Arc<Slot>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slots = self.rivals.lock();
        // The map's, and this one.
        if Arc::strong_count(&self.slot) <= 2 {
            slots.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use exactly_once_core::IdempotencyKey;

    use super::*;

    fn claim(key: &str, request: &str) -> Claim {
        let key = IdempotencyKey::new(key).unwrap();
        Claim::new(key, Fingerprint::of("test", request).unwrap())
    }

    #[tokio::test]
    async fn one_at_a_time_and_nothing_is_left() {
        let rivals = Arc::new(Rivals::default());
        let (one, other) = (claim("k", "one"), claim("k", "other"));
        let brief = Duration::from_millis(20);
        let turn = rivals.turn("n", &one, brief).await.ok().unwrap();
        let waits = |claim: Claim| {
            let rivals = Arc::clone(&rivals);
            async move { rivals.turn("n", &claim, brief).await.err() }
        };
        // It may be waiting itself: nothing is known of the holder's request.
        assert_eq!(waits(other.clone()).await, Some(Rival::OfThisRequest));
        turn.holds(&one);
        assert_eq!(waits(other.clone()).await, Some(Rival::OfAnotherRequest));
        assert_eq!(waits(one.clone()).await, Some(Rival::OfThisRequest));
        assert!(rivals.turn("m", &one, brief).await.is_ok());
        assert!(rivals.turn("n", &claim("l", "one"), brief).await.is_ok());
        assert!(rivals.are_there("n", &other));
        let next = tokio::spawn({
            let (rivals, other) = (Arc::clone(&rivals), other.clone());
            async move {
                rivals
                    .turn("n", &other, Duration::from_secs(20))
                    .await
                    .is_ok()
            }
        });
        tokio::task::yield_now().await;
        drop(turn);
        assert!(next.await.unwrap());
        assert!(rivals.lock().is_empty());
    }
}

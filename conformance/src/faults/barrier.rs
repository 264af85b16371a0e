//! Named points at which a script holds one attempt while others overtake it: how zombies are
//! made to order.
//!
//! ```
//! # use exactly_once_conformance::faults::barrier::Barriers;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let barriers = Barriers::default();
//! let gate = barriers.hold("before the marker");
//! let zombie = tokio::spawn({
//!     let barriers = barriers.clone();
//!     async move { barriers.pass("before the marker").await }
//! });
//! gate.reached().await;                          // the first attempt is held here …
//! barriers.pass("before the marker").await;      // … while its retry passes
//! gate.release();                                // and now it wakes
//! zombie.await.unwrap();
//! # }
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Set,
    Reached,
    Released,
}

/// The barriers of one script, by name; clones share them.
#[derive(Clone, Default)]
pub struct Barriers {
    set: Arc<Mutex<HashMap<String, watch::Sender<Stage>>>>,
}

/// One held point. Dropping it releases the callers that wait there.
pub struct Gate {
    name: String,
    stage: watch::Sender<Stage>,
    barriers: Barriers,
}

impl Barriers {
    /// Holds the *first* that comes to this point from now on; later ones pass. That is what a
    /// zombie is: the attempt that was there first, and is overtaken.
    #[must_use = "dropping the gate opens it"]
    pub fn hold(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        let (stage, _) = watch::channel(Stage::Set);
        self.lock().insert(name.clone(), stage.clone());
        Gate {
            name,
            stage,
            barriers: self.clone(),
        }
    }

    /// Comes to a point: waits if it is held, and returns at once if it is not.
    pub async fn pass(&self, name: &str) {
        let Some(stage) = self.lock().remove(name) else {
            return;
        };
        let mut waits = stage.subscribe();
        stage.send_if_modified(|stage| {
            let waiting = *stage == Stage::Set;
            if waiting {
                *stage = Stage::Reached;
            }
            waiting
        });
        drop(stage);
        // An error means that the gate is gone, which releases too.
        let _ = waits.wait_for(|stage| *stage == Stage::Released).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Stage>>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Waits until a caller is held here.
    pub async fn reached(&self) {
        let mut stages = self.stage.subscribe();
        // `self` holds the sender, so there is always one to wait for.
        let _ = stages.wait_for(|stage| *stage != Stage::Set).await;
    }

    /// Lets go of the callers that are held, and holds none any more.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut set = self.barriers.lock();
        // Only its own: the same name may have been set again since.
        if set
            .get(&self.name)
            .is_some_and(|set| set.same_channel(&self.stage))
        {
            set.remove(&self.name);
        }
        self.stage.send_replace(Stage::Released);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    #[tokio::test]
    async fn the_first_is_held_until_released_and_the_second_passes() {
        let barriers = Barriers::default();
        let gate = barriers.hold("here");
        assert!(
            timeout(SHORT, gate.reached()).await.is_err(),
            "nobody came yet"
        );
        let mut zombie = tokio::spawn({
            let barriers = barriers.clone();
            async move { barriers.pass("here").await }
        });
        gate.reached().await;
        barriers.pass("here").await;
        assert!(timeout(SHORT, &mut zombie).await.is_err(), "still held");
        gate.release();
        zombie.await.unwrap();
    }

    #[tokio::test]
    async fn a_dropped_gate_holds_nobody() {
        let barriers = Barriers::default();
        drop(barriers.hold("here"));
        timeout(SHORT, barriers.pass("here")).await.unwrap();
    }

    #[tokio::test]
    async fn a_gate_that_replaced_another_outlives_it() {
        let barriers = Barriers::default();
        let first = barriers.hold("here");
        let second = barriers.hold("here");
        drop(first);
        assert!(
            timeout(SHORT, barriers.pass("here")).await.is_err(),
            "held by the second"
        );
        second.reached().await;
    }

    #[tokio::test]
    async fn names_are_apart() {
        let barriers = Barriers::default();
        let _gate = barriers.hold("here");
        timeout(SHORT, barriers.pass("there")).await.unwrap();
    }
}

//! The store's clock: this machine's, or one that a test moves by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use exactly_once_core::Timestamp;

/// A clock that stands still until a test moves it. Clones are one clock.
///
/// ```
/// use std::time::Duration;
/// use exactly_once::{Store, memory::{MemoryStore, VirtualClock}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> exactly_once::Result<()> {
/// let clock = VirtualClock::default();
/// let store = MemoryStore::with_clock(clock.clone());
/// let before = store.now().await?;
/// clock.advance(Duration::from_secs(3600));
/// assert_eq!(store.now().await?.since(before), Duration::from_secs(3600));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicI64>);

impl VirtualClock {
    /// A clock that shows this moment.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(moment.as_micros())))
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        if let Some(later) = self.now().checked_add(by) {
            self.set(later);
        }
    }

    /// Sets it, backwards too.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.as_micros(), Ordering::SeqCst);
    }
}

#[derive(Debug)]
pub(super) enum Clock {
    System,
    Virtual(VirtualClock),
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Virtual(clock) => clock.now(),
            Self::System => {
                let since = SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default();
                Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
            }
        }
    }
}

//! Where a call stands between its caller and the thread that serves it, and how long the caller
//! waits: each limit counts from the start of the call.

use std::{
    cell::RefCell,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use exactly_once_core::{
    Error, ErrorKind, Place, Result,
    adapter::{nested::is_within, refusals},
};
use tokio::sync::oneshot;

use super::{
    error::{STORE, error},
    queue::KeyInUse,
};
use crate::alarm::until;

/// Where a call stands between its caller and the thread. The one that moves it first decides: a
/// call that its caller gave up is never begun, and one that was begun is waited for.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU8);

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

impl Turn {
    fn move_to(&self, next: u8) -> bool {
        let moved = self
            .0
            .compare_exchange(WAITING, next, Ordering::AcqRel, Ordering::Acquire);
        moved.is_ok() || moved == Err(next)
    }

    /// Begins the call, unless its caller has given up.
    pub(super) fn begin(&self) -> bool {
        self.move_to(BEGUN)
    }

    /// Gives the call up, unless it was begun.
    pub(super) fn give_up(&self) -> bool {
        self.move_to(GIVEN_UP)
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.load(Ordering::Acquire) == GIVEN_UP
    }
}

/// A value of a caller's. A panic while it is dropped must not end the thread for all others.
pub(super) struct Quiet<T>(pub(super) Option<T>);

impl<T> Drop for Quiet<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        if value.is_some()
            && let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(value)))
        {
            tracing::error!("a caller's value panicked while it was dropped");
            // Its drop may panic as well.
            std::mem::forget(panic);
        }
    }
}

thread_local! {
    /// The file that this thread serves, on a thread of a store's own.
    static SERVED: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// Makes calls on this file from this thread nested ones.
pub(super) fn serve_here(place: Place) {
    SERVED.with(|slot| *slot.borrow_mut() = Some(place));
}

/// Fails on a thread that serves the same file: a call from inside of work would wait for itself.
pub(super) fn check_nested(place: &Place, operation: &'static str) -> Result<()> {
    if SERVED.with(|slot| slot.borrow().as_ref() == Some(place)) {
        return Err(nested(
            operation,
            "the store was called from inside of its own work, on the thread that the call needs: \
             use the connection that the closure was given",
        ));
    }
    Ok(())
}

/// Fails in work whose transaction holds the writer, which the call would wait for.
pub(super) fn check_free(place: &Place, operation: &'static str) -> Result<()> {
    check_nested(place, operation)?;
    if is_within(place) {
        return Err(nested(
            operation,
            "the store was called from inside of its own work, whose transaction holds the only \
             writer: use the transaction that the work was given",
        ));
    }
    Ok(())
}

fn nested(operation: &'static str, message: &'static str) -> Error {
    error(ErrorKind::Invalid, operation, message)
}

/// What the thread of a store waits for or is held by, for the callers behind it.
#[derive(Debug, Default)]
pub(super) struct Hold {
    /// Whether an interactive transaction has the thread.
    in_session: AtomicBool,
    /// Its key.
    key: Mutex<Option<KeyInUse>>,
    /// Whether the thread waits for the lock of another connection.
    at_lock: AtomicBool,
}

impl Hold {
    pub(super) fn is_held(&self) -> bool {
        self.in_session.load(Ordering::Relaxed)
    }

    pub(super) fn begin_session(&self, key: Option<KeyInUse>) {
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = key;
        self.in_session.store(true, Ordering::Relaxed);
    }

    pub(super) fn end_session(&self) {
        self.in_session.store(false, Ordering::Relaxed);
        *self.key.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Runs what may wait for the lock of another connection.
    pub(super) fn locking<T>(&self, begin: impl FnOnce() -> T) -> T {
        self.at_lock.store(true, Ordering::Relaxed);
        let answer = begin();
        self.at_lock.store(false, Ordering::Relaxed);
        answer
    }

    fn has_key(&self, asked: Option<&KeyInUse>) -> bool {
        let held = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref()
            .zip(asked)
            .is_some_and(|(held, asked)| held.same_key(asked))
    }
}

/// When a rival should ask again, where nothing says how long the work will take.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// The answer to a call that waited for another attempt at its own key.
pub(super) fn in_progress(operation: &'static str) -> Error {
    refusals::in_progress(RETRY_AFTER, operation, STORE)
}

/// The answer to a call that waited for another transaction.
pub(super) fn held(operation: &'static str) -> Error {
    error(
        ErrorKind::Busy,
        operation,
        "another transaction held the writer for longer than the lock timeout; retry",
    )
}

/// The answer to a call that waited for another process.
fn locked(operation: &'static str) -> Error {
    error(
        ErrorKind::Busy,
        operation,
        "another connection holds the database's write lock",
    )
}

/// What bounds a call that was not begun yet.
pub(super) struct Patience {
    pub(super) operation: &'static str,
    pub(super) since: Instant,
    /// For another transaction of this store.
    pub(super) lock_timeout: Duration,
    /// For another connection or process.
    pub(super) busy_timeout: Duration,
    pub(super) key: Option<KeyInUse>,
    pub(super) turn: Arc<Turn>,
}

impl Patience {
    /// Waits for the answer. A call that is not begun at its limit is given up; one that was begun
    /// is waited for.
    pub(super) async fn wait<T>(
        self,
        hold: &Hold,
        answer: &mut oneshot::Receiver<Result<T>>,
        lost: impl FnOnce(&'static str) -> Error,
    ) -> Result<T> {
        let mut limits = [(self.lock_timeout, false), (self.busy_timeout, true)];
        limits.sort_unstable();
        let last = limits[1].0;
        for (limit, foreign) in limits {
            let Some(end) = self.since.checked_add(limit) else {
                break;
            };
            if let Some(answered) = until(end, &mut *answer).await {
                return answered.map_err(|_| lost(self.operation))?;
            }
            let at_lock = hold.at_lock.load(Ordering::Relaxed);
            if (foreign == at_lock || limit == last) && self.turn.give_up() {
                return Err(if at_lock {
                    locked(self.operation)
                } else if hold.has_key(self.key.as_ref()) {
                    in_progress(self.operation)
                } else {
                    held(self.operation)
                });
            }
        }
        answer.await.map_err(|_| lost(self.operation))?
    }
}

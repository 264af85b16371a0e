//! Calls from inside of a store's own work.
//!
//! A store whose transaction holds what every other call needs (its one writer, its one connection) can
//! only make a nested call wait for itself. Work is therefore polled [`within`] its store's place, and
//! such a store asks [`is_within`] and refuses the call at once, instead of at its lock timeout.
//!
//! A call from another task is not seen here, even if the work waits for that task.

use std::{cell::RefCell, future::Future};

use crate::place::Place;

thread_local! {
    /// The stores whose work this thread is polling, the innermost last.
    static POLLED: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// Marks the thread while it lives.
struct Polling;

impl Polling {
    fn enter(place: &Place) -> Self {
        // A thread that is being torn down polls nothing that could be nested.
        let _ = POLLED.try_with(|polled| polled.borrow_mut().push(place.clone()));
        Self
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        let _ = POLLED.try_with(|polled| polled.borrow_mut().pop());
    }
}

/// Runs work that has a transaction open at this place.
///
/// ```
/// # use exactly_once_core::{adapter::nested::{is_within, within}, Place};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let here = Place::new(["file", "shop.db"]);
/// assert!(within(here.clone(), async { is_within(&here) }).await);
/// assert!(!is_within(&here));
/// # }
/// ```
pub async fn within<F: Future>(place: Place, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(|context| {
        let _polling = Polling::enter(&place);
        work.as_mut().poll(context)
    })
    .await
}

/// Whether this call is made by work that has a transaction open at this place.
#[must_use]
pub fn is_within(place: &Place) -> bool {
    let seen = POLLED.try_with(|polled| polled.borrow().contains(place));
    seen.unwrap_or(false)
}

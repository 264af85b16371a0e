//! Ends a future from inside: what it awaits never comes, and its driver gets the reason.

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use futures_util::task::AtomicWaker;

/// A place for the reason, and for the task that waits for it.
#[derive(Debug)]
pub(super) struct Signal<T> {
    reason: Mutex<Option<T>>,
    driver: AtomicWaker,
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self {
            reason: Mutex::new(None),
            driver: AtomicWaker::new(),
        }
    }
}

impl<T> Signal<T> {
    /// Stops the attempt that awaits this: it is dropped here, and sees nothing of it. Of two
    /// reasons, the first one stands.
    pub(super) async fn stop<N>(&self, reason: T) -> N {
        lock(&self.reason).get_or_insert(reason);
        self.driver.wake();
        pending().await
    }

    /// The output of the future, unless it is stopped; then it is dropped when this returns.
    pub(super) async fn unless_stopped<F: Future>(&self, future: F) -> Result<F::Output, T> {
        let mut future = pin!(future);
        poll_fn(|context| {
            self.driver.register(context.waker());
            let polled = future.as_mut().poll(context);
            match lock(&self.reason).take() {
                Some(reason) => Poll::Ready(Err(reason)),
                None => polled.map(Ok),
            }
        })
        .await
    }
}

/// A panic of a test's own code must not hide what the test is about.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The gate before the readers: the writer closes it to move a log that has grown too long.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

#[derive(Debug, Default)]
struct State {
    reading: usize,
    closed: bool,
}

/// Counts the reads that are under way. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<(Mutex<State>, Condvar)>);

/// One read; ends when it is dropped.
pub(super) struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0
            .change(|state| state.reading = state.reading.saturating_sub(1));
    }
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }

    /// Begins a read; waits while the gate is closed.
    pub(super) fn enter(&self) -> Inside<'_> {
        let (state, moved) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.closed {
            state = moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.reading += 1;
        Inside(self)
    }

    /// Closes the gate, waits until the reads under way have ended, and runs `work`; not for longer
    /// than `patience`. Then the gate is open again, and `None` is the answer.
    pub(super) fn without_readers<T>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> T,
    ) -> Option<T> {
        /// Opens the gate again, also after a panic.
        struct Reopen<'a>(&'a Gate);
        impl Drop for Reopen<'_> {
            fn drop(&mut self) {
                self.0.change(|state| state.closed = false);
            }
        }
        self.change(|state| state.closed = true);
        let _reopen = Reopen(self);
        let end = Instant::now() + patience;
        let (state, moved) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.reading > 0 {
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return None;
            }
            state = moved
                .wait_timeout(state, rest)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        drop(state);
        Some(work())
    }
}

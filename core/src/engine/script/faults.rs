//! What goes wrong in a run, and at which point of it.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex},
};

use super::signal::{Signal, lock};

/// What goes wrong in a run, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// The process is gone: the attempt is dropped, and sees nothing of it.
    Crash,
    /// The store's answer to the step at this point is lost: the effect is committed, and the step
    /// sees [ambiguous](crate::ErrorKind::Ambiguous). At a point that follows no answer, nothing.
    LostReply,
    /// The run is cancelled.
    Cancel,
}

/// A process that is gone; see [`Fault::Crash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed;

/// The points of a run, counted over all of its attempts, and what goes wrong at one of them.
///
/// Each entry of the journal has three: before the step, between its effect and the entry, and after
/// the entry. Work has as many more as it [passes](Self::point). Clones count together.
#[derive(Clone, Default)]
pub struct Faults(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    crash: Signal<Crashed>,
}

#[derive(Default)]
struct State {
    plan: Option<(Fault, usize)>,
    passed: usize,
    fired: bool,
    cancelled: bool,
    on_cancel: Option<Box<dyn FnOnce() + Send>>,
}

impl Faults {
    /// No fault: the run's points are only counted.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// This fault, at the point of this number, counted from 0.
    #[must_use]
    pub fn at(fault: Fault, point: usize) -> Self {
        let faults = Self::default();
        lock(&faults.0.state).plan = Some((fault, point));
        faults
    }

    /// A point in the middle of work, where the run may be cancelled or crash.
    ///
    /// ```
    /// # use exactly_once_core::{Transactional, WorkError, engine::script::Faults};
    /// async fn work<S: Transactional>(faults: Faults, tx: &mut S::Tx) -> Result<(), WorkError> {
    ///     // …a first statement
    ///     faults.point().await; // a crash here leaves nothing of it
    ///     // …a second one
    ///     Ok(())
    /// }
    /// ```
    pub async fn point(&self) {
        if self.pass() == Some(Fault::Crash) {
            self.0.crash.stop(Crashed).await
        }
    }

    /// A point after an answer of the store; says whether the answer is lost.
    pub(super) async fn answered(&self) -> bool {
        match self.pass() {
            Some(Fault::Crash) => self.0.crash.stop(Crashed).await,
            fault => fault == Some(Fault::LostReply),
        }
    }

    fn pass(&self) -> Option<Fault> {
        let mut state = lock(&self.0.state);
        let here = state.passed;
        state.passed += 1;
        let fault = state
            .plan
            .and_then(|(fault, point)| (point == here).then_some(fault))?;
        state.fired = true;
        drop(state);
        if fault == Fault::Cancel {
            self.cancel();
        }
        Some(fault)
    }

    pub(super) fn cancel(&self) {
        let mut state = lock(&self.0.state);
        state.cancelled = true;
        let cancel = state.on_cancel.take();
        drop(state);
        if let Some(cancel) = cancel {
            cancel();
        }
    }

    /// Calls this when the run is cancelled, for an engine with a way of its own.
    pub fn on_cancel(&self, cancel: impl FnOnce() + Send + 'static) {
        lock(&self.0.state).on_cancel = Some(Box::new(cancel));
    }

    /// Whether the run was cancelled.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        lock(&self.0.state).cancelled
    }

    /// Whether the run has come to the point of the fault; until then there may be more points.
    #[must_use]
    pub fn fired(&self) -> bool {
        lock(&self.0.state).fired
    }

    /// How many points the run has passed so far.
    #[must_use]
    pub fn passed(&self) -> usize {
        lock(&self.0.state).passed
    }

    /// The output of a process, unless it crashes; then the future is dropped.
    ///
    /// # Errors
    /// [`Crashed`]: the engine has to make another attempt.
    pub async fn until_crash<F: Future>(&self, process: F) -> Result<F::Output, Crashed> {
        self.0.crash.unless_stopped(process).await
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0.state);
        f.debug_struct("Faults")
            .field("plan", &state.plan)
            .field("passed", &state.passed)
            .field("fired", &state.fired)
            .finish_non_exhaustive()
    }
}

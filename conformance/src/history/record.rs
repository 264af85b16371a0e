//! Records which calls overlapped, in one logical clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Notes the calls of many clients; clones write to one history.
pub struct Recorder<Op, Ret> {
    notes: Arc<Mutex<Notes<Op, Ret>>>,
}

struct Notes<Op, Ret> {
    clock: u64,
    operations: Vec<Operation<Op, Ret>>,
}

/// One call, from its beginning to its end.
#[derive(Clone, Debug)]
pub struct Operation<Op, Ret> {
    /// What was asked.
    pub op: Op,
    /// What is known of its end.
    pub outcome: Outcome<Ret>,
    /// When it began.
    began: u64,
    /// When it ended; of no meaning unless it was answered.
    ended: u64,
}

/// What is known of a call's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<Ret> {
    /// It was answered.
    Answered(Ret),
    /// The answer was lost: it took effect at any time since it began, or never.
    Maybe,
    /// It surely had no effect, and its answer says nothing of the state.
    Never,
}

/// A finished recording.
#[derive(Clone, Debug)]
pub struct History<Op, Ret> {
    operations: Vec<Operation<Op, Ret>>,
}

/// A call that is under way. Dropped without an answer, as a cancelled task does, it is a maybe.
#[must_use = "a call that is dropped at once overlaps with nothing"]
pub struct Call<Op, Ret> {
    notes: Arc<Mutex<Notes<Op, Ret>>>,
    at: usize,
}

impl<Op, Ret> Recorder<Op, Ret> {
    /// An empty recording.
    #[must_use]
    pub fn new() -> Self {
        Self {
            notes: Arc::new(Mutex::new(Notes {
                clock: 0,
                operations: Vec::new(),
            })),
        }
    }

    /// Notes that a call begins. Do this before anything is sent.
    pub fn begin(&self, op: Op) -> Call<Op, Ret> {
        let mut notes = lock(&self.notes);
        let began = notes.tick();
        let at = notes.operations.len();
        notes.operations.push(Operation {
            op,
            outcome: Outcome::Maybe,
            began,
            ended: u64::MAX,
        });
        Call {
            notes: Arc::clone(&self.notes),
            at,
        }
    }

    /// The history so far; calls still under way are maybes in it.
    #[must_use]
    pub fn history(&self) -> History<Op, Ret>
    where
        Op: Clone,
        Ret: Clone,
    {
        History {
            operations: lock(&self.notes).operations.clone(),
        }
    }
}

impl<Op, Ret> Default for Recorder<Op, Ret> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Op, Ret> Clone for Recorder<Op, Ret> {
    fn clone(&self) -> Self {
        Self {
            notes: Arc::clone(&self.notes),
        }
    }
}

impl<Op, Ret> Call<Op, Ret> {
    /// The call was answered. Do this after the answer has arrived.
    pub fn answered(self, ret: Ret) {
        self.end(Outcome::Answered(ret));
    }

    /// The answer was lost.
    pub fn maybe(self) {
        self.end(Outcome::Maybe);
    }

    /// The call surely had no effect, such as one refused before anything was sent.
    pub fn never(self) {
        self.end(Outcome::Never);
    }

    fn end(self, outcome: Outcome<Ret>) {
        let mut notes = lock(&self.notes);
        let ended = notes.tick();
        let operation = &mut notes.operations[self.at];
        operation.outcome = outcome;
        operation.ended = ended;
    }
}

impl<Op, Ret> Notes<Op, Ret> {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl<Op, Ret> History<Op, Ret> {
    /// The calls, in the order in which they began.
    #[must_use]
    pub fn operations(&self) -> &[Operation<Op, Ret>] {
        &self.operations
    }

    /// The calls on one of several independent objects. Histories of one account each are judged
    /// far faster than one history of them all, and are linearizable together exactly when each
    /// is (linearizability is local).
    #[must_use]
    pub fn of(&self, belongs: impl Fn(&Op) -> bool) -> Self
    where
        Op: Clone,
        Ret: Clone,
    {
        let kept = self
            .operations
            .iter()
            .filter(|operation| belongs(&operation.op))
            .cloned();
        Self {
            operations: kept.collect(),
        }
    }
}

impl<Op, Ret> Operation<Op, Ret> {
    pub(super) fn began(&self) -> u64 {
        self.began
    }

    /// When it had surely taken effect, if ever.
    pub(super) fn surely_ended(&self) -> Option<u64> {
        matches!(self.outcome, Outcome::Answered(_)).then_some(self.ended)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! What an engine learns of a step when it is made, and when it has its answer.

use std::fmt;

use super::Step;

/// Where the key of a step comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyedBy {
    /// From the engine: its [identity](super::Engine::identity) of the step.
    Engine,
    /// From the caller: [`Step::with_key`], or the name of a
    /// [`TransactionIdentity`](super::TransactionIdentity).
    Caller,
    /// The step has no key: a read.
    Nothing,
}

impl KeyedBy {
    /// For a step with an effect.
    #[must_use]
    pub fn of(step: &Step) -> Self {
        match step.key() {
            Some(_) => Self::Caller,
            None => Self::Engine,
        }
    }
}

/// What a step holds until it ends, where [its engine](super::Engine::enter) has to know that.
#[derive(Default)]
#[must_use = "the step has ended for the engine once this is dropped"]
pub struct Entered {
    on_answer: Option<Box<dyn FnOnce() + Send>>,
    held: Option<Box<dyn Send>>,
}

impl Entered {
    /// Dropped when the step ends: with an answer, with a failure, or because it is dropped itself.
    pub fn holding(held: impl Send + 'static) -> Self {
        Self {
            on_answer: None,
            held: Some(Box::new(held)),
        }
    }

    /// Called once the step has its answer: a value or a refusal. A step that ends otherwise may be
    /// called again within the attempt, and is the same one.
    pub fn on_answer(mut self, call: impl FnOnce() + Send + 'static) -> Self {
        self.on_answer = Some(Box::new(call));
        self
    }

    /// The step has its answer; for glue that makes steps of its own.
    pub fn answered(mut self) {
        if let Some(call) = self.on_answer.take() {
            call();
        }
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered")
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

//! One step of an invocation at a time.
//!
//! The SDK journals steps in the order in which they begin, and hangs on, or never gets past, two of
//! them that run side by side. So the second one is refused, when it is *made*: by then the order is
//! that of the code, on each attempt the same. At its first poll it would not be, since a step that
//! is journaled already ends at once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::context::Journal;
use crate::engine::Refusal;
use crate::{
    engine::Step,
    error::{Error, ErrorKind},
};

/// The step under way in each context of this process, by the place of the context's invocation id:
/// one that is borrowed can't move, and no other context is there meanwhile.
static UNDER_WAY: Mutex<Option<HashMap<usize, UnderWay>>> = Mutex::new(None);

struct UnderWay {
    /// Distinguishes a context from one that was there before, whose step was leaked.
    invocation: String,
    step: String,
}

fn under_way() -> MutexGuard<'static, Option<HashMap<usize, UnderWay>>> {
    UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step that is the only one of its context, until it is dropped.
#[derive(Debug)]
pub(super) struct Alone(usize);

impl Alone {
    /// Refuses the step if another one is not over.
    pub(super) fn begin<'ctx, C: Journal<'ctx>>(context: &C, step: &Step) -> Result<Self, Refusal> {
        Self::at(context.invocation(), step.name())
    }

    fn at(invocation: &str, step: &str) -> Result<Self, Refusal> {
        let place = invocation.as_ptr().addr();
        let mut under_way = under_way();
        let steps = under_way.get_or_insert_default();
        if let Some(other) = steps
            .get(&place)
            .filter(|other| other.invocation == invocation)
        {
            let error = Error::new(ErrorKind::Unsupported, "step", "restate").with_message(format!(
                "step `{step}` was made while step `{}` of the same invocation was under way, and the \
                 SDK can't run two side by side: await the first one before the second is made",
                other.step
            ));
            return Err(Refusal::from_error(&error));
        }
        let entry = UnderWay {
            invocation: invocation.to_owned(),
            step: step.to_owned(),
        };
        steps.insert(place, entry);
        Ok(Self(place))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(steps) = under_way().as_mut() {
            steps.remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_step_of_a_context_is_refused_by_name_until_the_first_is_over() {
        let (one, other) = ("inv_1".to_owned(), "inv_1".to_owned());
        let first = Alone::at(&one, "charge").unwrap();
        let refused = Alone::at(&one, "ship").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        assert!(refused.message().contains("`ship`"), "{refused}");
        assert!(refused.message().contains("`charge`"), "{refused}");
        // Another attempt at the same invocation is another context.
        let zombie = Alone::at(&other, "charge").unwrap();
        drop(first);
        drop(Alone::at(&one, "ship").unwrap());
        assert!(Alone::at(&other, "ship").is_err());
        drop(zombie);
    }

    #[test]
    fn a_leaked_step_does_not_refuse_those_of_the_next_context_at_its_place() {
        let mut place = "inv_1".to_owned();
        std::mem::forget(Alone::at(&place, "charge").unwrap());
        place.clear();
        place.push_str("inv_2");
        assert!(Alone::at(&place, "charge").is_ok());
    }
}

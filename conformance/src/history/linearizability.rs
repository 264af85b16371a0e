//! Is there an order of the calls that a sequential store could have produced?
//!
//! The search is Wing and Gong's, with Lowe's memory of configurations already seen: at each
//! step, any call that began before the first unplaced answer may come next, if the model then
//! answers what was seen. Stateright's `LinearizabilityTester` fits maybes badly: it
//! keeps one call in flight per thread, so a client could not go on after one, and it has no such
//! memory, so that a history that is wrong late takes it exponentially long to refuse.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt::{Debug, Write as _};
use std::hash::Hash;

use super::record::{History, Operation, Outcome};
use crate::check::{CaseFailure, CaseResult};

/// A sequential store: what each operation does when nothing else is going on.
pub trait Model {
    /// What may be asked.
    type Op: Debug;
    /// What may be answered.
    type Ret: PartialEq + Debug;
    /// All that an answer may depend on.
    type State: Clone + Eq + Hash;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The one answer to the operation in this state, and the state after it.
    fn apply(&self, state: &Self::State, op: &Self::Op) -> (Self::Ret, Self::State);
}

/// Configurations that are looked at before giving up.
const CONFIGURATIONS_MAX: usize = 500_000;

/// Checks that the history is linearizable.
///
/// # Errors
/// No order of the calls fits the answers: the failure shows how far the best one came. Or the
/// history has too many overlapping calls to decide, which is the case's mistake and not the
/// store's; [`History::of`] makes smaller ones.
pub fn check<M: Model>(model: &M, history: &History<M::Op, M::Ret>) -> CaseResult {
    match search(model, history.operations(), CONFIGURATIONS_MAX) {
        Verdict::Linearizable => Ok(()),
        Verdict::Not(placed) => Err(not_linearizable(model, history.operations(), &placed)),
        Verdict::Undecided => Err(CaseFailure::new(
            format!("a verdict within {CONFIGURATIONS_MAX} configurations"),
            format!(
                "a history of {} calls that overlap too much",
                history.operations().len()
            ),
        )
        .mistake("the history is judged as a whole where it could be split by object")),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Linearizable,
    /// The longest order that fits, as indexes.
    Not(Vec<usize>),
    Undecided,
}

/// An order under construction: the calls that have their place, and the state they lead to.
struct Step<S> {
    /// The call placed last; none at the start.
    placed_last: Option<usize>,
    placed: Set,
    state: S,
    /// Answered calls that still need a place.
    answered_left: usize,
    /// The calls that may come next, the most promising one last.
    candidates: Vec<usize>,
}

fn search<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
    configurations_max: usize,
) -> Verdict {
    let nothing = Set::empty(operations.len());
    let mut order = vec![Step {
        placed_last: None,
        state: model.initial(),
        answered_left: operations
            .iter()
            .filter(|call| call.surely_ended().is_some())
            .count(),
        candidates: candidates(operations, &nothing),
        placed: nothing,
    }];
    let mut seen = HashSet::new();
    let mut best = (usize::MAX, Vec::new());
    while let Some(step) = order.last_mut() {
        if step.answered_left < best.0 {
            let left = step.answered_left;
            best = (
                left,
                order.iter().filter_map(|step| step.placed_last).collect(),
            );
            // Maybes may stay without a place: they never happened.
            if left == 0 {
                return Verdict::Linearizable;
            }
            continue;
        }
        let Some(next) = step.candidates.pop() else {
            order.pop();
            continue;
        };
        let Some(next) = place(model, operations, step, next) else {
            continue;
        };
        // Whatever led to it: these calls placed and this state have no other future.
        if seen.insert((next.placed.clone(), next.state.clone())) {
            if seen.len() > configurations_max {
                return Verdict::Undecided;
            }
            order.push(next);
        }
    }
    Verdict::Not(best.1)
}

/// The order with this call added, if the model then answers what was seen.
fn place<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
    step: &Step<M::State>,
    next: usize,
) -> Option<Step<M::State>> {
    let call = &operations[next];
    let (answer, state) = model.apply(&step.state, &call.op);
    let answered = match &call.outcome {
        Outcome::Answered(seen) if *seen != answer => return None,
        Outcome::Answered(_) => 1,
        // A maybe that changes nothing explains nothing: leave it out.
        Outcome::Maybe | Outcome::Never if state == step.state => return None,
        Outcome::Maybe | Outcome::Never => 0,
    };
    let placed = step.placed.with(next);
    Some(Step {
        placed_last: Some(next),
        answered_left: step.answered_left - answered,
        candidates: candidates(operations, &placed),
        placed,
        state,
    })
}

/// The calls that may come next: no other unplaced call had ended before they began. Operations
/// are in the order of their beginnings, so the first that began too late ends the list.
fn candidates<Op, Ret>(operations: &[Operation<Op, Ret>], placed: &Set) -> Vec<usize> {
    let mut first_end = u64::MAX;
    let mut open = Vec::new();
    for (at, call) in operations.iter().enumerate() {
        if call.began() > first_end {
            break;
        }
        if placed.contains(at) || matches!(call.outcome, Outcome::Never) {
            continue;
        }
        first_end = first_end.min(call.surely_ended().unwrap_or(u64::MAX));
        open.push(at);
    }
    // Popped from the end: first the call that ended first, the maybes only when all else fails.
    open.sort_by_key(|at| Reverse(operations[*at].surely_ended().unwrap_or(u64::MAX)));
    open
}

/// A set of calls, by index.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Set(Vec<u64>);

impl Set {
    fn empty(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    fn with(&self, at: usize) -> Self {
        let mut set = self.clone();
        set.0[at / 64] |= 1 << (at % 64);
        set
    }
}

/// How many calls of the order a failure shows.
const SHOWN_MAX: usize = 12;

fn not_linearizable<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Ret>],
    placed: &[usize],
) -> CaseFailure {
    let mut state = model.initial();
    let mut set = Set::empty(operations.len());
    let mut text = format!(
        "of {} calls, {} can be put in order",
        operations.len(),
        placed.len()
    );
    if let Some(hidden) = placed
        .len()
        .checked_sub(SHOWN_MAX)
        .filter(|hidden| *hidden > 0)
    {
        let _ = write!(text, "\n({hidden} calls)");
    }
    for (place, at) in placed.iter().enumerate() {
        let (answer, next) = model.apply(&state, &operations[*at].op);
        if place + SHOWN_MAX >= placed.len() {
            let maybe = operations[*at]
                .surely_ended()
                .map_or(" (its answer was lost)", |_| "");
            let _ = write!(text, "\n{:?} answers {answer:?}{maybe}", operations[*at].op);
        }
        state = next;
        set = set.with(*at);
    }
    text.push_str("\nand then none of these fits:");
    for at in candidates(operations, &set) {
        let call = &operations[at];
        if let Outcome::Answered(seen) = &call.outcome {
            let (answer, _) = model.apply(&state, &call.op);
            let _ = write!(
                text,
                "\n{:?} answered {seen:?}, would answer {answer:?}",
                call.op
            );
        }
    }
    CaseFailure::new(
        "an order of the calls in which each answer is the right one",
        text,
    )
}

#[cfg(test)]
mod tests;

//! Histories that are right, and histories that are wrong in one place.

use super::*;
use crate::history::{Call, Recorder};
use crate::seed::{CaseRng, Seed};

/// A versioned register: enough to tell lost updates and stale reads.
struct Register;

#[derive(Clone, Debug)]
enum Op {
    Read,
    Write(i64),
    /// Writes the second if the value is the first; answers whether it was.
    Swap(i64, i64),
}

#[derive(Clone, Debug, PartialEq)]
enum Ret {
    Value(i64),
    Done,
    Swapped(bool),
}

impl Model for Register {
    type Op = Op;
    type Ret = Ret;
    type State = i64;

    fn initial(&self) -> i64 {
        0
    }

    fn apply(&self, state: &i64, op: &Op) -> (Ret, i64) {
        match op {
            Op::Read => (Ret::Value(*state), *state),
            Op::Write(value) => (Ret::Done, *value),
            Op::Swap(from, to) if from == state => (Ret::Swapped(true), *to),
            Op::Swap(..) => (Ret::Swapped(false), *state),
        }
    }
}

type Rec = Recorder<Op, Ret>;

fn verdict(recorder: &Rec) -> Verdict {
    search(
        &Register,
        recorder.history().operations(),
        CONFIGURATIONS_MAX,
    )
}

fn right(recorder: &Rec) {
    assert_eq!(verdict(recorder), Verdict::Linearizable);
}

fn wrong(recorder: &Rec) {
    assert!(matches!(verdict(recorder), Verdict::Not(_)));
}

#[test]
fn an_empty_history_is_right() {
    right(&Rec::new());
}

#[test]
fn a_read_that_overlaps_a_write_may_see_either() {
    for seen in [0, 1] {
        let recorder = Rec::new();
        let write = recorder.begin(Op::Write(1));
        recorder.begin(Op::Read).answered(Ret::Value(seen));
        write.answered(Ret::Done);
        right(&recorder);
    }
}

#[test]
fn a_read_after_a_write_must_see_it() {
    let recorder = Rec::new();
    recorder.begin(Op::Write(1)).answered(Ret::Done);
    recorder.begin(Op::Read).answered(Ret::Value(0));
    wrong(&recorder);
}

#[test]
fn two_reads_must_not_go_back_in_time() {
    let recorder = Rec::new();
    let write = recorder.begin(Op::Write(1));
    recorder.begin(Op::Read).answered(Ret::Value(1));
    recorder.begin(Op::Read).answered(Ret::Value(0));
    write.answered(Ret::Done);
    wrong(&recorder);
}

#[test]
fn a_lost_update_is_found() {
    let recorder = Rec::new();
    let first = recorder.begin(Op::Swap(0, 1));
    let second = recorder.begin(Op::Swap(0, 2));
    first.answered(Ret::Swapped(true));
    second.answered(Ret::Swapped(true));
    wrong(&recorder);
}

#[test]
fn a_maybe_may_have_happened_late_or_never() {
    for seen in [[0, 0], [0, 1], [1, 1]] {
        let recorder = Rec::new();
        recorder.begin(Op::Write(1)).maybe();
        for value in seen {
            recorder.begin(Op::Read).answered(Ret::Value(value));
        }
        right(&recorder);
    }
}

#[test]
fn a_maybe_happens_at_most_once_and_not_before_it_began() {
    let recorder = Rec::new();
    recorder.begin(Op::Write(1)).maybe();
    recorder.begin(Op::Read).answered(Ret::Value(1));
    recorder.begin(Op::Write(2)).answered(Ret::Done);
    recorder.begin(Op::Read).answered(Ret::Value(1));
    wrong(&recorder);
    let recorder = Rec::new();
    recorder.begin(Op::Read).answered(Ret::Value(1));
    recorder.begin(Op::Write(1)).maybe();
    wrong(&recorder);
}

#[test]
fn a_call_that_was_dropped_is_a_maybe_and_one_that_never_ran_explains_nothing() {
    let recorder = Rec::new();
    drop(recorder.begin(Op::Write(1)));
    recorder.begin(Op::Read).answered(Ret::Value(1));
    right(&recorder);
    let recorder = Rec::new();
    recorder.begin(Op::Write(1)).never();
    recorder.begin(Op::Read).answered(Ret::Value(1));
    wrong(&recorder);
}

#[test]
fn a_wrong_history_shows_where_it_breaks() {
    let recorder = Rec::new();
    recorder.begin(Op::Write(1)).answered(Ret::Done);
    recorder.begin(Op::Swap(1, 5)).maybe();
    recorder.begin(Op::Read).answered(Ret::Value(5));
    recorder.begin(Op::Read).answered(Ret::Value(7));
    let failure = check(&Register, &recorder.history()).unwrap_err();
    for text in [
        "Swap(1, 5) answers Swapped(true) (its answer was lost)",
        "Read answered Value(7), would answer Value(5)",
    ] {
        assert!(failure.seen().contains(text), "{}", failure.seen());
    }
}

#[test]
fn a_history_is_split_by_object() {
    let recorder = Rec::new();
    recorder.begin(Op::Write(1)).answered(Ret::Done);
    recorder.begin(Op::Read).answered(Ret::Value(9));
    let writes = recorder.history().of(|op| matches!(op, Op::Write(_)));
    assert_eq!(writes.operations().len(), 1);
    check(&Register, &writes).unwrap();
}

#[test]
fn it_gives_up_rather_than_run_for_ever() {
    let recorder = Rec::new();
    let writes: Vec<_> = (1..40)
        .map(|value| recorder.begin(Op::Write(value)))
        .collect();
    recorder.begin(Op::Read).answered(Ret::Value(99));
    for write in writes {
        write.answered(Ret::Done);
    }
    let operations = recorder.history();
    assert_eq!(
        search(&Register, operations.operations(), 1_000),
        Verdict::Undecided
    );
}

/// A call under way in [`simulate`].
struct Running {
    op: Op,
    call: Call<Op, Ret>,
    answer: Option<Ret>,
}

/// Clients that race on one right register: each call takes effect somewhere between its
/// beginning and its end, or after it, or never, where the answer is lost.
fn simulate(rng: &mut CaseRng, clients: usize, moves: usize) -> Rec {
    let recorder = Rec::new();
    let mut state = 0;
    let mut slots: Vec<Option<Running>> = (0..clients).map(|_| None).collect();
    let mut late: Vec<Op> = Vec::new();
    for _ in 0..moves {
        let slot = &mut slots[rng.below(clients)];
        match slot.take() {
            None => {
                let op = random_op(rng);
                let call = recorder.begin(op.clone());
                *slot = Some(Running {
                    op,
                    call,
                    answer: None,
                });
            }
            Some(Running {
                op,
                call,
                answer: None,
            }) if rng.one_in(10) => {
                call.maybe();
                late.push(op);
            }
            Some(Running {
                op,
                call,
                answer: None,
            }) => {
                let (ret, next) = Register.apply(&state, &op);
                state = next;
                *slot = Some(Running {
                    op,
                    call,
                    answer: Some(ret),
                });
            }
            Some(Running { call, .. }) if rng.one_in(10) => call.maybe(),
            Some(Running {
                call,
                answer: Some(ret),
                ..
            }) => call.answered(ret),
        }
        if rng.one_in(20) && !late.is_empty() {
            let op = late.swap_remove(rng.below(late.len()));
            state = Register.apply(&state, &op).1;
        }
    }
    recorder
}

fn random_op(rng: &mut CaseRng) -> Op {
    match rng.below(3) {
        0 => Op::Read,
        1 => Op::Write(rng.within(0..=4)),
        _ => Op::Swap(rng.within(0..=4), rng.within(0..=4)),
    }
}

#[test]
fn right_random_histories_are_right_and_one_wrong_answer_is_found() {
    let mut found = 0;
    for seed in 0..200 {
        let mut rng = Seed::new(seed).rng();
        let recorder = simulate(&mut rng, 5, 90);
        assert_eq!(verdict(&recorder), Verdict::Linearizable, "seed {seed}");
        // A value that was never written.
        recorder.begin(Op::Read).answered(Ret::Value(77));
        found += usize::from(matches!(verdict(&recorder), Verdict::Not(_)));
    }
    assert_eq!(found, 200);
}

#[test]
fn a_long_history_is_judged_quickly() {
    let mut rng = Seed::new(1).rng();
    let recorder = simulate(&mut rng, 8, 3_000);
    let started = std::time::Instant::now();
    right(&recorder);
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
}

/// The definition itself, by trying every order: slow, and too simple to be wrong.
fn by_definition(operations: &[Operation<Op, Ret>], placed: &mut Vec<usize>, state: i64) -> bool {
    let is_left = |at: &usize| !placed.contains(at);
    let left: Vec<usize> = (0..operations.len()).filter(is_left).collect();
    if left
        .iter()
        .all(|at| operations[*at].surely_ended().is_none())
    {
        return true;
    }
    left.iter().any(|at| {
        let call = &operations[*at];
        let too_late = left.iter().any(|other| {
            operations[*other]
                .surely_ended()
                .is_some_and(|ended| ended < call.began())
        });
        let (answer, next) = Register.apply(&state, &call.op);
        let fits = match &call.outcome {
            Outcome::Answered(seen) => *seen == answer,
            Outcome::Maybe => true,
            Outcome::Never => false,
        };
        if too_late || !fits {
            return false;
        }
        placed.push(*at);
        let right = by_definition(operations, placed, next);
        placed.pop();
        right
    })
}

#[test]
fn small_histories_are_judged_as_the_definition_judges_them() {
    let mut verdicts = [0, 0];
    for seed in 0..3_000 {
        let mut rng = Seed::new(seed).rng();
        let recorder = Rec::new();
        let mut open: Vec<(Op, Call<Op, Ret>)> = Vec::new();
        for _ in 0..7 {
            if rng.one_in(2) || open.is_empty() {
                let value = rng.within(0..=2);
                let op = match rng.below(3) {
                    0 => Op::Write(value),
                    1 => Op::Swap(value, rng.within(0..=2)),
                    _ => Op::Read,
                };
                open.push((op.clone(), recorder.begin(op)));
            } else {
                let (op, call) = open.swap_remove(rng.below(open.len()));
                answer_at_random(&op, call, &mut rng);
            }
        }
        let history = recorder.history();
        let right = by_definition(history.operations(), &mut Vec::new(), 0);
        assert_eq!(
            verdict(&recorder) == Verdict::Linearizable,
            right,
            "seed {seed}: {history:?}"
        );
        verdicts[usize::from(right)] += 1;
    }
    assert!(
        verdicts.iter().all(|count| *count > 300),
        "{verdicts:?} is no test of both"
    );
}

fn answer_at_random(op: &Op, call: Call<Op, Ret>, rng: &mut CaseRng) {
    match rng.below(6) {
        0 => call.maybe(),
        1 => call.never(),
        _ => call.answered(match op {
            Op::Read => Ret::Value(rng.within(0..=2)),
            Op::Write(_) => Ret::Done,
            Op::Swap(..) => Ret::Swapped(rng.one_in(2)),
        }),
    }
}

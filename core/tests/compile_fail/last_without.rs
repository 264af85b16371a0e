//! A last participant that can't commit the decision with its work.
use exactly_once_core::{two_phase::TwoPhaseCommit, DecisionRegister, Participation, PreparedTransactions};

fn last<R: DecisionRegister, S: PreparedTransactions>(
    register: &R,
    store: &S,
    participation: Participation,
) {
    let _ = TwoPhaseCommit::new(register, participation)
        .last_participant("stock", store, async |_tx| Ok(()));
}

fn main() {}

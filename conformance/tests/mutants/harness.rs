//! Runs one named case against a mutant.

use std::marker::PhantomData;

use exactly_once::{
    Statement, WorkError,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{
    CaseResult, Harness, Suite,
    report::{CaseReport, Status},
    runner::{Variant, run_one},
};

use crate::patch::{Mutant, Patch};

/// Makes mutants with this patch.
struct Bench<P>(PhantomData<fn() -> P>);

impl<P: Patch> Harness for Bench<P> {
    type Store = Mutant<P>;
    type Guard = Mutant<P>;

    fn name(&self) -> &str {
        "mutant"
    }
    async fn fresh(&self) -> CaseResult<Mutant<P>> {
        Ok(Mutant {
            right: MemoryStore::new(),
            patch: P::default(),
        })
    }
    async fn open(&self, place: &Mutant<P>) -> CaseResult<Mutant<P>> {
        Ok(Mutant {
            right: place.right.another_handle(),
            patch: place.patch.another_handle(),
        })
    }
    async fn write_effect(&self, tx: &mut MemoryTx, id: &str) -> Result<(), WorkError> {
        tx.append(id, b"x");
        Ok(())
    }
    async fn count_effects(&self, place: &Mutant<P>, id: &str) -> CaseResult<u64> {
        Ok(place.right.get(id).map_or(0, |row| row.len() as u64))
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new("append").bind(id).bind("x"))
    }
    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("no such command"))
    }
    async fn spoil(&self, tx: &mut MemoryTx) -> bool {
        tx.put("spoilt", "no number");
        tx.add("spoilt", 1).is_err()
    }
    async fn left_open(&self, place: &Mutant<P>) -> CaseResult<Option<u64>> {
        Ok(Some(place.right.open_transactions()))
    }
}

/// The reference store as it is.
#[derive(Clone, Default)]
pub(crate) struct Right;

impl Patch for Right {}

fn run_case<P: Patch>(case: &str, variant: Variant) -> CaseReport {
    let name = format!("{variant}::{case}");
    let trials = Suite::new(Bench::<P>(PhantomData)).all().into_trials();
    let trial = trials.into_iter().find(|trial| trial.name() == name);
    let trial = trial.unwrap_or_else(|| panic!("the suite has no case {name}"));
    run_one("mutant", trial).expect("the case can be run")
}

/// The right store passes the case, and the mutant fails it: as typed or as erased store, for some
/// mistakes show only between two handles, and some only with one.
pub(crate) fn assert_killed<P: Patch>(case: &str) {
    let variants = [Variant::Typed, Variant::Erased];
    for variant in variants {
        let right = run_case::<Right>(case, variant);
        assert_eq!(
            right.status,
            Status::Passed,
            "{case} of the right store: {right:#?}"
        );
    }
    let survived = variants.map(|variant| run_case::<P>(case, variant).status);
    assert!(
        survived.contains(&Status::Failed),
        "{case} does not see the mistake of {}: {survived:?}",
        std::any::type_name::<P>(),
    );
}

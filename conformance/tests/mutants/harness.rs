//! Runs one named case against a mutant.
//!
//! The mutants are erased: the suite is compiled once, and not for each of them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use exactly_once::{
    AnyStore, AnyTx, BoxError, Statement, Value, WorkError,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{
    CaseFailure, CaseResult, Harness, Suite,
    harness::{RowsOf, Way},
    report::{CaseReport, Status},
    runner::{Variant, run_one},
};
use futures_util::{FutureExt, future::BoxFuture};

use crate::patch::{Mutant, Patch};

/// What the handles of one case share.
struct Place<P> {
    right: MemoryStore,
    patch: P,
    server: Option<SocketAddr>,
}

impl<P: Patch> Place<P> {
    fn handle(&self, patch: P) -> AnyStore {
        let right = self.right.another_handle();
        AnyStore::new(Mutant { right, patch })
    }
}

/// A place of whatever mutant.
trait AnyPlace: Send + Sync {
    fn open(&self) -> BoxFuture<'_, CaseResult<AnyStore>>;
    fn open_through(&self, proxy: SocketAddr) -> BoxFuture<'_, CaseResult<AnyStore>>;
    fn open_skewed(&self, seconds: i64) -> AnyStore;
    fn open_by(&self, way: Way) -> Option<AnyStore>;
    fn right(&self) -> &MemoryStore;
    fn server(&self) -> Option<SocketAddr>;
}

impl<P: Patch> AnyPlace for Place<P> {
    fn open(&self) -> BoxFuture<'_, CaseResult<AnyStore>> {
        async {
            let patch = self.patch.open().await?;
            Ok(self.handle(match self.server {
                Some(server) => patch.through(server),
                None => patch,
            }))
        }
        .boxed()
    }
    fn open_through(&self, proxy: SocketAddr) -> BoxFuture<'_, CaseResult<AnyStore>> {
        async move { Ok(self.handle(self.patch.open().await?.through(proxy))) }.boxed()
    }
    fn open_skewed(&self, seconds: i64) -> AnyStore {
        self.handle(self.patch.skewed(seconds))
    }
    fn open_by(&self, way: Way) -> Option<AnyStore> {
        let (right, patch) = self.patch.by(&self.right, way)?;
        Some(AnyStore::new(Mutant { right, patch }))
    }
    fn right(&self) -> &MemoryStore {
        &self.right
    }
    fn server(&self) -> Option<SocketAddr> {
        self.server
    }
}

type Fresh = fn() -> BoxFuture<'static, CaseResult<Arc<dyn AnyPlace>>>;

fn fresh<P: Patch>() -> BoxFuture<'static, CaseResult<Arc<dyn AnyPlace>>> {
    async {
        let (right, patch) = (MemoryStore::new(), P::default());
        let server = patch.serve(&right).await?;
        let place: Arc<dyn AnyPlace> = Arc::new(Place {
            right,
            patch,
            server,
        });
        Ok(place)
    }
    .boxed()
}

/// The row that stands for what a connection keeps, in a store that has no connections.
pub(crate) const SESSION: &str = "session";

/// The row that stands for a violation that is found at the commit only.
pub(crate) const VIOLATION: &str = "violation";

/// Makes mutants of one kind.
struct Bench(Fresh);

fn memory_tx(tx: &mut AnyTx) -> Result<&mut MemoryTx, WorkError> {
    let foreign = || WorkError::from_boxed(BoxError::from("no transaction of the reference store"));
    tx.downcast_mut().ok_or_else(foreign)
}

/// The reference store keeps text, bytes, whole numbers and what has a text.
fn value_statement(id: &str, value: &Value) -> Option<Statement> {
    match value {
        Value::Integer(_) => Some(Statement::new("add").bind(id).bind(value.clone())),
        Value::Null | Value::Bool(_) | Value::Float(_) => None,
        value => Some(Statement::new("put").bind(id).bind(value.clone())),
    }
}

impl Harness for Bench {
    type Store = AnyStore;
    type Guard = Arc<dyn AnyPlace>;

    fn name(&self) -> &str {
        "mutant"
    }
    async fn fresh(&self) -> CaseResult<Self::Guard> {
        (self.0)().await
    }
    async fn open(&self, place: &Self::Guard) -> CaseResult<AnyStore> {
        place.open().await
    }
    fn server(&self, place: &Self::Guard) -> Option<SocketAddr> {
        place.server()
    }
    async fn open_through(&self, place: &Self::Guard, proxy: SocketAddr) -> CaseResult<AnyStore> {
        place.open_through(proxy).await
    }
    async fn open_skewed(&self, place: &Self::Guard, seconds: i64) -> CaseResult<AnyStore> {
        Ok(place.open_skewed(seconds))
    }
    async fn open_by(&self, place: &Self::Guard, way: Way) -> CaseResult<AnyStore> {
        let none = || CaseFailure::ignored("the reference store has no other way");
        place.open_by(way).ok_or_else(none)
    }
    async fn write_effect(&self, tx: &mut AnyTx, id: &str) -> Result<(), WorkError> {
        memory_tx(tx)?.append(id, b"x");
        Ok(())
    }
    async fn count_effects(&self, place: &Self::Guard, id: &str) -> CaseResult<u64> {
        Ok(place.right().get(id).map_or(0, |row| row.len() as u64))
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        Some(Statement::new("append").bind(id).bind("x"))
    }
    fn returning_statement(&self, _: &Self::Guard, wanted: RowsOf<'_>) -> Option<Statement> {
        match wanted {
            RowsOf::Effects { id, count: 1 } => self.effect_statement(id),
            RowsOf::Effects { .. } => None,
            RowsOf::Value { id, value } => value_statement(id, value),
        }
    }
    fn refused_statement(&self) -> Option<Statement> {
        Some(Statement::new("no such command"))
    }
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        vec![("no command", vec![Statement::new("no such command")])]
    }
    async fn fail_half_way(&self, tx: &mut AnyTx, id: &str) -> bool {
        let Ok(tx) = memory_tx(tx) else { return false };
        tx.append(id, b"x");
        tx.put("spoilt", "no number");
        tx.add("spoilt", 1).is_err()
    }
    async fn open_starved(&self, place: &Self::Guard, _: Duration) -> CaseResult<AnyStore> {
        place.open().await
    }
    async fn spoil(&self, tx: &mut AnyTx) -> bool {
        let Ok(tx) = memory_tx(tx) else { return false };
        tx.put("spoilt", "no number");
        tx.add("spoilt", 1).is_err()
    }
    async fn violate_at_the_end(&self, tx: &mut AnyTx) -> bool {
        let Ok(tx) = memory_tx(tx) else { return false };
        tx.put(VIOLATION, "x");
        true
    }
    async fn change_session(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        memory_tx(tx).ok()?.put(SESSION, "changed");
        (number == 0).then_some("a setting")
    }
    async fn sees_session(&self, tx: &mut AnyTx, _: usize) -> bool {
        memory_tx(tx).is_ok_and(|tx| tx.get(SESSION).is_some())
    }
    async fn left_open(&self, place: &Self::Guard) -> CaseResult<Option<u64>> {
        Ok(Some(place.right().open_transactions()))
    }
}

/// The reference store as it is.
#[derive(Clone, Default)]
pub(crate) struct Right;

impl Patch for Right {}

fn run_case(fresh: Fresh, case: &str, variant: Variant) -> CaseReport {
    let name = format!("{variant}::{case}");
    let trials = Suite::new(Bench(fresh)).all().into_trials();
    let trial = trials.into_iter().find(|trial| trial.name() == name);
    let trial = trial.unwrap_or_else(|| panic!("the suite has no case {name}"));
    run_one("mutant", trial).expect("the case can be run")
}

/// The right store passes the case, and the mutant fails it: as typed or as erased store, for some
/// mistakes show only between two handles, and some only with one.
pub(crate) fn assert_killed<P: Patch>(case: &str) {
    assert_told_apart::<Right, P>(case);
}

/// As [`assert_killed`], for mutants of something else than the plain reference store.
pub(crate) fn assert_told_apart<R: Patch, P: Patch>(case: &str) {
    let mistake = std::any::type_name::<P>();
    told_apart(fresh::<R>, fresh::<P>, case, mistake);
}

fn told_apart(right: Fresh, mutant: Fresh, case: &str, mistake: &str) {
    let variants = [Variant::Typed, Variant::Erased];
    for variant in variants {
        let right = run_case(right, case, variant);
        assert_eq!(
            right.status,
            Status::Passed,
            "{case} of the right store: {right:#?}"
        );
    }
    let status = |variant| run_case(mutant, case, variant).status;
    assert!(
        variants
            .into_iter()
            .any(|variant| status(variant) == Status::Failed),
        "{case} does not see the mistake of {mistake}",
    );
}

//! The same harness, with its store erased: every case runs on both.
//!
//! The harness is behind `dyn` here, so the cases of the twin are compiled once, with this crate, and
//! not once for each adapter: half of what a suite's target has to compile.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use exactly_once_core::{
    AccountId, AnyStore, AnyTx, Error, Namespace, Statement, Transactional, Version, WorkError,
};

use crate::{
    CaseFailure, CaseResult,
    harness::{Age, Harness, RowsOf, Way},
};

/// A guard of the harness under the twin.
type Place = Box<dyn Any + Send + Sync>;

type TxOf<H> = <<H as Harness>::Store as Transactional>::Tx;

/// A harness whose store is the [`AnyStore`] over another harness's store.
pub(crate) struct ErasedHarness(Box<dyn Twin>);

impl ErasedHarness {
    pub(crate) fn new<H: Harness>(inner: Arc<H>, erase: fn(H::Store) -> AnyStore) -> Self {
        Self(Box::new(Under { inner, erase }))
    }
}

/// [`Harness`], for `dyn`.
#[async_trait]
trait Twin: Send + Sync {
    fn name(&self) -> &str;
    async fn fresh(&self) -> CaseResult<Place>;
    async fn open(&self, place: &Place) -> CaseResult<AnyStore>;
    async fn write_effect(&self, tx: &mut AnyTx, id: &str) -> Result<(), WorkError>;
    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64>;
    fn effect_statement(&self, id: &str) -> Option<Statement>;
    fn effect_statement_at(&self, place: &Place, id: &str) -> Option<Statement>;
    fn returning_statement(&self, place: &Place, wanted: RowsOf<'_>) -> Option<Statement>;
    fn refused_statement(&self) -> Option<Statement>;
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)>;
    async fn fail_half_way(&self, tx: &mut AnyTx, id: &str) -> bool;
    async fn spoil(&self, tx: &mut AnyTx) -> bool;
    fn server(&self, place: &Place) -> Option<SocketAddr>;
    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<AnyStore>;
    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<AnyStore>;
    async fn open_skewed(&self, place: &Place, seconds: i64) -> CaseResult<AnyStore>;
    async fn crash(&self, place: &Place) -> CaseResult;
    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>>;
    fn locate(&self, place: &Place) -> Option<String>;
    async fn attach(&self, place: &str) -> CaseResult<Place>;
    async fn end_behind(&self, tx: &mut AnyTx) -> bool;
    async fn violate_at_the_end(&self, tx: &mut AnyTx) -> bool;
    async fn change_session(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str>;
    async fn sees_session(&self, tx: &mut AnyTx, number: usize) -> bool;
    async fn unpreparable(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str>;
    async fn fresh_scarce(&self) -> CaseResult<Place>;
    async fn open_by(&self, place: &Place, way: Way) -> CaseResult<AnyStore>;
    async fn open_aged(&self, place: &Place, age: Age) -> CaseResult<Result<AnyStore, Error>>;
    fn hostile_settings(&self) -> Vec<&'static str>;
    async fn open_hostile(
        &self,
        place: &Place,
        setting: &'static str,
    ) -> CaseResult<Result<AnyStore, Error>>;
    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult;
    fn tick(&self) -> Duration;
}

struct Under<H: Harness> {
    inner: Arc<H>,
    erase: fn(H::Store) -> AnyStore,
}

/// What `fresh` and `attach` made, as its own type again.
fn guard<H: Harness>(place: &Place) -> CaseResult<&H::Guard> {
    (**place)
        .downcast_ref()
        .ok_or_else(|| CaseFailure::unexpected("the place is of another harness"))
}

#[async_trait]
impl<H: Harness> Twin for Under<H> {
    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn fresh(&self) -> CaseResult<Place> {
        Ok(Box::new(self.inner.fresh().await?))
    }
    async fn open(&self, place: &Place) -> CaseResult<AnyStore> {
        let opened = self.inner.open(guard::<H>(place)?).await?;
        Ok((self.erase)(opened))
    }
    async fn write_effect(&self, tx: &mut AnyTx, id: &str) -> Result<(), WorkError> {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.write_effect(tx, id).await,
            None => Err(WorkError::from_boxed(
                "the transaction is of another store".into(),
            )),
        }
    }
    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        self.inner.count_effects(guard::<H>(place)?, id).await
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        self.inner.effect_statement(id)
    }
    fn effect_statement_at(&self, place: &Place, id: &str) -> Option<Statement> {
        self.inner.effect_statement_at(guard::<H>(place).ok()?, id)
    }
    fn returning_statement(&self, place: &Place, wanted: RowsOf<'_>) -> Option<Statement> {
        self.inner
            .returning_statement(guard::<H>(place).ok()?, wanted)
    }
    fn refused_statement(&self) -> Option<Statement> {
        self.inner.refused_statement()
    }
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        self.inner.poisoned_statements()
    }
    async fn fail_half_way(&self, tx: &mut AnyTx, id: &str) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.fail_half_way(tx, id).await,
            None => false,
        }
    }
    async fn spoil(&self, tx: &mut AnyTx) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.spoil(tx).await,
            None => false,
        }
    }
    fn server(&self, place: &Place) -> Option<SocketAddr> {
        self.inner.server(guard::<H>(place).ok()?)
    }
    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<AnyStore> {
        let opened = self.inner.open_through(guard::<H>(place)?, proxy).await?;
        Ok((self.erase)(opened))
    }
    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<AnyStore> {
        let opened = self.inner.open_starved(guard::<H>(place)?, acquire).await?;
        Ok((self.erase)(opened))
    }
    async fn open_skewed(&self, place: &Place, seconds: i64) -> CaseResult<AnyStore> {
        let opened = self.inner.open_skewed(guard::<H>(place)?, seconds).await?;
        Ok((self.erase)(opened))
    }
    async fn crash(&self, place: &Place) -> CaseResult {
        self.inner.crash(guard::<H>(place)?).await
    }
    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        self.inner.left_open(guard::<H>(place)?).await
    }
    fn locate(&self, place: &Place) -> Option<String> {
        self.inner.locate(guard::<H>(place).ok()?)
    }
    async fn attach(&self, place: &str) -> CaseResult<Place> {
        Ok(Box::new(self.inner.attach(place).await?))
    }
    async fn end_behind(&self, tx: &mut AnyTx) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.end_behind(tx).await,
            None => false,
        }
    }
    async fn violate_at_the_end(&self, tx: &mut AnyTx) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.violate_at_the_end(tx).await,
            None => false,
        }
    }
    async fn change_session(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        let tx = tx.downcast_mut::<TxOf<H>>()?;
        self.inner.change_session(tx, number).await
    }
    async fn sees_session(&self, tx: &mut AnyTx, number: usize) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.sees_session(tx, number).await,
            None => false,
        }
    }
    async fn unpreparable(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        let tx = tx.downcast_mut::<TxOf<H>>()?;
        self.inner.unpreparable(tx, number).await
    }
    async fn fresh_scarce(&self) -> CaseResult<Place> {
        Ok(Box::new(self.inner.fresh_scarce().await?))
    }
    async fn open_by(&self, place: &Place, way: Way) -> CaseResult<AnyStore> {
        let opened = self.inner.open_by(guard::<H>(place)?, way).await?;
        Ok((self.erase)(opened))
    }
    async fn open_aged(&self, place: &Place, age: Age) -> CaseResult<Result<AnyStore, Error>> {
        let opened = self.inner.open_aged(guard::<H>(place)?, age).await?;
        Ok(opened.map(self.erase))
    }
    fn hostile_settings(&self) -> Vec<&'static str> {
        self.inner.hostile_settings()
    }
    async fn open_hostile(
        &self,
        place: &Place,
        setting: &'static str,
    ) -> CaseResult<Result<AnyStore, Error>> {
        let guard = guard::<H>(place)?;
        let opened = self.inner.open_hostile(guard, setting).await?;
        Ok(opened.map(self.erase))
    }
    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        let guard = guard::<H>(place)?;
        self.inner
            .set_version(guard, namespace, account, version)
            .await
    }
    fn tick(&self) -> Duration {
        self.inner.tick()
    }
}

impl Harness for ErasedHarness {
    type Store = AnyStore;
    type Guard = Place;

    fn name(&self) -> &str {
        self.0.name()
    }
    async fn fresh(&self) -> CaseResult<Place> {
        self.0.fresh().await
    }
    async fn open(&self, place: &Place) -> CaseResult<AnyStore> {
        self.0.open(place).await
    }
    async fn write_effect(&self, tx: &mut AnyTx, id: &str) -> Result<(), WorkError> {
        self.0.write_effect(tx, id).await
    }
    async fn count_effects(&self, place: &Place, id: &str) -> CaseResult<u64> {
        self.0.count_effects(place, id).await
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        self.0.effect_statement(id)
    }
    fn effect_statement_at(&self, place: &Place, id: &str) -> Option<Statement> {
        self.0.effect_statement_at(place, id)
    }
    fn returning_statement(&self, place: &Place, wanted: RowsOf<'_>) -> Option<Statement> {
        self.0.returning_statement(place, wanted)
    }
    fn refused_statement(&self) -> Option<Statement> {
        self.0.refused_statement()
    }
    fn poisoned_statements(&self) -> Vec<(&'static str, Vec<Statement>)> {
        self.0.poisoned_statements()
    }
    async fn fail_half_way(&self, tx: &mut AnyTx, id: &str) -> bool {
        self.0.fail_half_way(tx, id).await
    }
    async fn spoil(&self, tx: &mut AnyTx) -> bool {
        self.0.spoil(tx).await
    }
    fn server(&self, place: &Place) -> Option<SocketAddr> {
        self.0.server(place)
    }
    async fn open_through(&self, place: &Place, proxy: SocketAddr) -> CaseResult<AnyStore> {
        self.0.open_through(place, proxy).await
    }
    async fn open_starved(&self, place: &Place, acquire: Duration) -> CaseResult<AnyStore> {
        self.0.open_starved(place, acquire).await
    }
    async fn open_skewed(&self, place: &Place, seconds: i64) -> CaseResult<AnyStore> {
        self.0.open_skewed(place, seconds).await
    }
    async fn crash(&self, place: &Place) -> CaseResult {
        self.0.crash(place).await
    }
    async fn left_open(&self, place: &Place) -> CaseResult<Option<u64>> {
        self.0.left_open(place).await
    }
    fn locate(&self, place: &Place) -> Option<String> {
        self.0.locate(place)
    }
    async fn attach(&self, place: &str) -> CaseResult<Place> {
        self.0.attach(place).await
    }
    async fn end_behind(&self, tx: &mut AnyTx) -> bool {
        self.0.end_behind(tx).await
    }
    async fn violate_at_the_end(&self, tx: &mut AnyTx) -> bool {
        self.0.violate_at_the_end(tx).await
    }
    async fn change_session(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        self.0.change_session(tx, number).await
    }
    async fn sees_session(&self, tx: &mut AnyTx, number: usize) -> bool {
        self.0.sees_session(tx, number).await
    }
    async fn unpreparable(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        self.0.unpreparable(tx, number).await
    }
    async fn fresh_scarce(&self) -> CaseResult<Place> {
        self.0.fresh_scarce().await
    }
    async fn open_by(&self, place: &Place, way: Way) -> CaseResult<AnyStore> {
        self.0.open_by(place, way).await
    }
    async fn open_aged(&self, place: &Place, age: Age) -> CaseResult<Result<AnyStore, Error>> {
        self.0.open_aged(place, age).await
    }
    fn hostile_settings(&self) -> Vec<&'static str> {
        self.0.hostile_settings()
    }
    async fn open_hostile(
        &self,
        place: &Place,
        setting: &'static str,
    ) -> CaseResult<Result<AnyStore, Error>> {
        self.0.open_hostile(place, setting).await
    }
    async fn set_version(
        &self,
        place: &Place,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        self.0.set_version(place, namespace, account, version).await
    }
    fn tick(&self) -> Duration {
        self.0.tick()
    }
}

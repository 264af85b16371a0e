//! The same harness, with its store erased: every case runs on both.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use exactly_once_core::{
    AccountId, AnyStore, Error, Namespace, Statement, Transactional, Version, WorkError, any::AnyTx,
};

use crate::{
    CaseResult,
    harness::{Age, Harness, Way},
};

/// A harness whose store is the [`AnyStore`] over another harness's store.
pub(crate) struct ErasedHarness<H: Harness> {
    pub(crate) inner: Arc<H>,
    pub(crate) erase: fn(H::Store) -> AnyStore,
}

type TxOf<H> = <<H as Harness>::Store as Transactional>::Tx;

impl<H: Harness> Harness for ErasedHarness<H> {
    type Store = AnyStore;
    type Guard = H::Guard;

    fn name(&self) -> &str {
        self.inner.name()
    }
    async fn fresh(&self) -> CaseResult<H::Guard> {
        self.inner.fresh().await
    }
    async fn open(&self, guard: &H::Guard) -> CaseResult<AnyStore> {
        Ok((self.erase)(self.inner.open(guard).await?))
    }
    async fn write_effect(&self, tx: &mut AnyTx, id: &str) -> Result<(), WorkError> {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.write_effect(tx, id).await,
            None => Err(WorkError::from_boxed(
                "the transaction is of another store".into(),
            )),
        }
    }
    async fn count_effects(&self, guard: &H::Guard, id: &str) -> CaseResult<u64> {
        self.inner.count_effects(guard, id).await
    }
    fn effect_statement(&self, id: &str) -> Option<Statement> {
        self.inner.effect_statement(id)
    }
    fn effect_statement_at(&self, guard: &H::Guard, id: &str) -> Option<Statement> {
        self.inner.effect_statement_at(guard, id)
    }
    fn refused_statement(&self) -> Option<Statement> {
        self.inner.refused_statement()
    }
    async fn spoil(&self, tx: &mut AnyTx) -> bool {
        match tx.downcast_mut::<TxOf<H>>() {
            Some(tx) => self.inner.spoil(tx).await,
            None => false,
        }
    }
    fn server(&self, guard: &H::Guard) -> Option<SocketAddr> {
        self.inner.server(guard)
    }
    async fn open_through(&self, guard: &H::Guard, proxy: SocketAddr) -> CaseResult<AnyStore> {
        Ok((self.erase)(self.inner.open_through(guard, proxy).await?))
    }
    async fn open_starved(&self, guard: &H::Guard, acquire: Duration) -> CaseResult<AnyStore> {
        Ok((self.erase)(self.inner.open_starved(guard, acquire).await?))
    }
    async fn open_skewed(&self, guard: &H::Guard, seconds: i64) -> CaseResult<AnyStore> {
        Ok((self.erase)(self.inner.open_skewed(guard, seconds).await?))
    }
    async fn crash(&self, guard: &H::Guard) -> CaseResult {
        self.inner.crash(guard).await
    }
    async fn left_open(&self, guard: &H::Guard) -> CaseResult<Option<u64>> {
        self.inner.left_open(guard).await
    }
    fn locate(&self, guard: &H::Guard) -> Option<String> {
        self.inner.locate(guard)
    }
    async fn attach(&self, place: &str) -> CaseResult<H::Guard> {
        self.inner.attach(place).await
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
    async fn unpreparable(&self, tx: &mut AnyTx, number: usize) -> Option<&'static str> {
        let tx = tx.downcast_mut::<TxOf<H>>()?;
        self.inner.unpreparable(tx, number).await
    }
    async fn fresh_scarce(&self) -> CaseResult<H::Guard> {
        self.inner.fresh_scarce().await
    }
    async fn open_by(&self, guard: &H::Guard, way: Way) -> CaseResult<AnyStore> {
        Ok((self.erase)(self.inner.open_by(guard, way).await?))
    }
    async fn open_aged(&self, guard: &H::Guard, age: Age) -> CaseResult<Result<AnyStore, Error>> {
        Ok(self.inner.open_aged(guard, age).await?.map(self.erase))
    }
    fn hostile_settings(&self) -> Vec<&'static str> {
        self.inner.hostile_settings()
    }
    async fn open_hostile(
        &self,
        guard: &H::Guard,
        setting: &'static str,
    ) -> CaseResult<Result<AnyStore, Error>> {
        let opened = self.inner.open_hostile(guard, setting).await?;
        Ok(opened.map(self.erase))
    }
    async fn set_version(
        &self,
        guard: &H::Guard,
        namespace: &Namespace,
        account: &AccountId,
        version: Version,
    ) -> CaseResult {
        self.inner
            .set_version(guard, namespace, account, version)
            .await
    }
    fn tick(&self) -> Duration {
        self.inner.tick()
    }
}

//! What a case holds while it runs: the place, its handles, and the run's options.

use std::{sync::Arc, time::Duration};

use exactly_once_core::{Error, Store, Transactional};

use crate::{
    CaseFailure, CaseResult,
    harness::Harness,
    runner::{Case, Variant},
};

/// A case's context.
///
/// In the *typed* variant all steps of a case go through one handle; in the *erased* one, through
/// two independent handles in turn, so every case also shows that two handles act as one store.
pub struct Context<H: Harness> {
    harness: Arc<H>,
    guard: Arc<H::Guard>,
    handles: [H::Store; 2],
    case: Case,
    turn: std::sync::atomic::AtomicUsize,
    patience: u32,
    times: Times,
}

/// Whether a case has asked for a time, so that its verdict may depend on the machine's.
#[derive(Clone, Default)]
pub(crate) struct Times(Arc<std::sync::atomic::AtomicBool>);

impl Times {
    pub(crate) fn asked(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

impl<H: Harness> Context<H> {
    pub(crate) async fn start(harness: Arc<H>, case: Case, patience: u32) -> CaseResult<Self> {
        let guard = Arc::new(harness.fresh().await?);
        let first = harness.open(&guard).await?;
        let second = match case.variant() {
            Variant::Erased => harness.open(&guard).await?,
            _ => first.clone(),
        };
        Ok(Self {
            harness,
            guard,
            handles: [first, second],
            case,
            turn: 0.into(),
            patience,
            times: Times::default(),
        })
    }

    /// The store, by the handle whose turn it is.
    pub fn store(&self) -> &H::Store {
        let turn = self.turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.handles[turn % 2]
    }

    /// One more handle, independent of the others.
    ///
    /// # Errors
    /// The harness could not open it.
    pub async fn open(&self) -> CaseResult<H::Store> {
        self.harness.open(&self.guard).await
    }

    /// Closes all handles and opens them again: what is only in memory is gone now.
    ///
    /// # Errors
    /// The harness could not open it.
    pub async fn reopen(&mut self) -> CaseResult<()> {
        for handle in &self.handles {
            handle.close().await?;
        }
        let first = self.harness.open(&self.guard).await?;
        let second = match self.case.variant() {
            Variant::Erased => self.harness.open(&self.guard).await?,
            _ => first.clone(),
        };
        self.handles = [first, second];
        Ok(())
    }

    /// The harness.
    pub fn harness(&self) -> &Arc<H> {
        &self.harness
    }

    /// The case's place.
    pub fn guard(&self) -> &Arc<H::Guard> {
        &self.guard
    }

    /// The case's options and seed.
    pub fn case(&self) -> &Case {
        &self.case
    }

    /// The shortest time that expiry cases tell apart; longer where the machine was too slow for it.
    pub fn tick(&self) -> Duration {
        let asked = &self.times.0;
        asked.store(true, std::sync::atomic::Ordering::Relaxed);
        self.tick_unseen()
    }

    pub(crate) fn tick_unseen(&self) -> Duration {
        self.harness.tick() * self.patience
    }

    pub(crate) fn times(&self) -> Times {
        self.times.clone()
    }

    /// One business write in the transaction.
    ///
    /// # Errors
    /// The store's own, classified.
    pub async fn write(
        &self,
        tx: &mut <H::Store as Transactional>::Tx,
        id: &str,
    ) -> Result<(), Error> {
        let written = self.harness.write_effect(tx, id).await;
        written.map_err(|error| error.into_error("write_effect", &self.handles[0]))
    }

    /// How many effects are committed for `id`.
    ///
    /// # Errors
    /// The harness's own.
    pub async fn effects(&self, id: &str) -> CaseResult<u64> {
        self.harness.count_effects(&self.guard, id).await
    }

    /// Ends the case as ignored.
    ///
    /// # Errors
    /// Always: that is how a case ends early.
    pub fn ignore<T>(&self, reason: impl Into<String>) -> CaseResult<T> {
        Err(CaseFailure::ignored(reason))
    }
}

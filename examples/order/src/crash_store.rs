//! A store that can be made to crash, around any other store.
//!
//! It forwards every call and passes the crash points on the way: right before and right after
//! each step of the protocol, where a power cut would hurt.

use exactly_once::{
    BegunPrepared, BoxError, Capabilities, Decision, DecisionRegister, Dispute, Error, InDoubtPage,
    Namespace, Participation, Place, PreparedStatus, PreparedTransactions, RegisterEntry,
    RegisterPage, Result, Settlement, Store, StoreIdentity, Timestamp, TransactionDigest,
    Transactional,
};

use crate::control::{Control, CrashPoint, Database, Faults};

/// A store with crash points.
#[derive(Clone, Debug)]
pub struct CrashStore<S, F = Control> {
    store: S,
    database: Database,
    faults: F,
}

impl<S, F: Faults> CrashStore<S, F> {
    /// Around this store, with these faults.
    pub fn new(store: S, database: Database, faults: F) -> Self {
        Self {
            store,
            database,
            faults,
        }
    }

    /// Passes a crash point in the midst of the work.
    pub async fn in_work(&self) {
        self.faults.pass(CrashPoint::InWork(self.database)).await;
    }
}

impl<S: Store, F: Faults> Store for CrashStore<S, F> {
    fn backend(&self) -> &'static str {
        self.store.backend()
    }
    fn place(&self) -> Place {
        self.store.place()
    }
    fn namespace(&self) -> &Namespace {
        self.store.namespace()
    }
    fn with_namespace(&self, namespace: Namespace) -> Self {
        let store = self.store.with_namespace(namespace);
        Self::new(store, self.database, self.faults.clone())
    }
    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }
    async fn now(&self) -> Result<Timestamp> {
        self.store.now().await
    }
    async fn identity(&self) -> Result<StoreIdentity> {
        self.store.identity().await
    }
    async fn adopt(&self) -> Result<StoreIdentity> {
        self.store.adopt().await
    }
    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}

impl<S: Transactional, F: Faults> Transactional for CrashStore<S, F> {
    type Tx = S::Tx;
    async fn begin(&self) -> Result<S::Tx> {
        self.store.begin().await
    }
    async fn commit(&self, tx: S::Tx) -> Result<()> {
        self.store.commit(tx).await
    }
    async fn rollback(&self, tx: S::Tx) -> Result<()> {
        self.store.rollback(tx).await
    }
    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        self.store.classify(operation, source)
    }
}

impl<S: PreparedTransactions, F: Faults> PreparedTransactions for CrashStore<S, F> {
    async fn begin_prepared(&self, participation: &Participation) -> Result<BegunPrepared<S::Tx>> {
        self.store.begin_prepared(participation).await
    }
    async fn prepare(&self, tx: S::Tx, participation: &Participation) -> Result<()> {
        let point = CrashPoint::BeforePrepare(self.database);
        self.faults.pass(point).await;
        self.store.prepare(tx, participation).await?;
        let point = CrashPoint::AfterPrepare(self.database);
        self.faults.pass(point).await;
        Ok(())
    }
    async fn commit_alone(&self, tx: S::Tx, participation: &Participation) -> Result<()> {
        let point = CrashPoint::BeforeCommit(self.database);
        self.faults.pass(point).await;
        self.store.commit_alone(tx, participation).await?;
        let point = CrashPoint::AfterCommit(self.database);
        self.faults.pass(point).await;
        Ok(())
    }
    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        let point = CrashPoint::BeforeCommit(self.database);
        self.faults.pass(point).await;
        self.store.commit_prepared(participation).await?;
        let point = CrashPoint::AfterCommit(self.database);
        self.faults.pass(point).await;
        Ok(())
    }
    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        let point = CrashPoint::BeforeRollback(self.database);
        self.faults.pass(point).await;
        self.store.rollback_prepared(participation).await?;
        let point = CrashPoint::AfterRollback(self.database);
        self.faults.pass(point).await;
        Ok(())
    }
    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        self.store.prepared_status(participation).await
    }
    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        self.store.in_doubt(after, limit).await
    }
    async fn forget_prepared(&self, limit: u32) -> Result<u64> {
        self.store.forget_prepared(limit).await
    }
}

impl<S: DecisionRegister, F: Faults> DecisionRegister for CrashStore<S, F> {
    async fn decide(&self, participation: &Participation, proposal: Decision) -> Result<Decision> {
        self.faults.pass(CrashPoint::BeforeDecision).await;
        let decision = self.store.decide(participation, proposal).await?;
        self.faults.pass(CrashPoint::AfterDecision).await;
        Ok(decision)
    }
    async fn decision(&self, participation: &Participation) -> Result<Option<RegisterEntry>> {
        self.store.decision(participation).await
    }
    async fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> Result<Option<RegisterEntry>> {
        self.store.find_decision(transaction).await
    }
    async fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> Result<Option<Settlement>> {
        self.store.dispute(participation, dispute).await
    }
    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        self.store.settle(participation, settlement).await
    }
    async fn finish(&self, participation: &Participation, decision: Decision) -> Result<()> {
        self.faults.pass(CrashPoint::BeforeFinish).await;
        self.store.finish(participation, decision).await?;
        self.faults.pass(CrashPoint::AfterFinish).await;
        Ok(())
    }
    async fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        self.store.unfinished(after, limit).await
    }
    async fn forget_decisions(&self, limit: u32) -> Result<u64> {
        self.store.forget_decisions(limit).await
    }
}

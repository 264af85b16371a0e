//! A store with crash points, around any other store.
//!
//! It forwards every call. The points are right before and right after what makes an effect
//! durable, where a power cut would hurt.

use std::time::Duration;

use exactly_once::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BegunPrepared, BoxError, Capabilities,
    Claim, Claimed, CloseAccount, CompareAndSet, Decision, DecisionRegister, Dispute, Error,
    FencingToken, HistoryPage, IdempotencyKey, IdempotencyStore, InDoubtPage, KeyRecord, Lease,
    LeaseStore, Leased, Namespace, OneShot, OneShotDone, OneShotStore, OpenAccount, Outcome,
    Participation, Place, PreparedStatus, PreparedTransactions, Receipt, RegisterEntry,
    RegisterPage, Rejection, Result, Settled, Settlement, Store, StoreIdentity, Timestamp,
    TransactionDigest, Transactional, Transfer, Transferred, Version,
};

use crate::control::{Control, Faults, Point};

/// A store with crash points.
#[derive(Clone, Debug)]
pub struct CrashStore<S, F = Control> {
    store: S,
    faults: F,
}

impl<S, F: Faults> CrashStore<S, F> {
    /// Around this store, with these faults.
    pub fn new(store: S, faults: F) -> Self {
        Self { store, faults }
    }

    /// Passes the points around something that commits.
    async fn commits<T>(&self, effect: impl Future<Output = Result<T>>) -> Result<T> {
        self.faults.pass(Point::BeforeCommit)?;
        let answer = effect.await?;
        self.faults.pass(Point::AfterCommit)?;
        Ok(answer)
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
        Self::new(self.store.with_namespace(namespace), self.faults.clone())
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

impl<S: IdempotencyStore, F: Faults> IdempotencyStore for CrashStore<S, F> {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<S::Tx>> {
        self.store.claim(claim).await
    }
    async fn complete(&self, tx: S::Tx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        self.commits(self.store.complete(tx, claim, receipt)).await
    }
    async fn reject(&self, tx: S::Tx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        self.commits(self.store.reject(tx, claim, rejection)).await
    }
    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        self.store.lookup(key).await
    }
    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        self.store.forget(key).await
    }
    async fn expire(&self, limit: u32) -> Result<u64> {
        self.store.expire(limit).await
    }
}

impl<S: OneShotStore, F: Faults> OneShotStore for CrashStore<S, F> {
    async fn execute_one_shot(&self, effect: &OneShot) -> Result<OneShotDone> {
        self.commits(self.store.execute_one_shot(effect)).await
    }
}

impl<S: LeaseStore, F: Faults> LeaseStore for CrashStore<S, F> {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        self.store.lease(claim, ttl).await
    }
    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        self.store.renew(claim, token, ttl).await
    }
    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        self.commits(self.store.finalize(claim, token, outcome))
            .await
    }
    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        self.store.release(claim, token).await
    }
}

macro_rules! change {
    ($($method:ident($operation:ident) -> $answer:ident;)*) => {$(
        async fn $method(&self, operation: &$operation) -> Result<$answer> {
            self.commits(self.store.$method(operation)).await
        }
    )*};
}

impl<S: BalanceStore, F: Faults> BalanceStore for CrashStore<S, F> {
    change! {
        open_account(OpenAccount) -> Applied;
        close_account(CloseAccount) -> Applied;
        adjust(Adjust) -> Applied;
        compare_and_set(CompareAndSet) -> Applied;
        transfer(Transfer) -> Transferred;
    }
    async fn balance(&self, account: &AccountId) -> Result<Option<AccountState>> {
        self.store.balance(account).await
    }
    async fn history(
        &self,
        account: &AccountId,
        after: Option<Version>,
        limit: u32,
    ) -> Result<HistoryPage> {
        self.store.history(account, after, limit).await
    }
}

impl<S: PreparedTransactions, F: Faults> PreparedTransactions for CrashStore<S, F> {
    async fn begin_prepared(&self, participation: &Participation) -> Result<BegunPrepared<S::Tx>> {
        self.store.begin_prepared(participation).await
    }
    async fn prepare(&self, tx: S::Tx, participation: &Participation) -> Result<()> {
        self.faults.pass(Point::BeforePrepare)?;
        self.store.prepare(tx, participation).await?;
        self.faults.pass(Point::AfterPrepare)
    }
    async fn commit_alone(&self, tx: S::Tx, participation: &Participation) -> Result<()> {
        self.commits(self.store.commit_alone(tx, participation))
            .await
    }
    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        self.commits(self.store.commit_prepared(participation))
            .await
    }
    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        self.store.rollback_prepared(participation).await
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
        let decision = self.store.decide(participation, proposal).await?;
        self.faults.pass(Point::Prepared)?;
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
        self.store.finish(participation, decision).await
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

//! A store that can be made to crash, around any other store.
//!
//! It forwards every call, passes the crash points on the way, and counts. So the crash points are
//! in this example and not in the library, and they lie exactly where a power cut would hurt: right
//! before the store's commit, and right after it while Restate has not heard of it yet.

use exactly_once::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, BoxError,
    Capabilities, Claim, Claimed, CloseAccount, CompareAndSet, Error, HistoryPage, IdempotencyKey,
    IdempotencyStore, KeyRecord, Namespace, OpenAccount, Place, Receipt, Rejection, Result,
    Settled, Store, StoreIdentity, Timestamp, Transactional, Transfer, Transferred, Version,
};

use crate::control::{Control, Counter, CrashPoint, Faults, Handler};

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

    fn before(&self, handler: Handler) -> Result<()> {
        self.faults.count(Counter::Attempts);
        self.faults.pass(CrashPoint::BeforeTransaction, handler)
    }

    fn after<T>(
        &self,
        handler: Handler,
        answer: Result<T>,
        replayed: impl FnOnce(&T) -> bool,
    ) -> Result<T> {
        let answer = answer?;
        if replayed(&answer) {
            self.faults.count(Counter::Replays);
        }
        self.faults.pass(CrashPoint::AfterCommit, handler)?;
        Ok(answer)
    }
}

/// Which handler's step a key belongs to: the step's name is part of the journaled key.
fn handler(claim: &Claim) -> Handler {
    if claim.key().as_str().contains("/refund/") {
        Handler::Refund
    } else {
        Handler::Charge
    }
}

/// The only handler with a transfer makes one; the merchant's credit is part of a charge.
fn handler_of(operation: &str) -> Handler {
    if operation == "transfer" {
        Handler::Transfer
    } else {
        Handler::Charge
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
        self.before(handler(claim))?;
        let claimed = self.store.claim(claim).await;
        if matches!(claimed, Ok(Claimed::Completed(_))) {
            self.faults.count(Counter::Replays);
        }
        claimed
    }
    async fn complete(&self, tx: S::Tx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        self.faults.pass(CrashPoint::BeforeCommit, handler(claim))?;
        let settled = self.store.complete(tx, claim, receipt).await;
        self.after(handler(claim), settled, |settled| {
            matches!(settled, Settled::Superseded(_))
        })
    }
    async fn reject(&self, tx: S::Tx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        self.faults.pass(CrashPoint::BeforeCommit, handler(claim))?;
        let settled = self.store.reject(tx, claim, rejection).await;
        self.after(handler(claim), settled, |settled| {
            matches!(settled, Settled::Superseded(_))
        })
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

macro_rules! change {
    ($($method:ident($operation:ident) -> $answer:ident;)*) => {$(
        async fn $method(&self, operation: &$operation) -> Result<$answer> {
            let handler = handler_of(stringify!($method));
            self.before(handler)?;
            let answer = self.store.$method(operation).await;
            self.after(handler, answer, |answer| answer.replayed)
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

impl<S: BalanceTransaction, F: Faults> BalanceTransaction for CrashStore<S, F> {
    async fn adjust_in(&self, tx: &mut S::Tx, operation: &Adjust) -> Result<Applied> {
        self.store.adjust_in(tx, operation).await
    }
}

//! Every trait of the wrapped store, one observed call each.

use std::time::Duration;

use exactly_once_core::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, BegunPrepared,
    BoxError, Capabilities, Claim, Claimed, CloseAccount, CompareAndSet, Decision,
    DecisionRegister, Dispute, Error, FencingToken, HistoryPage, IdempotencyKey, IdempotencyStore,
    InDoubtPage, KeyRecord, LastOneShotParticipant, LastResource, Lease, LeaseStore, Leased,
    Namespace, OneShot, OneShotDone, OneShotParticipant, OneShotStore, OpenAccount, Outcome,
    Participation, Place, PreparedOneShot, PreparedStatus, PreparedTransactions, Ran, Receipt,
    RegisterEntry, RegisterPage, Rejection, Result, Settled, Settlement, Statement,
    StatementTransaction, Store, StoreIdentity, Timestamp, TransactionDigest, Transactional,
    Transfer, Transferred, Version,
};

use super::{Observed, call::call, outcome::Begun};

macro_rules! forward {
    ($trait:ident {
        $(fn $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*
    } $($more:tt)*) => {
        impl<S: $trait> $trait for Observed<S> {
            $($more)*
            $(async fn $method(&self, $($arg: $type),*) -> Result<$answer> {
                call(self, stringify!($method), self.0.$method($($arg),*)).await
            })*
        }
    };
}

forward! { Store {
    fn now() -> Timestamp;
    fn close() -> ();
}
    fn backend(&self) -> &'static str {
        self.0.backend()
    }
    fn place(&self) -> Place {
        self.0.place()
    }
    fn namespace(&self) -> &Namespace {
        self.0.namespace()
    }
    fn with_namespace(&self, namespace: Namespace) -> Self {
        Self::new(self.0.with_namespace(namespace))
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    // A handle reads it once: there is nothing to observe.
    async fn identity(&self) -> Result<StoreIdentity> {
        self.0.identity().await
    }
    async fn adopt(&self) -> Result<StoreIdentity> {
        self.0.adopt().await
    }
}

forward! { Transactional {
    fn commit(tx: S::Tx) -> ();
    fn rollback(tx: S::Tx) -> ();
}
    type Tx = S::Tx;
    async fn begin(&self) -> Result<S::Tx> {
        let begun = async { self.0.begin().await.map(Begun) };
        call(self, "begin", begun).await.map(|begun| begun.0)
    }
    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        self.0.classify(operation, source)
    }
}

forward! { IdempotencyStore {
    fn claim(claim: &Claim) -> Claimed<S::Tx>;
    fn complete(tx: S::Tx, claim: &Claim, receipt: &Receipt) -> Settled;
    fn reject(tx: S::Tx, claim: &Claim, rejection: &Rejection) -> Settled;
    fn lookup(key: &IdempotencyKey) -> Option<KeyRecord>;
    fn forget(key: &IdempotencyKey) -> bool;
    fn expire(limit: u32) -> u64;
}}

forward! { OneShotStore {
    fn execute_one_shot(effect: &OneShot) -> OneShotDone;
}}

forward! { StatementTransaction {
    fn run_in(tx: &mut S::Tx, statement: &Statement) -> Ran;
}}

forward! { LeaseStore {
    fn lease(claim: &Claim, ttl: Duration) -> Leased;
    fn renew(claim: &Claim, token: FencingToken, ttl: Duration) -> Lease;
    fn finalize(claim: &Claim, token: FencingToken, outcome: &Outcome) -> ();
    fn release(claim: &Claim, token: FencingToken) -> ();
}}

forward! { BalanceStore {
    fn open_account(operation: &OpenAccount) -> Applied;
    fn close_account(operation: &CloseAccount) -> Applied;
    fn balance(account: &AccountId) -> Option<AccountState>;
    fn adjust(operation: &Adjust) -> Applied;
    fn compare_and_set(operation: &CompareAndSet) -> Applied;
    fn transfer(operation: &Transfer) -> Transferred;
    fn history(account: &AccountId, after: Option<Version>, limit: u32) -> HistoryPage;
}}

forward! { BalanceTransaction {
    fn adjust_in(tx: &mut S::Tx, operation: &Adjust) -> Applied;
}}

forward! { PreparedTransactions {
    fn begin_prepared(participation: &Participation) -> BegunPrepared<S::Tx>;
    fn prepare(tx: S::Tx, participation: &Participation) -> ();
    fn commit_alone(tx: S::Tx, participation: &Participation) -> ();
    fn commit_prepared(participation: &Participation) -> ();
    fn rollback_prepared(participation: &Participation) -> ();
    fn prepared_status(participation: &Participation) -> PreparedStatus;
    fn forget_prepared(limit: u32) -> u64;
}
    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        let page = call(self, "in_doubt", self.0.in_doubt(after, limit)).await?;
        self.1.listed(&self.0, after, &page);
        Ok(page)
    }
}

forward! { OneShotParticipant {
    fn apply(tx: &mut S::Tx, statements: &[Statement]) -> ();
    fn prepare_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
    fn commit_alone_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
}}

forward! { LastOneShotParticipant {
    fn commit_deciding_one_shot(participation: &Participation, statements: &[Statement]) -> Option<Decision>;
}}

forward! { DecisionRegister {
    fn decide(participation: &Participation, proposal: Decision) -> Decision;
    fn decision(participation: &Participation) -> Option<RegisterEntry>;
    fn find_decision(transaction: &TransactionDigest) -> Option<RegisterEntry>;
    fn dispute(participation: &Participation, dispute: &Dispute) -> Option<Settlement>;
    fn settle(participation: &Participation, settlement: &Settlement) -> Settlement;
    fn finish(participation: &Participation, decision: Decision) -> ();
    fn unfinished(after: Option<&TransactionDigest>, limit: u32) -> RegisterPage;
    fn forget_decisions(limit: u32) -> u64;
}}

forward! { LastResource {
    fn commit_deciding(tx: S::Tx, participation: &Participation) -> Decision;
}}

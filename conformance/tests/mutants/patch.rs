//! A store that is right but for what its patch does otherwise.

use std::{future::Future, net::SocketAddr, time::Duration};

use exactly_once::{
    AccountId, AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, BegunPrepared,
    BoxError, Capabilities, Claim, Claimed, CloseAccount, CompareAndSet, Decision,
    DecisionRegister, Dispute, Error, FencingToken, HistoryPage, IdempotencyKey, IdempotencyStore,
    InDoubtPage, KeyRecord, Lease, LeaseStore, Leased, Namespace, OneShot, OneShotDone,
    OneShotParticipant, OneShotStore, OpenAccount, Outcome, Participation, Place, PreparedOneShot,
    PreparedStatus, PreparedTransactions, Ran, Receipt, RegisterEntry, RegisterPage, Rejection,
    Result, Settled, Settlement, Statement, StatementTransaction, Store, StoreIdentity, Timestamp,
    TransactionDigest, Transactional, Transfer, Transferred, Version,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::{CaseResult, harness::Way};

/// The reference store behind a patch.
#[derive(Clone)]
pub(crate) struct Mutant<P> {
    pub(crate) right: MemoryStore,
    pub(crate) patch: P,
}

macro_rules! patchable {
    ($($trait:ident {
        $(type Tx = $tx:ty;)?
        $(fn $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*
        $(sync fn $sync:ident($($sync_arg:ident: $sync_type:ty),*) -> $sync_answer:ty;)*
    })*) => {
        /// What a mutant does otherwise. Each method does right unless it is overridden.
        pub(crate) trait Patch: Default + Clone + Send + Sync + 'static {
            /// The patch of one more handle on the same data; for mistakes in opening.
            fn open(&self) -> impl Future<Output = CaseResult<Self>> + Send {
                async { Ok(self.clone()) }
            }

            /// The patch of a handle whose client's clock is off.
            fn skewed(&self, seconds: i64) -> Self {
                let _ = seconds;
                self.clone()
            }

            /// Starts what the store talks to over the network, if it does.
            fn serve(
                &self,
                right: &MemoryStore,
            ) -> impl Future<Output = CaseResult<Option<SocketAddr>>> + Send {
                let _ = right;
                async { Ok(None) }
            }

            /// The patch of a handle that talks to this address.
            fn through(&self, address: SocketAddr) -> Self {
                let _ = address;
                self.clone()
            }

            /// What a handle that comes another way has under it, and its patch.
            fn by(&self, right: &MemoryStore, way: Way) -> Option<(MemoryStore, Self)> {
                let _ = (right, way);
                None
            }

            /// What a handle on another namespace is bound to.
            fn namespace(&self, asked: Namespace) -> Namespace {
                asked
            }

            $($(fn $method(
                &self,
                right: &MemoryStore,
                $($arg: $type),*
            ) -> impl Future<Output = Result<$answer>> + Send {
                right.$method($($arg),*)
            })*

            $(fn $sync(&self, right: &MemoryStore, $($sync_arg: $sync_type),*) -> $sync_answer {
                right.$sync($($sync_arg),*)
            })*)*
        }

        $(impl<P: Patch> $trait for Mutant<P> {
            $(type Tx = $tx;)?
            $(async fn $method(&self, $($arg: $type),*) -> Result<$answer> {
                self.patch.$method(&self.right, $($arg),*).await
            })*
            $(fn $sync(&self, $($sync_arg: $sync_type),*) -> $sync_answer {
                self.patch.$sync(&self.right, $($sync_arg),*)
            })*
            patchable!(@rest $trait);
        })*
    };
    (@rest Store) => {
        fn backend(&self) -> &'static str {
            self.right.backend()
        }
        fn namespace(&self) -> &Namespace {
            self.right.namespace()
        }
        fn with_namespace(&self, namespace: Namespace) -> Self {
            Self {
                right: self.right.with_namespace(self.patch.namespace(namespace)),
                patch: self.patch.clone(),
            }
        }
    };
    (@rest $other:ident) => {};
}

patchable! {
    Store {
        fn now() -> Timestamp;
        fn identity() -> StoreIdentity;
        fn adopt() -> StoreIdentity;
        fn close() -> ();
        sync fn capabilities() -> Capabilities;
        sync fn place() -> Place;
    }
    Transactional {
        type Tx = MemoryTx;
        fn begin() -> MemoryTx;
        fn commit(tx: MemoryTx) -> ();
        fn rollback(tx: MemoryTx) -> ();
        sync fn classify(operation: &'static str, source: BoxError) -> Error;
    }
    IdempotencyStore {
        fn claim(claim: &Claim) -> Claimed<MemoryTx>;
        fn complete(tx: MemoryTx, claim: &Claim, receipt: &Receipt) -> Settled;
        fn reject(tx: MemoryTx, claim: &Claim, rejection: &Rejection) -> Settled;
        fn lookup(key: &IdempotencyKey) -> Option<KeyRecord>;
        fn forget(key: &IdempotencyKey) -> bool;
        fn expire(limit: u32) -> u64;
    }
    OneShotStore {
        fn execute_one_shot(effect: &OneShot) -> OneShotDone;
    }
    StatementTransaction {
        fn run_in(tx: &mut MemoryTx, statement: &Statement) -> Ran;
    }
    LeaseStore {
        fn lease(claim: &Claim, ttl: Duration) -> Leased;
        fn renew(claim: &Claim, token: FencingToken, ttl: Duration) -> Lease;
        fn finalize(claim: &Claim, token: FencingToken, outcome: &Outcome) -> ();
        fn release(claim: &Claim, token: FencingToken) -> ();
    }
    BalanceStore {
        fn open_account(operation: &OpenAccount) -> Applied;
        fn close_account(operation: &CloseAccount) -> Applied;
        fn balance(account: &AccountId) -> Option<AccountState>;
        fn adjust(operation: &Adjust) -> Applied;
        fn compare_and_set(operation: &CompareAndSet) -> Applied;
        fn transfer(operation: &Transfer) -> Transferred;
        fn history(account: &AccountId, after: Option<Version>, limit: u32) -> HistoryPage;
    }
    BalanceTransaction {
        fn adjust_in(tx: &mut MemoryTx, operation: &Adjust) -> Applied;
    }
    PreparedTransactions {
        fn begin_prepared(participation: &Participation) -> BegunPrepared<MemoryTx>;
        fn prepare(tx: MemoryTx, participation: &Participation) -> ();
        fn commit_alone(tx: MemoryTx, participation: &Participation) -> ();
        fn commit_prepared(participation: &Participation) -> ();
        fn rollback_prepared(participation: &Participation) -> ();
        fn prepared_status(participation: &Participation) -> PreparedStatus;
        fn in_doubt(after: Option<&TransactionDigest>, limit: u32) -> InDoubtPage;
        fn forget_prepared(limit: u32) -> u64;
    }
    OneShotParticipant {
        fn apply(tx: &mut MemoryTx, statements: &[Statement]) -> ();
        fn prepare_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
        fn commit_alone_one_shot(participation: &Participation, statements: &[Statement]) -> PreparedOneShot;
    }
    DecisionRegister {
        fn decide(participation: &Participation, proposal: Decision) -> Decision;
        fn decision(participation: &Participation) -> Option<RegisterEntry>;
        fn find_decision(transaction: &TransactionDigest) -> Option<RegisterEntry>;
        fn dispute(participation: &Participation, dispute: &Dispute) -> Option<Settlement>;
        fn settle(participation: &Participation, settlement: &Settlement) -> Settlement;
        fn finish(participation: &Participation, decision: Decision) -> ();
        fn unfinished(after: Option<&TransactionDigest>, limit: u32) -> RegisterPage;
        fn forget_decisions(limit: u32) -> u64;
    }
}

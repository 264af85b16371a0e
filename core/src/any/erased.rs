//! The `dyn` twins of the traits, and the one type that implements them for every store.

pub(super) mod last;
pub(super) mod statements;

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};

use super::{AnyTx, Parts};
use crate::{
    amount::Version,
    balance::{
        AccountState, Adjust, Applied, BalanceStore, BalanceTransaction, CloseAccount,
        CompareAndSet, HistoryPage, OpenAccount, Transfer, Transferred,
    },
    dispute::Dispute,
    error::{BoxError, Error, ErrorKind, Result},
    idempotency::{Claim, Claimed, IdempotencyStore, KeyRecord, Outcome, Settled},
    identity::StoreIdentity,
    lease::{FencingToken, Lease, LeaseStore, Leased},
    names::{AccountId, IdempotencyKey, Namespace},
    one_shot::{OneShot, OneShotDone, OneShotStore},
    one_shot_participant::{OneShotParticipant, PreparedOneShot},
    place::Place,
    prepared::{
        BegunPrepared, InDoubtPage, Participation, PreparedStatus, PreparedTransactions,
        TransactionDigest,
    },
    receipt::Receipt,
    register::{Decision, DecisionRegister, RegisterEntry, RegisterPage, Settlement},
    rejection::Rejection,
    statement::Statement,
    store::{Capabilities, Store},
    time::Timestamp,
    transaction::Transactional,
};

/// A store behind the twins.
pub(super) struct Erased<S>(pub(super) S);

/// The transaction as the store's own type. One of another store is a mistake of the caller's.
pub(super) fn own<S: Transactional>(
    store: &S,
    tx: AnyTx,
    operation: &'static str,
) -> Result<S::Tx> {
    tx.tx
        .downcast()
        .map(|tx| *tx)
        .map_err(|_| foreign(store, operation))
}

fn foreign<S: Store>(store: &S, operation: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, operation, store.backend())
        .with_message("the transaction belongs to another kind of store")
}

pub(super) trait ErasedStore: Send + Sync {
    fn backend(&self) -> &'static str;
    fn place(&self) -> Place;
    fn namespace(&self) -> &Namespace;
    fn capabilities(&self) -> Capabilities;
    /// The same store in another namespace, with the twins that `parts` has.
    fn rebuild(&self, namespace: Namespace, parts: &Parts) -> (Arc<dyn ErasedStore>, Parts);
    fn now(&self) -> BoxFuture<'_, Result<Timestamp>>;
    fn identity(&self) -> BoxFuture<'_, Result<StoreIdentity>>;
    fn adopt(&self) -> BoxFuture<'_, Result<StoreIdentity>>;
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}

impl<S: Store> ErasedStore for Erased<S> {
    fn backend(&self) -> &'static str {
        self.0.backend()
    }
    fn place(&self) -> Place {
        self.0.place()
    }
    fn namespace(&self) -> &Namespace {
        self.0.namespace()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn rebuild(&self, namespace: Namespace, parts: &Parts) -> (Arc<dyn ErasedStore>, Parts) {
        let twins = Parts {
            transactional: parts
                .transactional
                .as_ref()
                .map(|part| part.rebind(&namespace)),
            idempotency: parts
                .idempotency
                .as_ref()
                .map(|part| part.rebind(&namespace)),
            one_shot: parts.one_shot.as_ref().map(|part| part.rebind(&namespace)),
            statements: parts
                .statements
                .as_ref()
                .map(|part| part.rebind(&namespace)),
            lease: parts.lease.as_ref().map(|part| part.rebind(&namespace)),
            balance: parts.balance.as_ref().map(|part| part.rebind(&namespace)),
            balance_transaction: parts
                .balance_transaction
                .as_ref()
                .map(|part| part.rebind(&namespace)),
            prepared: parts.prepared.as_ref().map(|part| part.rebind(&namespace)),
            one_shot_participant: parts
                .one_shot_participant
                .as_ref()
                .map(|part| part.rebind(&namespace)),
            register: parts.register.as_ref().map(|part| part.rebind(&namespace)),
            last: parts.last.as_ref().map(|part| part.rebind(&namespace)),
            last_one_shot: parts
                .last_one_shot
                .as_ref()
                .map(|part| part.rebind(&namespace)),
        };
        (Arc::new(Self(self.0.with_namespace(namespace))), twins)
    }
    fn now(&self) -> BoxFuture<'_, Result<Timestamp>> {
        self.0.now().boxed()
    }
    fn identity(&self) -> BoxFuture<'_, Result<StoreIdentity>> {
        self.0.identity().boxed()
    }
    fn adopt(&self) -> BoxFuture<'_, Result<StoreIdentity>> {
        self.0.adopt().boxed()
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.0.close().boxed()
    }
}

/// A twin whose methods forward as they are: no transaction among the arguments.
macro_rules! twin {
    ($twin:ident of $trait:ident {
        $(fn $method:ident<$life:lifetime>($($arg:ident: $type:ty),*) -> $answer:ty;)*
    }) => {
        pub(super) trait $twin: Send + Sync {
            fn rebind(&self, namespace: &Namespace) -> Arc<dyn $twin>;
            $(fn $method<$life>(&$life self, $($arg: $type),*) -> BoxFuture<$life, Result<$answer>>;)*
        }

        impl<S: $trait> $twin for Erased<S> {
            fn rebind(&self, namespace: &Namespace) -> Arc<dyn $twin> {
                Arc::new(Self(self.0.with_namespace(namespace.clone())))
            }
            $(fn $method<$life>(
                &$life self,
                $($arg: $type),*
            ) -> BoxFuture<$life, Result<$answer>> {
                $trait::$method(&self.0, $($arg),*).boxed()
            })*
        }
    };
}

twin! { ErasedOneShot of OneShotStore {
    fn execute_one_shot<'a>(effect: &'a OneShot) -> OneShotDone;
}}

twin! { ErasedLease of LeaseStore {
    fn lease<'a>(claim: &'a Claim, ttl: Duration) -> Leased;
    fn renew<'a>(claim: &'a Claim, token: FencingToken, ttl: Duration) -> Lease;
    fn finalize<'a>(claim: &'a Claim, token: FencingToken, outcome: &'a Outcome) -> ();
    fn release<'a>(claim: &'a Claim, token: FencingToken) -> ();
}}

twin! { ErasedBalance of BalanceStore {
    fn open_account<'a>(operation: &'a OpenAccount) -> Applied;
    fn close_account<'a>(operation: &'a CloseAccount) -> Applied;
    fn balance<'a>(account: &'a AccountId) -> Option<AccountState>;
    fn adjust<'a>(operation: &'a Adjust) -> Applied;
    fn compare_and_set<'a>(operation: &'a CompareAndSet) -> Applied;
    fn transfer<'a>(operation: &'a Transfer) -> Transferred;
    fn history<'a>(account: &'a AccountId, after: Option<Version>, limit: u32) -> HistoryPage;
}}

twin! { ErasedRegister of DecisionRegister {
    fn decide<'a>(participation: &'a Participation, proposal: Decision) -> Decision;
    fn decision<'a>(participation: &'a Participation) -> Option<RegisterEntry>;
    fn find_decision<'a>(transaction: &'a TransactionDigest) -> Option<RegisterEntry>;
    fn dispute<'a>(participation: &'a Participation, dispute: &'a Dispute) -> Option<Settlement>;
    fn settle<'a>(participation: &'a Participation, settlement: &'a Settlement) -> Settlement;
    fn finish<'a>(participation: &'a Participation, decision: Decision) -> ();
    fn unfinished<'a>(after: Option<&'a TransactionDigest>, limit: u32) -> RegisterPage;
    fn forget_decisions<'a>(limit: u32) -> u64;
}}

pub(super) trait ErasedTransactional: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedTransactional>;
    fn begin(&self) -> BoxFuture<'_, Result<AnyTx>>;
    fn commit(&self, tx: AnyTx) -> BoxFuture<'_, Result<()>>;
    fn rollback(&self, tx: AnyTx) -> BoxFuture<'_, Result<()>>;
    fn classify(&self, operation: &'static str, source: BoxError) -> Error;
}

impl<S: Transactional> ErasedTransactional for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedTransactional> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn begin(&self) -> BoxFuture<'_, Result<AnyTx>> {
        async { self.0.begin().await.map(AnyTx::new) }.boxed()
    }
    fn commit(&self, tx: AnyTx) -> BoxFuture<'_, Result<()>> {
        async { self.0.commit(own(&self.0, tx, "commit")?).await }.boxed()
    }
    fn rollback(&self, tx: AnyTx) -> BoxFuture<'_, Result<()>> {
        async { self.0.rollback(own(&self.0, tx, "rollback")?).await }.boxed()
    }
    fn classify(&self, operation: &'static str, source: BoxError) -> Error {
        self.0.classify(operation, source)
    }
}

pub(super) trait ErasedIdempotency: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedIdempotency>;
    fn claim<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Claimed<AnyTx>>>;
    fn complete<'a>(
        &'a self,
        tx: AnyTx,
        claim: &'a Claim,
        receipt: &'a Receipt,
    ) -> BoxFuture<'a, Result<Settled>>;
    fn reject<'a>(
        &'a self,
        tx: AnyTx,
        claim: &'a Claim,
        rejection: &'a Rejection,
    ) -> BoxFuture<'a, Result<Settled>>;
    fn lookup<'a>(&'a self, key: &'a IdempotencyKey) -> BoxFuture<'a, Result<Option<KeyRecord>>>;
    fn forget<'a>(&'a self, key: &'a IdempotencyKey) -> BoxFuture<'a, Result<bool>>;
    fn expire(&self, limit: u32) -> BoxFuture<'_, Result<u64>>;
}

impl<S: IdempotencyStore> ErasedIdempotency for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedIdempotency> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn claim<'a>(&'a self, claim: &'a Claim) -> BoxFuture<'a, Result<Claimed<AnyTx>>> {
        async {
            Ok(match self.0.claim(claim).await? {
                Claimed::Fresh(tx) => Claimed::Fresh(AnyTx::new(tx)),
                Claimed::Completed(outcome) => Claimed::Completed(outcome),
                Claimed::InProgress { retry_after } => Claimed::InProgress { retry_after },
                Claimed::Mismatch => Claimed::Mismatch,
            })
        }
        .boxed()
    }
    fn complete<'a>(
        &'a self,
        tx: AnyTx,
        claim: &'a Claim,
        receipt: &'a Receipt,
    ) -> BoxFuture<'a, Result<Settled>> {
        async {
            self.0
                .complete(own(&self.0, tx, "complete")?, claim, receipt)
                .await
        }
        .boxed()
    }
    fn reject<'a>(
        &'a self,
        tx: AnyTx,
        claim: &'a Claim,
        rejection: &'a Rejection,
    ) -> BoxFuture<'a, Result<Settled>> {
        async {
            self.0
                .reject(own(&self.0, tx, "reject")?, claim, rejection)
                .await
        }
        .boxed()
    }
    fn lookup<'a>(&'a self, key: &'a IdempotencyKey) -> BoxFuture<'a, Result<Option<KeyRecord>>> {
        self.0.lookup(key).boxed()
    }
    fn forget<'a>(&'a self, key: &'a IdempotencyKey) -> BoxFuture<'a, Result<bool>> {
        self.0.forget(key).boxed()
    }
    fn expire(&self, limit: u32) -> BoxFuture<'_, Result<u64>> {
        self.0.expire(limit).boxed()
    }
}

pub(super) trait ErasedBalanceTransaction: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedBalanceTransaction>;
    fn adjust_in<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        operation: &'a Adjust,
    ) -> BoxFuture<'a, Result<Applied>>;
}

impl<S: BalanceTransaction> ErasedBalanceTransaction for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedBalanceTransaction> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn adjust_in<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        operation: &'a Adjust,
    ) -> BoxFuture<'a, Result<Applied>> {
        async {
            match tx.downcast_mut::<S::Tx>() {
                Some(tx) => self.0.adjust_in(tx, operation).await,
                None => Err(foreign(&self.0, "adjust_in")),
            }
        }
        .boxed()
    }
}

pub(super) trait ErasedOneShotParticipant: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedOneShotParticipant>;
    fn apply<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<()>>;
    fn prepare_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<PreparedOneShot>>;
    fn commit_alone_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<PreparedOneShot>>;
}

impl<S: OneShotParticipant> ErasedOneShotParticipant for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedOneShotParticipant> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn apply<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<()>> {
        async {
            match tx.downcast_mut::<S::Tx>() {
                Some(tx) => self.0.apply(tx, statements).await,
                None => Err(foreign(&self.0, "apply")),
            }
        }
        .boxed()
    }
    fn prepare_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<PreparedOneShot>> {
        self.0.prepare_one_shot(participation, statements).boxed()
    }
    fn commit_alone_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<PreparedOneShot>> {
        self.0
            .commit_alone_one_shot(participation, statements)
            .boxed()
    }
}

pub(super) trait ErasedPrepared: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedPrepared>;
    fn begin_prepared<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<BegunPrepared<AnyTx>>>;
    fn prepare<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>>;
    fn commit_alone<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>>;
    fn commit_prepared<'a>(&'a self, participation: &'a Participation)
    -> BoxFuture<'a, Result<()>>;
    fn rollback_prepared<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>>;
    fn prepared_status<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<PreparedStatus>>;
    fn in_doubt<'a>(
        &'a self,
        after: Option<&'a TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'a, Result<InDoubtPage>>;
    fn forget_prepared(&self, limit: u32) -> BoxFuture<'_, Result<u64>>;
}

impl<S: PreparedTransactions> ErasedPrepared for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedPrepared> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn begin_prepared<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<BegunPrepared<AnyTx>>> {
        async {
            Ok(match self.0.begin_prepared(participation).await? {
                BegunPrepared::Fresh(tx) => BegunPrepared::Fresh(AnyTx::new(tx)),
                BegunPrepared::AlreadyPrepared => BegunPrepared::AlreadyPrepared,
                BegunPrepared::AlreadyCommitted => BegunPrepared::AlreadyCommitted,
            })
        }
        .boxed()
    }
    fn prepare<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>> {
        async {
            self.0
                .prepare(own(&self.0, tx, "prepare")?, participation)
                .await
        }
        .boxed()
    }
    fn commit_alone<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>> {
        async {
            self.0
                .commit_alone(own(&self.0, tx, "commit_alone")?, participation)
                .await
        }
        .boxed()
    }
    fn commit_prepared<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>> {
        self.0.commit_prepared(participation).boxed()
    }
    fn rollback_prepared<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<()>> {
        self.0.rollback_prepared(participation).boxed()
    }
    fn prepared_status<'a>(
        &'a self,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<PreparedStatus>> {
        self.0.prepared_status(participation).boxed()
    }
    fn in_doubt<'a>(
        &'a self,
        after: Option<&'a TransactionDigest>,
        limit: u32,
    ) -> BoxFuture<'a, Result<InDoubtPage>> {
        self.0.in_doubt(after, limit).boxed()
    }
    fn forget_prepared(&self, limit: u32) -> BoxFuture<'_, Result<u64>> {
        self.0.forget_prepared(limit).boxed()
    }
}

//! The traits of [`AnyStore`] that have no transaction among their arguments.

use std::time::Duration;

use super::AnyStore;
use crate::{
    amount::Version,
    balance::{
        AccountState, Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, HistoryPage,
        OpenAccount, Transfer, Transferred,
    },
    dispute::Dispute,
    error::Result,
    idempotency::{Claim, Outcome},
    identity::StoreIdentity,
    lease::{FencingToken, Lease, LeaseStore, Leased},
    names::{AccountId, Namespace},
    one_shot::{OneShot, OneShotDone, OneShotStore},
    place::Place,
    prepared::{Participation, TransactionDigest},
    register::{Decision, DecisionRegister, RegisterEntry, RegisterPage, Settlement},
    store::{Capabilities, Store},
    time::Timestamp,
};

impl Store for AnyStore {
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
        let (store, parts) = self.store.rebuild(namespace, &self.parts);
        Self { store, parts }
    }
    fn capabilities(&self) -> Capabilities {
        let capabilities = self.store.capabilities();
        let last = capabilities.last_participant && self.parts.last.is_some();
        capabilities.with_last_participant(last)
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

macro_rules! forward {
    ($trait:ident by $part:ident {
        $(fn $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*
    }) => {
        impl $trait for AnyStore {
            $(async fn $method(&self, $($arg: $type),*) -> Result<$answer> {
                match &self.parts.$part {
                    Some(part) => part.$method($($arg),*).await,
                    None => Err(self.missing(stringify!($method))),
                }
            })*
        }
    };
}

forward! { OneShotStore by one_shot {
    fn execute_one_shot(effect: &OneShot) -> OneShotDone;
}}

forward! { LeaseStore by lease {
    fn lease(claim: &Claim, ttl: Duration) -> Leased;
    fn renew(claim: &Claim, token: FencingToken, ttl: Duration) -> Lease;
    fn finalize(claim: &Claim, token: FencingToken, outcome: &Outcome) -> ();
    fn release(claim: &Claim, token: FencingToken) -> ();
}}

forward! { BalanceStore by balance {
    fn open_account(operation: &OpenAccount) -> Applied;
    fn close_account(operation: &CloseAccount) -> Applied;
    fn balance(account: &AccountId) -> Option<AccountState>;
    fn adjust(operation: &Adjust) -> Applied;
    fn compare_and_set(operation: &CompareAndSet) -> Applied;
    fn transfer(operation: &Transfer) -> Transferred;
    fn history(account: &AccountId, after: Option<Version>, limit: u32) -> HistoryPage;
}}

forward! { DecisionRegister by register {
    fn decide(participation: &Participation, proposal: Decision) -> Decision;
    fn decision(participation: &Participation) -> Option<RegisterEntry>;
    fn find_decision(transaction: &TransactionDigest) -> Option<RegisterEntry>;
    fn dispute(participation: &Participation, dispute: &Dispute) -> Option<Settlement>;
    fn settle(participation: &Participation, settlement: &Settlement) -> Settlement;
    fn finish(participation: &Participation, decision: Decision) -> ();
    fn unfinished(after: Option<&TransactionDigest>, limit: u32) -> RegisterPage;
    fn forget_decisions(limit: u32) -> u64;
}}

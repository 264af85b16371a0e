//! A store chosen at run time: the same traits, over boxed futures.
//!
//! A program that takes its backend from a URL can't name the store's type. [`AnyStore`] holds any
//! of them and implements the same traits, so everything that is written for a typed store, the
//! conformance suite included, runs on it unchanged.
//!
//! # Layout
//! - `erased`: the private `dyn` twins of the traits; `last`: those of last participants;
//!   `statements`: that of statements in a transaction.
//! - `plain`: the traits without transactions, forwarded.
//! - `transactional`: the traits whose transactions are boxed as [`AnyTx`].

mod erased;
mod plain;
mod transactional;

use std::{any::Any, fmt, sync::Arc};

use crate::{
    balance::{BalanceStore, BalanceTransaction},
    error::{Error, ErrorKind, Result},
    idempotency::IdempotencyStore,
    lease::LeaseStore,
    one_shot::OneShotStore,
    one_shot_participant::{LastOneShotParticipant, OneShotParticipant},
    prepared::{LastResource, PreparedTransactions},
    register::DecisionRegister,
    rows::Ran,
    statement::Statement,
    store::Store,
    transaction::{StatementTransaction, Transactional},
};
use erased::{
    Erased, ErasedBalance, ErasedBalanceTransaction, ErasedIdempotency, ErasedLease, ErasedOneShot,
    ErasedOneShotParticipant, ErasedPrepared, ErasedRegister, ErasedStore, ErasedTransactional,
    last::{ErasedLast, ErasedLastOneShot},
    statements::ErasedStatements,
};

/// A store of a type known at run time only.
///
/// A method of a trait that the store behind it does not have (and that was not named to the
/// [builder](AnyStore::builder)) answers [unsupported](ErrorKind::Unsupported).
#[derive(Clone)]
pub struct AnyStore {
    store: Arc<dyn ErasedStore>,
    parts: Parts,
}

#[derive(Clone, Default)]
struct Parts {
    transactional: Option<Arc<dyn ErasedTransactional>>,
    idempotency: Option<Arc<dyn ErasedIdempotency>>,
    one_shot: Option<Arc<dyn ErasedOneShot>>,
    statements: Option<Arc<dyn ErasedStatements>>,
    lease: Option<Arc<dyn ErasedLease>>,
    balance: Option<Arc<dyn ErasedBalance>>,
    balance_transaction: Option<Arc<dyn ErasedBalanceTransaction>>,
    prepared: Option<Arc<dyn ErasedPrepared>>,
    one_shot_participant: Option<Arc<dyn ErasedOneShotParticipant>>,
    register: Option<Arc<dyn ErasedRegister>>,
    last: Option<Arc<dyn ErasedLast>>,
    last_one_shot: Option<Arc<dyn ErasedLastOneShot>>,
}

/// A transaction of the store behind an [`AnyStore`].
pub struct AnyTx {
    tx: Box<dyn Any + Send>,
    /// What runs statements in it, where the store has that.
    statements: Option<Arc<dyn ErasedStatements>>,
}

impl AnyTx {
    fn new(tx: impl Any + Send) -> Self {
        Self {
            tx: Box::new(tx),
            statements: None,
        }
    }

    /// Runs a statement in the transaction, beside the work's own, and gives the rows that it
    /// [returns](Statement::returning): work over any backend needs no [`Self::downcast_mut`].
    ///
    /// # Errors
    /// As [`StatementTransaction::run_in`]; [unsupported](ErrorKind::Unsupported) where the store was
    /// erased without that trait.
    pub async fn run(&mut self, statement: &Statement) -> Result<Ran> {
        match self.statements.clone() {
            Some(statements) => statements.run_in(self, statement).await,
            None => Err(Error::new(ErrorKind::Unsupported, "run", "any").with_message(
                "the store was erased without `StatementTransaction`, which the operation belongs to",
            )),
        }
    }

    /// The transaction as the backend's own type, for the user's own statements; `None` if the
    /// store behind is of another backend.
    #[must_use]
    pub fn downcast_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.tx.downcast_mut()
    }
}

impl fmt::Debug for AnyTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyTx")
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyStore")
            .field("backend", &self.store.backend())
            .field("namespace", self.store.namespace())
            .finish_non_exhaustive()
    }
}

/// Names the traits of a store that an [`AnyStore`] shall have.
#[must_use]
pub struct AnyStoreBuilder<S> {
    store: Arc<Erased<S>>,
    parts: Parts,
}

impl AnyStore {
    /// A store with every trait but those of a [last participant](Self::with_last_participant), which
    /// not every backend has.
    pub fn new<S>(store: S) -> Self
    where
        S: OneShotStore
            + StatementTransaction
            + LeaseStore
            + BalanceTransaction
            + OneShotParticipant
            + DecisionRegister,
    {
        Self::builder(store)
            .idempotency()
            .one_shot()
            .statements()
            .leases()
            .balances()
            .balance_transactions()
            .prepared()
            .one_shot_participants()
            .register()
            .build()
    }

    /// A store with every trait: it may also be the last participant of a two-phase commit.
    pub fn with_last_participant<S>(store: S) -> Self
    where
        S: OneShotStore
            + StatementTransaction
            + LeaseStore
            + BalanceTransaction
            + LastOneShotParticipant,
    {
        let whole = Self::new(store.clone());
        let last = Self::builder(store).last_one_shot_participants().build();
        let parts = Parts {
            last: last.parts.last,
            last_one_shot: last.parts.last_one_shot,
            ..whole.parts
        };
        Self { parts, ..whole }
    }

    /// A store with some of the traits; name them one by one.
    pub fn builder<S: Store>(store: S) -> AnyStoreBuilder<S> {
        AnyStoreBuilder {
            store: Arc::new(Erased(store)),
            parts: Parts::default(),
        }
    }

    /// The transaction with what runs statements in it.
    fn with_statements(&self, tx: AnyTx) -> AnyTx {
        AnyTx {
            statements: self.parts.statements.clone(),
            ..tx
        }
    }

    fn missing(&self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Unsupported, operation, self.store.backend())
            .with_message("this store was erased without the trait that the operation belongs to")
    }
}

macro_rules! part {
    ($(#[$doc:meta])* $name:ident: $bound:path => $($field:ident),+) => {
        $(#[$doc])*
        pub fn $name(mut self) -> Self
        where
            S: $bound,
        {
            $(self.parts.$field = Some(self.store.clone());)+
            self
        }
    };
}

impl<S: Store> AnyStoreBuilder<S> {
    part!(
        /// With plain transactions.
        transactions: Transactional => transactional
    );
    part!(
        /// With [`IdempotencyStore`].
        idempotency: IdempotencyStore => transactional, idempotency
    );
    part!(
        /// With [`OneShotStore`].
        one_shot: OneShotStore => one_shot
    );
    part!(
        /// With [`StatementTransaction`].
        statements: StatementTransaction => transactional, statements
    );
    part!(
        /// With [`LeaseStore`].
        leases: LeaseStore => lease
    );
    part!(
        /// With [`BalanceStore`].
        balances: BalanceStore => balance
    );
    part!(
        /// With [`BalanceTransaction`].
        balance_transactions: BalanceTransaction => transactional, balance, balance_transaction
    );
    part!(
        /// With [`PreparedTransactions`].
        prepared: PreparedTransactions => transactional, prepared
    );
    part!(
        /// With [`OneShotParticipant`].
        one_shot_participants: OneShotParticipant => transactional, prepared, one_shot_participant
    );
    part!(
        /// With [`DecisionRegister`].
        register: DecisionRegister => register
    );

    part!(
        /// With [`LastResource`].
        last_participants: LastResource => transactional, prepared, register, last
    );
    part!(
        /// With [`LastOneShotParticipant`].
        last_one_shot_participants: LastOneShotParticipant =>
            transactional, prepared, one_shot_participant, register, last, last_one_shot
    );

    /// The erased store.
    pub fn build(self) -> AnyStore {
        AnyStore {
            store: self.store,
            parts: self.parts,
        }
    }
}

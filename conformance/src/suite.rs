//! The suite: every case of the traits that a store has, on the typed store and its erased twin.

use std::{process::ExitCode, sync::Arc};

use exactly_once_core::{
    AnyStore, BalanceStore, BalanceTransaction, DecisionRegister, IdempotencyStore, LeaseStore,
    OneShotParticipant, OneShotStore, PreparedTransactions, StatementTransaction,
};

use crate::{
    cases::{self, Registry},
    erased::ErasedHarness,
    harness::Harness,
    process::{self, Job},
    runner::{Runner, Trial, Variant, refuse},
};

/// Every case of every trait; for a store that has them all. The result is for `main`.
///
/// The call site is a `harness = false` test target:
///
/// ```toml
/// [[test]]
/// name = "conformance_mine"
/// harness = false
/// ```
pub fn run<H>(harness: H) -> ExitCode
where
    H: Harness,
    H::Store: OneShotStore
        + StatementTransaction
        + LeaseStore
        + BalanceTransaction
        + OneShotParticipant
        + DecisionRegister,
{
    Suite::new(harness).all().run()
}

/// The cases of the traits that are named to it.
#[must_use = "a suite does nothing until it is run"]
pub struct Suite<H: Harness> {
    harness: Arc<H>,
    offered: Vec<&'static str>,
    trials: Vec<Trial>,
    jobs: Vec<(&'static str, Job<H>)>,
}

macro_rules! topic {
    (
        $(#[$doc:meta])*
        $name:ident: $bound:path $(, + $more:path)*; $register:path,
        $($erase:ident)+ $(, $jobs:path)?
    ) => {
        $(#[$doc])*
        pub fn $name(mut self) -> Self
        where
            H::Store: $bound $(+ $more)*,
        {
            // No part of the generic method: so it is compiled here, and once.
            fn erased(twin: ErasedHarness) -> Vec<Trial> {
                let mut erased = Registry::new(Arc::new(twin), Variant::Erased);
                $register(&mut erased);
                erased.into_trials()
            }
            self.offered.push(stringify!($name));
            let mut typed = Registry::new(self.harness.clone(), Variant::Typed);
            $register(&mut typed);
            self.trials.extend(typed.into_trials());
            let erase = |store| AnyStore::builder(store)$(.$erase())+.build();
            self.trials.extend(erased(ErasedHarness::new(self.harness.clone(), erase)));
            $(self.jobs.extend($jobs());)?
            self
        }
    };
}

impl<H: Harness> Suite<H> {
    /// An empty suite.
    pub fn new(harness: H) -> Self {
        Self {
            harness: Arc::new(harness),
            offered: Vec::new(),
            trials: Vec::new(),
            jobs: Vec::new(),
        }
    }

    topic!(
        /// Topic I: transactional idempotency.
        idempotency: IdempotencyStore; cases::idempotency::register, idempotency,
        process::idempotency_jobs
    );
    topic!(
        /// Topic I, leased form.
        leases: LeaseStore; cases::lease::register, leases
    );
    topic!(
        /// Topic B: versioned balances.
        balances: BalanceStore; cases::balance::register, balances
    );
    topic!(
        /// Topic B, inside a user's transaction.
        balance_transactions: BalanceTransaction; cases::balance_tx::register_all, balance_transactions
    );
    topic!(
        /// Topic T: prepared transactions.
        prepared: PreparedTransactions; cases::prepared::register, prepared
    );
    topic!(
        /// The decision register.
        register: DecisionRegister; cases::register::register_all, register
    );
    topic!(
        /// Topic T, with balances changed in the prepared transactions.
        prepared_balances: BalanceTransaction, + PreparedTransactions;
        cases::prepared::register_balances, balance_transactions prepared
    );
    topic!(
        /// Topics I and T together: effects under a key, beside prepared changes of balances.
        effects_beside_prepared: IdempotencyStore, + BalanceTransaction, + PreparedTransactions;
        cases::prepared::effects::register, idempotency balance_transactions prepared
    );
    topic!(
        /// Topic T, participants and register together.
        two_phase: PreparedTransactions, + DecisionRegister;
        cases::two_phase::register_all, prepared register
    );
    topic!(
        /// Topic T, one-shot form.
        prepared_one_shot: OneShotParticipant; cases::prepared_one_shot::register,
        one_shot_participants
    );
    topic!(
        /// Topic T, participants in one-shot form and register together.
        two_phase_one_shot: OneShotParticipant, + DecisionRegister;
        cases::prepared_one_shot::together::register, one_shot_participants register
    );
    topic!(
        /// Topics I and V, keys in both forms, by transaction and by lease; also under random faults.
        key_invariants: IdempotencyStore, + LeaseStore;
        cases::keys::register, idempotency leases
    );
    topic!(
        /// Topics I and B together: an effect under a key that changes balances in its transaction.
        effects_on_balances: IdempotencyStore, + BalanceTransaction;
        cases::together::register, idempotency balance_transactions
    );
    topic!(
        /// Topic I, one-shot effects beside leases.
        one_shot_leases: OneShotStore, + LeaseStore;
        cases::one_shot::leases::register, idempotency one_shot leases
    );

    topic!(
        /// Topic Q: statements in a transaction, and the rows that they return.
        statements: StatementTransaction, + IdempotencyStore;
        cases::statements::register, idempotency statements
    );

    /// Topics I and Q, one-shot form.
    pub fn one_shot(mut self) -> Self
    where
        H::Store: OneShotStore,
    {
        fn erased(twin: ErasedHarness) -> Vec<Trial> {
            let mut erased = Registry::new(Arc::new(twin), Variant::Erased);
            cases::one_shot::register(&mut erased);
            erased.into_trials()
        }
        self.offered.push("one_shot");
        let mut typed = Registry::new(self.harness.clone(), Variant::Typed);
        cases::one_shot::register(&mut typed);
        self.trials.extend(typed.into_trials());
        let erase = |store| AnyStore::builder(store).idempotency().one_shot().build();
        self.trials
            .extend(erased(ErasedHarness::new(self.harness.clone(), erase)));
        self
    }

    /// Every topic.
    pub fn all(self) -> Self
    where
        H::Store: OneShotStore
            + StatementTransaction
            + LeaseStore
            + BalanceTransaction
            + OneShotParticipant
            + DecisionRegister,
    {
        self.idempotency()
            .one_shot()
            .statements()
            .leases()
            .balances()
            .balance_transactions()
            .prepared()
            .register()
            .prepared_balances()
            .two_phase()
            .prepared_one_shot()
            .two_phase_one_shot()
            .key_invariants()
            .effects_on_balances()
            .effects_beside_prepared()
            .one_shot_leases()
    }

    /// The trials, for a runner of your own.
    #[must_use]
    pub fn into_trials(self) -> Vec<Trial> {
        self.trials
    }

    /// Runs them as a test target does; the result is for `main`.
    pub fn run(self) -> ExitCode {
        if let Some(done) = process::act(&self.harness, &self.jobs) {
            return done;
        }
        let left_out = TOPICS
            .iter()
            .filter(|(topic, _)| !self.offered.contains(topic))
            .map(|(topic, proves)| format!("{topic} ({proves})"))
            .collect();
        match Runner::new(self.harness.name()) {
            Ok(runner) => runner.not_offered(left_out).run(self.trials),
            Err(error) => refuse(&error),
        }
    }
}

/// Every topic, and what a store that does not run it leaves unproven.
const TOPICS: [(&str, &str); 16] = [
    ("idempotency", "keys, claims and receipts in a transaction"),
    ("one_shot", "effects known up front"),
    ("statements", "statements in a transaction, and their rows"),
    ("leases", "leases and fencing tokens"),
    ("balances", "versioned balances"),
    (
        "balance_transactions",
        "balances inside a user's transaction",
    ),
    ("prepared", "a participant of two-phase commit"),
    ("register", "the decision register"),
    (
        "prepared_balances",
        "balances changed in prepared transactions",
    ),
    ("two_phase", "participants and register together"),
    ("prepared_one_shot", "participants known up front"),
    (
        "two_phase_one_shot",
        "participants known up front, with the register",
    ),
    (
        "key_invariants",
        "keys by transaction and by lease, under random faults",
    ),
    (
        "effects_on_balances",
        "an effect under a key that changes balances",
    ),
    ("effects_beside_prepared", "effects beside prepared changes"),
    ("one_shot_leases", "one-shot effects beside leases"),
];

#[cfg(test)]
mod tests {
    use super::TOPICS;

    /// A topic that is missing here would be reported as left out by a run that has it.
    #[test]
    fn every_topic_is_in_the_list() {
        let source = include_str!("suite.rs");
        let (_, all) = source.split_once("self.idempotency()").unwrap();
        let (all, _) = all.split_once("\n    }").unwrap();
        let mut named: Vec<_> = all
            .lines()
            .filter_map(|line| line.trim().strip_prefix('.')?.strip_suffix("()"))
            .collect();
        named.push("idempotency");
        let mut listed: Vec<_> = TOPICS.iter().map(|(topic, _)| *topic).collect();
        named.sort_unstable();
        listed.sort_unstable();
        assert_eq!(named, listed);
    }
}

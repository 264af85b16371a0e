//! Every form of effect, on each engine: written once.

use std::{future::Future, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    BalanceOperation, Engine, Permit, Refusal, Step, TransactionIdentity, leased,
    one_shot::AnsweredEffect,
    steps::{Answer, apply, asked, claimed, fix_key, keyed, recorded, unkeyed},
    two_phase,
    unread::Unread,
};
use crate::{
    amount::Amount,
    balance::{
        Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, Expected, Leg, OpenAccount,
        Transfer, Transferred,
    },
    error::Error,
    execute::{ExecuteOnce, Work, WorkError},
    fingerprint::Fingerprint,
    idempotency::IdempotencyStore,
    lease::LeaseStore,
    names::{AccountId, IdempotencyKey},
    one_shot::OneShotStore,
    receipt::Receipt,
    register::DecisionRegister,
    two_phase::TwoPhaseCommit,
};

/// Effects that happen once, on each [`Engine`].
///
/// # Errors
/// A failure of the engine's own type: a [`Refusal`] (final, made by [`Engine::refused`]), a
/// [cancellation](Engine::cancelled) (the effect may have been applied by an earlier attempt), or
/// an error that leads to another attempt with the same key.
pub trait Effects<'run, M>: Engine<'run, M> {
    /// Runs the work in a transaction together with its key, exactly once, and returns its value; a
    /// retry gets the value of the attempt that committed.
    ///
    /// `request` is what the effect depends on: a key that comes with another request is refused
    /// as a [mismatch](crate::ErrorKind::Mismatch). To ensure correctness, it must be the same on
    /// every retry, so it must not hold a clock's or a random value of the moment. An engine without
    /// a journal compares what *this* version of the program serialises: a field that a new version
    /// adds needs `#[serde(skip_serializing_if = …)]`, or retries that are under way are a mismatch.
    fn execute_once<'a, S, T, R, W>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        work: W,
    ) -> Answer<'a, T, Self::Failure>
    where
        'run: 'a,
        S: IdempotencyStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized,
        W: for<'t> Work<&'t mut S::Tx, Result<T, WorkError>> + 'run,
    {
        let (store, unread) = (store.clone(), store.clone());
        keyed(
            self,
            step.into(),
            request,
            move |claim| async move { Ok(store.execute_once(&claim, work).await?.value) },
            move |request: Unread| async move { request.refuse(&unread).await },
        )
    }

    /// Applies statements that are known up front, exactly once, in one round trip, and returns the
    /// effect's value, or the rows that a statement made; a retry gets those of the attempt that
    /// committed.
    fn one_shot<'a, S, E>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        effect: E,
    ) -> Answer<'a, E::Answer, Self::Failure>
    where
        'run: 'a,
        S: OneShotStore,
        E: AnsweredEffect,
    {
        let (store, unread) = (store.clone(), store.clone());
        effect.with(|request, parts| {
            let reader = parts.reader();
            keyed(
                self,
                step.into(),
                request,
                move |claim| async move { super::one_shot::apply(&store, claim, parts).await },
                move |request: Unread| async move {
                    let outcome = request.outcome(&unread).await?;
                    super::one_shot::read(&unread, outcome, &reader)
                },
            )
        })
    }

    /// Refuses an effect whose request can't be read, by a program whose rules for requests change: a
    /// configuration, say.
    ///
    /// An earlier attempt, under other rules, may have applied the effect. What the store has recorded
    /// under the step's key is the answer; otherwise the refusal is recorded before it is reported, so that
    /// no message of that attempt is applied after it. Where a journal has no key of the step, there was no
    /// such attempt: the refusal is journaled in the key's place, and no store is asked.
    fn refuse<'a, S, T>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        refusal: Error,
    ) -> Answer<'a, T, Self::Failure>
    where
        'run: 'a,
        S: IdempotencyStore,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (store, unread) = (store.clone(), store.clone());
        let recorded = refusal.body().again();
        claimed(
            self,
            step.into(),
            Err(refusal),
            move |claim| async move { super::one_shot::refuse(&store, &claim, recorded).await },
            move |request: Unread| async move { request.refuse(&unread).await },
        )
    }

    /// Makes an external effect (a call to a payment provider, a mail) under a lease: one attempt at
    /// a time is entitled to it, and its outcome is recorded once.
    ///
    /// The lease is held for `ttl` and renewed while the work lasts; after a crash, the next attempt
    /// waits until it expires. No database can make an external effect exactly-once: an attempt
    /// that crashes between the effect and its record is followed by another one. So send the
    /// [permit's](Permit) key along as the other side's idempotency key.
    fn leased_effect<'a, S, T, R, W, Fut>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        request: &R,
        ttl: Duration,
        work: W,
    ) -> Answer<'a, T, Self::Failure>
    where
        'run: 'a,
        S: LeaseStore,
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Serialize + ?Sized,
        W: FnOnce(Permit) -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'run,
    {
        let (store, unread, timer) = (store.clone(), store.clone(), self.timer());
        keyed(
            self,
            step.into(),
            request,
            move |claim| async move { leased::execute(&store, &claim, ttl, &*timer, work).await },
            move |request: Unread| async move { request.refuse_leased(&unread, ttl).await },
        )
    }

    /// Commits a transaction in several databases, all or none; see [`crate::two_phase`]. The
    /// name and the deadlines are journaled before they are used.
    ///
    /// # Errors
    /// [Unsupported](crate::ErrorKind::Unsupported) on an engine [without a
    /// journal](Engine::has_journal): there, give them by [`Self::two_phase_as`].
    fn two_phase<'a, R, Q, P>(
        &'a self,
        register: &R,
        step: impl Into<Step>,
        request: &Q,
        participants: P,
    ) -> Answer<'a, (), Self::Failure>
    where
        'run: 'a,
        R: DecisionRegister,
        Q: Serialize + ?Sized,
        P: FnOnce(TwoPhaseCommit<'run, R>) -> TwoPhaseCommit<'run, R> + Send + 'run,
    {
        let step = step.into();
        let fingerprint = Fingerprint::of(step.name(), request);
        two_phase::run(self, register, step, None, fingerprint, participants)
    }

    /// Refuses a transaction whose request can't be read, as [`Self::refuse`] refuses an effect.
    ///
    /// To ensure correctness, the participants must be those that the transaction would have, each with
    /// work that fails by a [rejection](crate::Rejection): it runs only where an earlier attempt has not
    /// done its part.
    ///
    /// On an engine [without a journal](Engine::has_journal) no transaction begins by [`Self::two_phase`],
    /// so the refusal is the answer; for those of [`Self::two_phase_as`] there is
    /// [`Self::refuse_two_phase_as`].
    fn refuse_two_phase<'a, R, P>(
        &'a self,
        register: &R,
        step: impl Into<Step>,
        refusal: Error,
        participants: P,
    ) -> Answer<'a, (), Self::Failure>
    where
        'run: 'a,
        R: DecisionRegister,
        P: FnOnce(TwoPhaseCommit<'run, R>) -> TwoPhaseCommit<'run, R> + Send + 'run,
    {
        two_phase::run(
            self,
            register,
            step.into(),
            None,
            Err(refusal),
            participants,
        )
    }

    /// As [`Self::two_phase`], with a name and deadlines that the caller keeps: they must be the same
    /// on every attempt, so they come from the run's input.
    fn two_phase_as<'a, R, Q, P>(
        &'a self,
        register: &R,
        step: impl Into<Step>,
        identity: &TransactionIdentity,
        request: &Q,
        participants: P,
    ) -> Answer<'a, (), Self::Failure>
    where
        'run: 'a,
        R: DecisionRegister,
        Q: Serialize + ?Sized,
        P: FnOnce(TwoPhaseCommit<'run, R>) -> TwoPhaseCommit<'run, R> + Send + 'run,
    {
        let (step, identity) = (step.into(), Some(identity.clone()));
        let fingerprint = Fingerprint::of(step.name(), request);
        two_phase::run(self, register, step, identity, fingerprint, participants)
    }

    /// Refuses a transaction whose request can't be read, under a name and deadlines that the caller keeps:
    /// [`Self::two_phase_as`] calls it where the request can't be serialized.
    ///
    /// The work of the participants does not run: where no earlier attempt has begun, each of them records a
    /// rollback before the refusal is reported.
    ///
    /// # Errors
    /// The refusal; [configuration](crate::ErrorKind::Configuration), which is retried, where an earlier
    /// attempt could read the request and has begun: its outcome can be asked for with the request only.
    fn refuse_two_phase_as<'a, R, P>(
        &'a self,
        register: &R,
        step: impl Into<Step>,
        identity: &TransactionIdentity,
        refusal: Error,
        participants: P,
    ) -> Answer<'a, (), Self::Failure>
    where
        'run: 'a,
        R: DecisionRegister,
        P: FnOnce(TwoPhaseCommit<'run, R>) -> TwoPhaseCommit<'run, R> + Send + 'run,
    {
        let (step, identity) = (step.into(), Some(identity.clone()));
        two_phase::run(self, register, step, identity, Err(refusal), participants)
    }

    /// Reads, and journals what was read where there is a journal: a retry goes on with the same
    /// value. Without a journal a retry reads again.
    ///
    /// The error of the read is retried, unless it is a [rejection](crate::Rejection) or a store's
    /// error that says stop.
    fn durable_read<'a, T, F, Fut>(
        &'a self,
        step: impl Into<Step>,
        read: F,
    ) -> Answer<'a, T, Self::Failure>
    where
        'run: 'a,
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce() -> Fut + Send + 'run,
        Fut: Future<Output = Result<T, WorkError>> + Send + 'run,
    {
        let engine = self.name();
        unkeyed(self, step.into(), move || async move {
            const OPERATION: &str = "durable_read";
            let value = read().await;
            let value = value.map_err(|error| error.into_error_without_store(OPERATION, engine))?;
            // What the journal could not give back would be read again for ever.
            let read_back = Receipt::of(&value).map(|(_, value)| value);
            read_back.map_err(|error| error.reported_by(OPERATION, engine))
        })
    }

    /// Journals the key of a step before the step begins, and returns the step with it, so that a
    /// handler that is cancelled in the middle of the effect can
    /// [ask for its outcome](Self::outcome_of).
    fn fix_key<'a>(&'a self, step: impl Into<Step>) -> Answer<'a, Step, Self::Failure>
    where
        'run: 'a,
    {
        fix_key(self, step.into())
    }

    /// The outcome that the store has recorded under the step's key: `None` if nothing is recorded,
    /// the value if the effect was applied, or the refusal. The step must have a
    /// [key](Step::key): [fixed](Self::fix_key), or [its own](Step::with_key). A run that was
    /// [cancelled](Engine::cancelled) may ask as well.
    ///
    /// `None` is what the store knew at that moment: an attempt whose statement is still under way in
    /// the database may commit afterwards, and of a leased effect whose attempt died before it could
    /// record an outcome, nothing is known. Where that matters, repeat the step with its key instead:
    /// it waits for the attempt, and its answer is final.
    ///
    /// # Errors
    /// [Invalid](crate::ErrorKind::Invalid) for a step without a key.
    fn outcome_of<'a, S, T>(
        &'a self,
        store: &S,
        step: &Step,
    ) -> Answer<'a, Option<Result<T, Refusal>>, Self::Failure>
    where
        'run: 'a,
        S: IdempotencyStore,
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let (store, key) = (store.clone(), step.key().cloned());
        let lookup = Step::named(format!("{}/outcome", step.name()));
        asked(self, lookup, move || async move {
            recorded(&store, key.as_ref()).await
        })
    }

    /// Applies a balance operation, with all its options:
    /// `ctx.balance_operation(&store, "debit", |key| Adjust::new(key, account, delta).expecting(v))`.
    fn balance_operation<'a, S, O>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        operation: impl FnOnce(IdempotencyKey) -> O + Send + 'a,
    ) -> Answer<'a, O::Answer, Self::Failure>
    where
        'run: 'a,
        S: BalanceStore,
        O: BalanceOperation,
    {
        apply(self, store, step.into(), |key| Ok(operation(key)))
    }

    /// Adds a delta to an account, once.
    fn adjust<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        delta: Amount,
    ) -> Answer<'a, Applied, Self::Failure>
    where
        'run: 'a,
    {
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(Adjust::new(key, account, delta))
        })
    }

    /// Opens an account with floor zero and this amount, once.
    fn open_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        amount: Amount,
    ) -> Answer<'a, Applied, Self::Failure>
    where
        'run: 'a,
    {
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(OpenAccount::new(key, account).with_amount(amount))
        })
    }

    /// Closes an account whose balance is zero, once.
    fn close_account<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
    ) -> Answer<'a, Applied, Self::Failure>
    where
        'run: 'a,
    {
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(CloseAccount::new(key, account))
        })
    }

    /// Sets an account's amount if it is as expected, once. A retry of what was applied gets the
    /// receipt, not a conflict with itself.
    fn compare_and_set<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        account: &AccountId,
        expected: Expected,
        amount: Amount,
    ) -> Answer<'a, Applied, Self::Failure>
    where
        'run: 'a,
    {
        let account = account.clone();
        apply(self, store, step.into(), move |key| {
            Ok(CompareAndSet::new(key, account, expected, amount))
        })
    }

    /// Moves amounts between accounts, all legs or none, once.
    fn transfer<'a, S: BalanceStore>(
        &'a self,
        store: &S,
        step: impl Into<Step>,
        legs: Vec<Leg>,
    ) -> Answer<'a, Transferred, Self::Failure>
    where
        'run: 'a,
    {
        apply(self, store, step.into(), move |key| {
            Transfer::new(key, legs)
        })
    }
}

impl<'run, M, E: Engine<'run, M> + ?Sized> Effects<'run, M> for E {}

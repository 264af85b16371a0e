//! A handler for each form of effect.

use std::{io, time::Duration};

use exactly_once_core::{
    AccountId, Adjust, Amount, BalanceStore, Claim, Error, ErrorKind, Expected, Fingerprint,
    IdempotencyKey, InvalidName, LeaseStore, Leg, Transactional, Version, Work, WorkError,
    engine::{Effect, Effects, Engine, Refusal, Step, script::Faulty},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    EngineStore, Job,
    job::{ROW, Tally},
    refusing::{Refusing, refuse},
};
use crate::Harness;

/// A handler of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    ExecuteOnce,
    OneShot,
    Open,
    Close,
    Adjust,
    CompareAndSet,
    Transfer,
    Operation,
    Leased,
    DurableRead,
    TwoPhase,
    FixedKey,
    TwoOfOneName,
    /// Two keys that are fixed under one name, and an effect under each.
    TwoFixedKeys,
    /// An effect whose request no attempt but the first one can read.
    Unread,
    /// One step under a key of its own, called a second time.
    SecondCall,
    /// A leased effect under a key that another attempt holds.
    Held,
    Refusing(Refusing),
}

impl Form {
    /// What its effect leaves: rows of the first and the second store, then accounts.
    pub(super) fn leaves(self) -> &'static str {
        match self {
            Self::ExecuteOnce
            | Self::OneShot
            | Self::FixedKey
            | Self::SecondCall
            | Self::Unread => "1 0 alice=100@1 bob=0@1",
            Self::TwoOfOneName | Self::TwoFixedKeys => "2 0 alice=100@1 bob=0@1",
            Self::TwoPhase => "1 1 alice=100@1 bob=0@1",
            Self::Open => "0 0 alice=100@1 bob=0@1 carol=5@1",
            Self::Close => "0 0 alice=100@1 bob closed@2",
            Self::Adjust => "0 0 alice=107@2 bob=0@1",
            Self::Operation => "0 0 alice=93@2 bob=0@1",
            Self::CompareAndSet => "0 0 alice=42@2 bob=0@1",
            Self::Transfer => "0 0 alice=70@2 bob=30@2",
            Self::Leased | Self::Held | Self::DurableRead | Self::Refusing(_) => NOTHING,
        }
    }
}

/// What is left of no effect.
pub(super) const NOTHING: &str = "0 0 alice=100@1 bob=0@1";

/// How long a lease is held: after a crash, the next attempt waits for it.
pub(super) const LEASE: Duration = Duration::from_millis(200);

pub(super) type Tx<H> = <<H as Harness>::Store as Transactional>::Tx;

impl<H: Harness> Job<H>
where
    H::Store: EngineStore,
{
    pub(super) async fn perform<'run, M, E>(&self, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        match self.form {
            Form::Open | Form::Close | Form::Adjust | Form::CompareAndSet => {
                self.one_account(ctx).await
            }
            Form::Transfer | Form::Operation => self.accounts(ctx).await,
            Form::Refusing(refusing) => refuse(self, ctx, refusing).await,
            _ => self.keyed(ctx).await,
        }
    }

    async fn keyed<'run, M, E>(&self, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        let store = &self.first.store;
        match self.form {
            Form::OneShot => {
                let value = Tally::value();
                let statement = self.harness.effect_statement_at(self.guard(), ROW);
                let effect = Effect::of_request(&REQUEST).statements(statement);
                let value = ctx.one_shot(store, "pay", effect.value(&value)).await?;
                Ok(json!(value))
            }
            Form::Leased | Form::Held => {
                let mut step = Step::named("send");
                if self.form == Form::Held {
                    let key = IdempotencyKey::new(format!("{}/own", self.run()));
                    step = step.with_key(name(ctx, key)?);
                    self.hold(&step).await;
                }
                let (tally, faults) = (self.tally.clone(), ctx.faults().clone());
                let work = move |_permit| async move {
                    faults.point().await;
                    let execution = tally.executed();
                    faults.point().await;
                    fail(execution <= tally.failing)?;
                    Ok(Tally::value())
                };
                let sent = ctx.leased_effect(store, step, &REQUEST, LEASE, work);
                Ok(json!(sent.await?))
            }
            Form::DurableRead => {
                let (tally, faults) = (self.tally.clone(), ctx.faults().clone());
                let (store, alice) = (store.clone(), name(ctx, AccountId::new("alice"))?);
                let read = move || async move {
                    let execution = tally.executed();
                    fail(execution <= tally.failing)?;
                    faults.point().await;
                    let alice = store.balance(&alice).await?;
                    Ok((Tally::value(), alice.map(|alice| alice.amount.get())))
                };
                Ok(json!(ctx.durable_read("read", read).await?))
            }
            Form::TwoPhase => self.two_phase(ctx).await,
            Form::FixedKey => {
                let step = ctx.fix_key("pay").await?;
                let paid = ctx.execute_once(store, step.clone(), &REQUEST, self.work());
                match paid.await {
                    Ok(paid) => Ok(json!(paid)),
                    Err(failure) => {
                        let known = ctx.outcome_of::<_, u64>(store, &step).await?;
                        if let Ok(mut slot) = self.tally.known.lock() {
                            *slot = Some(known.is_some());
                        }
                        Err(failure)
                    }
                }
            }
            Form::SecondCall => {
                let key = IdempotencyKey::new(format!("{}/own", self.run()));
                let step = Step::named("pay").with_key(name(ctx, key)?);
                let first = ctx.execute_once(store, step.clone(), &REQUEST, self.work());
                let first = first.await?;
                let second = ctx.execute_once(store, step, &REQUEST, self.work()).await?;
                Ok(json!([first, second, first == second]))
            }
            Form::TwoOfOneName => {
                let first = ctx.execute_once(store, "pay", &REQUEST, self.work());
                let first = first.await?;
                let second = ctx.execute_once(store, "pay", &REQUEST, self.work());
                Ok(json!([first, second.await?]))
            }
            Form::TwoFixedKeys => {
                let (first, second) = (ctx.fix_key("pay").await?, ctx.fix_key("pay").await?);
                let first = ctx.execute_once(store, first, &REQUEST, self.work());
                let first = first.await?;
                let second = ctx.execute_once(store, second, &REQUEST, self.work());
                Ok(json!([first, second.await?]))
            }
            Form::Unread if self.tally.attempts() > 1 => {
                let unread = Error::new(ErrorKind::Invalid, "engines", "conformance")
                    .with_message("the request can't be read any more");
                let refused = ctx.refuse::<_, u64>(store, "pay", unread);
                Ok(json!(refused.await?))
            }
            _ => {
                let paid = ctx.execute_once(store, "pay", &REQUEST, self.work());
                Ok(json!(paid.await?))
            }
        }
    }

    async fn two_phase<'run, M, E>(&self, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        let (first, second) = (self.first.store.clone(), self.second.store.clone());
        let (here, there) = (self.participant(), self.participant());
        let register = first.clone();
        let participants = move |order: exactly_once_core::two_phase::TwoPhaseCommit<'run, _>| {
            let order = order.participant("here", &first, here);
            order.participant("there", &second, there)
        };
        if ctx.has_journal() {
            ctx.two_phase(&register, "order", &REQUEST, participants)
                .await?;
        } else {
            let identity = &self.transaction;
            ctx.two_phase_as(&register, "order", identity, &REQUEST, participants)
                .await?;
        }
        Ok(Value::Null)
    }

    async fn one_account<'run, M, E>(&self, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        let store = &self.first.store;
        let alice = name(ctx, AccountId::new("alice"))?;
        let applied = match self.form {
            Form::Open => {
                let carol = name(ctx, AccountId::new("carol"))?;
                ctx.open_account(store, "open", &carol, Amount::new(5))
                    .await?
            }
            Form::Close => {
                let bob = name(ctx, AccountId::new("bob"))?;
                ctx.close_account(store, "close", &bob).await?
            }
            Form::CompareAndSet => {
                let expected = Expected::Version(Version::FIRST);
                ctx.compare_and_set(store, "set", &alice, expected, Amount::new(42))
                    .await?
            }
            _ => ctx.adjust(store, "add", &alice, Amount::new(7)).await?,
        };
        // Whether an attempt before has applied it depends on the fault.
        Ok(shown(&applied.change))
    }

    async fn accounts<'run, M, E>(&self, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
    where
        E: Engine<'run, M>,
    {
        let store = &self.first.store;
        let alice = name(ctx, AccountId::new("alice"))?;
        if self.form == Form::Transfer {
            let bob = name(ctx, AccountId::new("bob"))?;
            let leg = |account, delta| Leg {
                account,
                delta: Amount::new(delta),
            };
            let legs = vec![leg(alice, -30), leg(bob, 30)];
            let moved = ctx.transfer(store, "move", legs).await?;
            return Ok(shown(&moved.changes));
        }
        let debit = move |key| Adjust::new(key, alice, Amount::new(-7)).expecting(Version::FIRST);
        let applied = ctx.balance_operation(store, "debit", debit).await?;
        Ok(shown(&applied.change))
    }

    /// In its first attempt, another claimant takes the key before the step does, for longer than any
    /// backoff.
    async fn hold(&self, step: &Step) {
        const HELD: Duration = Duration::from_millis(900);
        let claim = step
            .key()
            .zip(Fingerprint::of(step.name(), &REQUEST).ok())
            .map(|(key, fingerprint)| Claim::new(key.clone(), fingerprint));
        if let Some(claim) = claim.filter(|_| self.tally.attempts() == 1) {
            // Where it fails, the case sees one attempt and not two.
            let _ = self.first.store.lease(&claim, HELD).await;
        }
    }

    /// Work that writes a row and may be killed before and after it; its value is another one for
    /// each execution.
    pub(super) fn work(
        &self,
    ) -> impl for<'t> Work<&'t mut Tx<H>, Result<u64, WorkError>> + 'static {
        let (harness, tally) = (self.harness.clone(), self.tally.clone());
        let faults = self.faults().clone();
        async move |tx: &mut Tx<H>| {
            let execution = tally.executed();
            faults.point().await;
            harness.write_effect(tx, ROW).await?;
            faults.point().await;
            fail(execution <= tally.failing)?;
            Ok(Tally::value())
        }
    }

    /// The same, as a participant's.
    fn participant(&self) -> impl for<'t> Work<&'t mut Tx<H>, Result<(), WorkError>> + 'static {
        let (harness, tally) = (self.harness.clone(), self.tally.clone());
        let faults = self.faults().clone();
        async move |tx: &mut Tx<H>| {
            let execution = tally.executed();
            faults.point().await;
            harness.write_effect(tx, ROW).await?;
            faults.point().await;
            fail(execution <= tally.failing)
        }
    }
}

pub(super) const REQUEST: (&str, i64) = ("order", 5);

fn fail(failing: bool) -> Result<(), WorkError> {
    match failing {
        true => Err(io::Error::other("the work fails, by script").into()),
        false => Ok(()),
    }
}

fn shown<T: Serialize>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// A name of the matrix's own, which is never refused.
pub(super) fn name<'run, M, E: Engine<'run, M>, T>(
    ctx: &E,
    name: Result<T, InvalidName>,
) -> Result<T, E::Failure> {
    name.map_err(|error| ctx.refused(Refusal::from_error(&error.into())))
}

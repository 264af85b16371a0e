//! Handlers that are refused, one for each kind of reason.

use exactly_once_core::{
    AccountId, Amount, ErrorKind, Expected, IdempotencyKey, Rejection, Version,
    engine::{Effect, Effects, Engine, Step, script::Faulty},
};
use serde_json::{Value, json};

use super::{
    EngineStore, Job,
    effects::{LEASE, REQUEST, Tx, name},
    job::ROW,
};
use crate::Harness;

/// Why a handler is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusing {
    Work,
    WorkWithAStatusThatInvites,
    LeasedWork,
    Read,
    Participant,
    Statement,
    Funds,
    Conflict,
    Existing,
    Unknown,
    Overflow,
    Mismatch,
    NotReadBack,
    LeasedNotReadBack,
    NoKey,
}

impl Refusing {
    pub(super) const ALL: [Self; 15] = [
        Self::Work,
        Self::WorkWithAStatusThatInvites,
        Self::LeasedWork,
        Self::Read,
        Self::Participant,
        Self::Statement,
        Self::Funds,
        Self::Conflict,
        Self::Existing,
        Self::Unknown,
        Self::Overflow,
        Self::Mismatch,
        Self::NotReadBack,
        Self::LeasedNotReadBack,
        Self::NoKey,
    ];

    /// The kind, and the HTTP status, that a caller of the engine gets.
    pub(super) fn answer(self) -> (ErrorKind, u16) {
        let current = Some(Version::FIRST);
        match self {
            Self::WorkWithAStatusThatInvites => (ErrorKind::Rejected { status: 503 }, 503),
            Self::Work | Self::LeasedWork | Self::Read | Self::Participant => {
                (ErrorKind::Rejected { status: 451 }, 451)
            }
            Self::Statement => (ErrorKind::Refused, 409),
            Self::Funds => (ErrorKind::InsufficientFunds, 402),
            Self::Conflict | Self::Existing => (ErrorKind::Conflict { current }, 409),
            Self::Unknown => (ErrorKind::UnknownAccount, 404),
            Self::Overflow => (ErrorKind::Overflow, 422),
            Self::Mismatch => (ErrorKind::Mismatch, 409),
            Self::NotReadBack | Self::NoKey => (ErrorKind::Invalid, 400),
            Self::LeasedNotReadBack => (ErrorKind::Forgotten, 410),
        }
    }

    /// How often the work runs in a run without faults.
    pub(super) fn executions(self) -> u64 {
        match self {
            Self::Mismatch => 1,
            Self::Work
            | Self::WorkWithAStatusThatInvites
            | Self::LeasedWork
            | Self::Read
            | Self::Participant
            | Self::NotReadBack
            | Self::LeasedNotReadBack => 1,
            _ => 0,
        }
    }

    /// What is left: the first effect under a key that is used twice.
    pub(super) fn leaves(self) -> &'static str {
        match self {
            Self::Mismatch => "1 0 alice=100@1 bob=0@1",
            _ => super::effects::NOTHING,
        }
    }
}

/// Runs the handler.
pub(super) async fn refuse<'run, H, M, E>(
    job: &Job<H>,
    ctx: &Faulty<'_, E>,
    refusing: Refusing,
) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    match refusing {
        Refusing::Funds
        | Refusing::Conflict
        | Refusing::Existing
        | Refusing::Unknown
        | Refusing::Overflow => account(job, ctx, refusing).await,
        Refusing::LeasedWork | Refusing::LeasedNotReadBack => leased(job, ctx, refusing).await,
        Refusing::Read | Refusing::NoKey => read(job, ctx, refusing).await,
        Refusing::Participant => participant(job, ctx).await,
        _ => keyed(job, ctx, refusing).await,
    }
}

fn rejection(status: u16) -> Rejection {
    Rejection::new(status, "no, by script")
}

async fn keyed<'run, H, M, E>(
    job: &Job<H>,
    ctx: &Faulty<'_, E>,
    refusing: Refusing,
) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    let store = &job.first.store;
    let (harness, tally, faults) = (job.harness.clone(), job.tally.clone(), ctx.faults().clone());
    match refusing {
        Refusing::Statement => {
            let refused = harness.refused_statement();
            let effect = Effect::of_request(&REQUEST).statements(refused);
            ctx.one_shot(store, "pay", effect.value(&1_u64)).await?;
        }
        Refusing::Mismatch => {
            let key = name(ctx, IdempotencyKey::new(format!("{}/own", job.run())))?;
            let step = Step::named("pay").with_key(key);
            ctx.execute_once(store, step.clone(), &REQUEST, job.work())
                .await?;
            let other = ("another order", 6);
            ctx.execute_once(store, step, &other, job.work()).await?;
        }
        Refusing::NotReadBack => {
            let work = async move |tx: &mut Tx<H>| {
                tally.executed();
                harness.write_effect(tx, ROW).await?;
                // JSON has no word for it.
                Ok(f64::NAN)
            };
            ctx.execute_once(store, "pay", &REQUEST, work).await?;
        }
        _ => {
            let (_, status) = refusing.answer();
            let work = async move |tx: &mut Tx<H>| {
                tally.executed();
                harness.write_effect(tx, ROW).await?;
                faults.point().await;
                Err::<u64, _>(rejection(status).into())
            };
            ctx.execute_once(store, "pay", &REQUEST, work).await?;
        }
    }
    Ok(Value::Null)
}

async fn account<'run, H, M, E>(
    job: &Job<H>,
    ctx: &Faulty<'_, E>,
    refusing: Refusing,
) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    let store = &job.first.store;
    let alice = name(ctx, AccountId::new("alice"))?;
    match refusing {
        Refusing::Funds => {
            ctx.adjust(store, "pay", &alice, Amount::new(-101)).await?;
        }
        Refusing::Overflow => {
            ctx.adjust(store, "pay", &alice, Amount::new(i64::MAX))
                .await?;
        }
        Refusing::Unknown => {
            let dave = name(ctx, AccountId::new("dave"))?;
            ctx.adjust(store, "pay", &dave, Amount::new(1)).await?;
        }
        Refusing::Existing => {
            ctx.open_account(store, "open", &alice, Amount::new(1))
                .await?;
        }
        _ => {
            let absent = Expected::Absent;
            ctx.compare_and_set(store, "set", &alice, absent, Amount::new(1))
                .await?;
        }
    }
    Ok(Value::Null)
}

async fn leased<'run, H, M, E>(
    job: &Job<H>,
    ctx: &Faulty<'_, E>,
    refusing: Refusing,
) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    let tally = job.tally.clone();
    let work = move |_permit| async move {
        tally.executed();
        match refusing {
            Refusing::LeasedWork => Err(rejection(451).into()),
            _ => Ok(f64::NAN),
        }
    };
    let sent = ctx.leased_effect(&job.first.store, "send", &REQUEST, LEASE, work);
    Ok(json!(sent.await?))
}

async fn read<'run, H, M, E>(
    job: &Job<H>,
    ctx: &Faulty<'_, E>,
    refusing: Refusing,
) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    if refusing == Refusing::NoKey {
        let known = ctx.outcome_of::<_, u64>(&job.first.store, &Step::named("pay"));
        return Ok(json!(known.await?.is_some()));
    }
    let tally = job.tally.clone();
    let read = move || async move {
        tally.executed();
        Err::<u64, _>(rejection(451).into())
    };
    Ok(json!(ctx.durable_read("read", read).await?))
}

async fn participant<'run, H, M, E>(job: &Job<H>, ctx: &Faulty<'_, E>) -> Result<Value, E::Failure>
where
    H: Harness,
    H::Store: EngineStore,
    E: Engine<'run, M>,
{
    let (first, second) = (job.first.store.clone(), job.second.store.clone());
    let register = first.clone();
    let (harness, tally) = (job.harness.clone(), job.tally.clone());
    let writing = async move |tx: &mut Tx<H>| harness.write_effect(tx, ROW).await;
    let refusing = async move |_: &mut Tx<H>| {
        tally.executed();
        Err(rejection(451).into())
    };
    let participants = move |order: exactly_once_core::two_phase::TwoPhaseCommit<'run, _>| {
        let order = order.participant("here", &first, writing);
        order.participant("there", &second, refusing)
    };
    if ctx.has_journal() {
        ctx.two_phase(&register, "order", &REQUEST, participants)
            .await?;
    } else {
        let identity = &job.transaction;
        ctx.two_phase_as(&register, "order", identity, &REQUEST, participants)
            .await?;
    }
    Ok(Value::Null)
}

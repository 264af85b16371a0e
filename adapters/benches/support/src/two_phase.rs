//! The cases of two-phase commit.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use exactly_once_core::{
    BegunPrepared, DecisionRegister, Fingerprint, LastOneShotParticipant, LastResource,
    OneShotParticipant, Participation, PreparedOneShot, PreparedTransactions, Statement, Store,
    TransactionId,
    two_phase::{TwoPhaseCommit, TwoPhaseOutcome},
};

use crate::{
    case::{Operation, Turn, operation},
    cases::{TxWork, key},
};

/// The work of an attempt, known up front.
pub type KnownWork = Arc<dyn Fn(Turn) -> Vec<Statement> + Send + Sync>;

async fn participation<S: Store>(store: &S, turn: Turn) -> Result<Participation> {
    // One look at the clock for many: a trip that the protocol has not.
    static NOW: tokio::sync::OnceCell<exactly_once_core::Timestamp> =
        tokio::sync::OnceCell::const_new();
    let now = NOW.get_or_try_init(|| store.now()).await?;
    let later = |seconds| {
        now.checked_add(Duration::from_secs(seconds))
            .unwrap_or(*now)
    };
    Ok(Participation::new(
        &TransactionId::new(key(turn)?.as_str())?,
        Fingerprint::of("order", &turn.number)?,
        later(7_200),
        later(14_400),
    )?)
}

async fn committed<R: DecisionRegister>(commit: TwoPhaseCommit<'_, R>) -> Result<()> {
    match commit.run().await? {
        TwoPhaseOutcome::Committed => Ok(()),
        TwoPhaseOutcome::RolledBack { refused } => bail!("it was rolled back: {refused:?}"),
    }
}

/// A two-phase commit by the coordinator, with one participant for each work.
pub fn two_phase<S>(register: &S, participants: Vec<(S, TxWork<S>)>) -> Operation
where
    S: PreparedTransactions + DecisionRegister,
{
    let register = register.clone();
    operation(move |turn| {
        let (register, participants) = (register.clone(), participants.clone());
        async move {
            let participation = participation(&register, turn).await?;
            let mut commit = TwoPhaseCommit::new(&register, participation);
            for (at, (store, work)) in participants.into_iter().enumerate() {
                commit = commit.participant(
                    format!("participant-{at}"),
                    &store,
                    async move |tx: &mut S::Tx| work(tx, turn).await,
                );
            }
            committed(commit).await
        }
    })
}

/// The same with two participants, of which the second holds the register and commits last, in one
/// phase with the decision.
pub fn two_phase_last<S>(first: (S, TxWork<S>), last: (S, TxWork<S>)) -> Operation
where
    S: LastResource,
{
    operation(move |turn| {
        let ((first, work), (last, last_work)) = (first.clone(), last.clone());
        async move {
            let participation = participation(&last, turn).await?;
            let commit = TwoPhaseCommit::new(&last, participation)
                .participant("first", &first, async move |tx: &mut S::Tx| {
                    work(tx, turn).await
                })
                .last_participant("last", &last, async move |tx: &mut S::Tx| {
                    last_work(tx, turn).await
                });
            committed(commit).await
        }
    })
}

/// One participant, prepared and committed, without a register.
pub fn prepare_and_commit<S: PreparedTransactions>(store: &S, work: TxWork<S>) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let (store, work) = (store.clone(), work.clone());
        async move {
            let participation = participation(&store, turn).await?;
            let BegunPrepared::Fresh(mut tx) = store.begin_prepared(&participation).await? else {
                bail!("a fresh transaction was there already");
            };
            if let Err(failed) = work(&mut tx, turn).await {
                return Err(failed.into_error("work", &store).into());
            }
            store.prepare(tx, &participation).await?;
            store.commit_prepared(&participation).await?;
            Ok(())
        }
    })
}

/// As [`two_phase`], with work that is known up front.
pub fn two_phase_one_shot<S>(register: &S, participants: Vec<(S, KnownWork)>) -> Operation
where
    S: OneShotParticipant + DecisionRegister,
{
    let register = register.clone();
    operation(move |turn| {
        let (register, participants) = (register.clone(), participants.clone());
        async move {
            let participation = participation(&register, turn).await?;
            let mut commit = TwoPhaseCommit::new(&register, participation);
            for (at, (store, work)) in participants.into_iter().enumerate() {
                let name = format!("participant-{at}");
                commit = commit.one_shot_participant(name, &store, work(turn));
            }
            committed(commit).await
        }
    })
}

/// As [`two_phase_last`], with work that is known up front.
pub fn two_phase_last_one_shot<S>(first: (S, KnownWork), last: (S, KnownWork)) -> Operation
where
    S: LastOneShotParticipant,
{
    operation(move |turn| {
        let ((first, work), (last, last_work)) = (first.clone(), last.clone());
        async move {
            let participation = participation(&last, turn).await?;
            let commit = TwoPhaseCommit::new(&last, participation)
                .one_shot_participant("first", &first, work(turn))
                .last_one_shot_participant("last", &last, last_work(turn));
            committed(commit).await
        }
    })
}

/// As [`prepare_and_commit`], with work that is known up front.
pub fn prepare_and_commit_one_shot<S: OneShotParticipant>(store: &S, work: KnownWork) -> Operation {
    let store = store.clone();
    operation(move |turn| {
        let (store, work) = (store.clone(), work.clone());
        async move {
            let participation = participation(&store, turn).await?;
            let prepared = store.prepare_one_shot(&participation, &work(turn)).await?;
            if prepared != PreparedOneShot::Done {
                bail!("a fresh transaction was there already");
            }
            store.commit_prepared(&participation).await?;
            Ok(())
        }
    })
}

//! A participant's side of a two-phase commit, one-shot form: the work is known up front.

use std::future::Future;

use crate::{
    error::Result,
    prepared::{BegunPrepared, LastResource, Participation, PreparedTransactions},
    register::Decision,
    statement::Statement,
};

/// Where a participant stands after a call with its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PreparedOneShot {
    /// This call did it.
    Done,
    /// It was prepared before, and this call did nothing.
    AlreadyPrepared,
    /// It was committed before, and this call did nothing.
    AlreadyCommitted,
}

/// A participant whose work can be given as [statements](Statement): beginning, work and prepare in
/// one call, and where the backend can, in one message.
///
/// Only [`apply`](Self::apply) is required; the rest goes by the steps of [`PreparedTransactions`]
/// unless it is overridden.
///
/// # Contract
/// As [`PreparedTransactions`], with whose steps it may be mixed: an attempt may find what another one
/// has done by them. To ensure correctness:
/// - **All or nothing.** After any error but a *perhaps* ([ambiguous](crate::ErrorKind::Ambiguous)),
///   this call has left nothing behind that could be committed.
/// - **`Done` only for what this very call did.** What was found is distinguished, as it may be the vote
///   of another attempt; see [`InDoubt::prepared_at`](crate::InDoubt).
/// - **Rows are counted before it is prepared**, where a statement says how many it must change: a vote
///   can't be taken back.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't prepare statements that are known up front",
    label = "this store is no participant in one-shot form",
    note = "use `participant`, whose work may run any statement; a generic `S` needs the bound \
            `S: OneShotParticipant`"
)]
pub trait OneShotParticipant: PreparedTransactions {
    /// Runs statements in an open transaction, in order, also beside the user's own.
    ///
    /// They are one: after an error, or where the call is dropped half way, none of them is ever
    /// committed, also where the work swallows it. The store has undone them, or refuses the commit.
    ///
    /// # Errors
    /// - [Refused](crate::ErrorKind::Refused): a statement was refused for good, or changed another
    ///   number of rows than it must. Roll back.
    /// - [Invalid](crate::ErrorKind::Invalid): a statement that can't be sent, or that
    ///   [returns](Statement::returning) rows: see
    ///   [`check_statements_without_rows`](crate::adapter::check_statements_without_rows).
    /// - What else the user's own statements meet, as [`classify`](crate::Transactional::classify) has
    ///   it.
    fn apply(
        &self,
        tx: &mut Self::Tx,
        statements: &[Statement],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Begins, applies the statements and prepares.
    ///
    /// # Errors
    /// As [`begin_prepared`](PreparedTransactions::begin_prepared), [`apply`](Self::apply) and
    /// [`prepare`](PreparedTransactions::prepare). Nothing is prepared by this call, unless it is
    /// [ambiguous](crate::ErrorKind::Ambiguous): call again, and the answer says where it stands.
    fn prepare_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> impl Future<Output = Result<PreparedOneShot>> + Send {
        by_steps::prepare(self, participation, statements)
    }

    /// Begins, applies the statements and commits at once, without preparing: for the only participant
    /// of a transaction that writes.
    ///
    /// # Errors
    /// As [`begin_prepared`](PreparedTransactions::begin_prepared), [`apply`](Self::apply) and
    /// [`commit_alone`](PreparedTransactions::commit_alone).
    fn commit_alone_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> impl Future<Output = Result<PreparedOneShot>> + Send {
        by_steps::commit_alone(self, participation, statements)
    }
}

/// A participant in one-shot form that holds the decision register: work, marker and decision in one
/// call, made when all others have prepared.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be the last participant of a two-phase commit in one-shot form",
    label = "this store does not commit a decision together with statements",
    note = "use `one_shot_participant` for this store; or make a store that holds the register the last \
            one. A generic `S` needs the bound `S: LastOneShotParticipant`"
)]
pub trait LastOneShotParticipant: OneShotParticipant + LastResource {
    /// Begins, applies the statements and commits them together with the decision *commit*, when all
    /// others have prepared; gives the decision that stands. `None` where the work was prepared or
    /// committed before: the register knows more.
    ///
    /// # Errors
    /// As [`begin_prepared`](PreparedTransactions::begin_prepared), [`apply`](OneShotParticipant::apply) and
    /// [`commit_deciding`](LastResource::commit_deciding).
    fn commit_deciding_one_shot(
        &self,
        participation: &Participation,
        statements: &[Statement],
    ) -> impl Future<Output = Result<Option<Decision>>> + Send {
        by_steps::commit_deciding(self, participation, statements)
    }
}

/// The same by the steps of [`PreparedTransactions`], one after the other: what an adapter's own form
/// can fall back to where anything is not as usual.
pub mod by_steps {
    use super::{
        BegunPrepared, Decision, LastOneShotParticipant, OneShotParticipant, Participation,
        PreparedOneShot, Result, Statement,
    };

    /// What a call begins with.
    enum Begun<Tx> {
        Worked(Tx),
        Known(PreparedOneShot),
    }

    async fn begin<S: OneShotParticipant>(
        store: &S,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<Begun<S::Tx>> {
        let mut tx = match store.begin_prepared(participation).await? {
            BegunPrepared::Fresh(tx) => tx,
            BegunPrepared::AlreadyPrepared => {
                return Ok(Begun::Known(PreparedOneShot::AlreadyPrepared));
            }
            BegunPrepared::AlreadyCommitted => {
                return Ok(Begun::Known(PreparedOneShot::AlreadyCommitted));
            }
        };
        if let Err(error) = store.apply(&mut tx, statements).await {
            if let Err(rollback) = store.rollback(tx).await {
                tracing::debug!(error = %rollback, "rollback after refused statements");
            }
            return Err(error);
        }
        Ok(Begun::Worked(tx))
    }

    /// [`OneShotParticipant::prepare_one_shot`].
    ///
    /// # Errors
    /// As that.
    pub async fn prepare<S: OneShotParticipant>(
        store: &S,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        match begin(store, participation, statements).await? {
            Begun::Known(known) => Ok(known),
            Begun::Worked(tx) => {
                store.prepare(tx, participation).await?;
                Ok(PreparedOneShot::Done)
            }
        }
    }

    /// [`OneShotParticipant::commit_alone_one_shot`].
    ///
    /// # Errors
    /// As that.
    pub async fn commit_alone<S: OneShotParticipant>(
        store: &S,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<PreparedOneShot> {
        match begin(store, participation, statements).await? {
            Begun::Known(known) => Ok(known),
            Begun::Worked(tx) => {
                store.commit_alone(tx, participation).await?;
                Ok(PreparedOneShot::Done)
            }
        }
    }

    /// [`LastOneShotParticipant::commit_deciding_one_shot`].
    ///
    /// # Errors
    /// As that.
    pub async fn commit_deciding<S: LastOneShotParticipant>(
        store: &S,
        participation: &Participation,
        statements: &[Statement],
    ) -> Result<Option<Decision>> {
        match begin(store, participation, statements).await? {
            Begun::Known(_) => Ok(None),
            Begun::Worked(tx) => store.commit_deciding(tx, participation).await.map(Some),
        }
    }
}

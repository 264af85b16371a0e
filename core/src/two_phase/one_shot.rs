//! Work that is known up front: its participant begins, works and prepares in one call, so that call is
//! made when all others have begun.

use std::{future::ready, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    machine::Role,
    participant::{Begun, Ended, Job, Worked},
};
use crate::{
    error::Result,
    one_shot_participant::{LastOneShotParticipant, OneShotParticipant, PreparedOneShot},
    prepared::Participation,
    register::Decision,
    statement::Statement,
};

/// How a store commits its statements together with the decision.
pub(super) type Deciding<S> = for<'s> fn(
    &'s S,
    &'s Participation,
    &'s [Statement],
) -> BoxFuture<'s, Result<Option<Decision>>>;

/// [`LastOneShotParticipant::commit_deciding_one_shot`], boxed.
pub(super) fn deciding<'s, S: LastOneShotParticipant>(
    store: &'s S,
    participation: &'s Participation,
    statements: &'s [Statement],
) -> BoxFuture<'s, Result<Option<Decision>>> {
    store
        .commit_deciding_one_shot(participation, statements)
        .boxed()
}

/// Work by statements.
pub(super) struct Known<S> {
    statements: Arc<[Statement]>,
    /// Where it holds the register and commits last.
    deciding: Option<Deciding<S>>,
}

impl<S> Known<S> {
    pub(super) fn new(
        statements: impl IntoIterator<Item = Statement>,
        deciding: Option<Deciding<S>>,
    ) -> Self {
        Self {
            statements: statements.into_iter().collect(),
            deciding,
        }
    }
}

impl<'a, S: OneShotParticipant> Job<'a, S> for Known<S> {
    fn is_last(&self) -> bool {
        self.deciding.is_some()
    }

    fn begin(
        &mut self,
        store: &S,
        participation: &Participation,
        role: Role,
    ) -> BoxFuture<'a, Result<Begun<'a>>> {
        let (store, participation) = (store.clone(), participation.clone());
        let statements = self.statements.clone();
        let worked = match (role, self.deciding) {
            (Role::Alone, _) => {
                let commit = async move {
                    let alone = store.commit_alone_one_shot(&participation, &statements);
                    Ok(match alone.await? {
                        PreparedOneShot::AlreadyPrepared => Ended::Found,
                        PreparedOneShot::Done | PreparedOneShot::AlreadyCommitted => {
                            Ended::Decided(Decision::Commit)
                        }
                    })
                };
                ready(Ok(Worked::Open(commit.boxed()))).boxed()
            }
            (Role::Last, Some(deciding)) => {
                let commit = async move {
                    let decided = deciding(&store, &participation, &statements).await?;
                    Ok(decided.map_or(Ended::Found, Ended::Decided))
                };
                ready(Ok(Worked::Open(commit.boxed()))).boxed()
            }
            _ => async move {
                let prepared = store.prepare_one_shot(&participation, &statements);
                prepared.await.map(|_| Worked::Consents)
            }
            .boxed(),
        };
        ready(Ok(Begun::Fresh(worked))).boxed()
    }
}

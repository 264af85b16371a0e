//! A participant whose work is known up front. It begins, works and prepares in one call, so that
//! call is made when all others have begun.

use std::{future::ready, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};

use super::{
    machine::Role,
    participant::{Begun, Ended, Participant, Told, Worked, check_two_phase, vote_of},
};
use crate::{
    error::Result,
    names::Namespace,
    one_shot::Statement,
    one_shot_participant::{LastOneShotParticipant, OneShotParticipant, PreparedOneShot},
    place::Place,
    prepared::{Participation, PreparedStatus},
    register::Decision,
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

pub(super) struct OneShotWriter<S> {
    name: String,
    store: S,
    statements: Arc<[Statement]>,
    /// Where it holds the register and commits last.
    deciding: Option<Deciding<S>>,
}

impl<S> OneShotWriter<S> {
    pub(super) fn new(
        name: String,
        store: S,
        statements: Vec<Statement>,
        deciding: Option<Deciding<S>>,
    ) -> Self {
        Self {
            name,
            store,
            statements: statements.into(),
            deciding,
        }
    }
}

impl<'a, S: OneShotParticipant> Participant<'a> for OneShotWriter<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn home(&self) -> (Place, Namespace) {
        (self.store.place(), self.store.namespace().clone())
    }

    fn role(&self) -> Role {
        match self.deciding {
            Some(_) => Role::Last,
            None => Role::Prepared,
        }
    }

    fn check(&self) -> Result<()> {
        check_two_phase(&self.store, &self.name)
    }

    fn begin(
        &mut self,
        participation: &Participation,
        role: Role,
    ) -> BoxFuture<'a, Result<Begun<'a>>> {
        let (store, participation) = (self.store.clone(), participation.clone());
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
                Ok(match prepared.await? {
                    PreparedOneShot::AlreadyPrepared => Worked::Found,
                    PreparedOneShot::Done | PreparedOneShot::AlreadyCommitted => Worked::Consents,
                })
            }
            .boxed(),
        };
        ready(Ok(Begun::Fresh(worked))).boxed()
    }

    fn commit<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.commit_prepared(participation).boxed()
    }

    fn rollback<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.rollback_prepared(participation).boxed()
    }

    fn status<'s>(
        &'s self,
        participation: &'s Participation,
    ) -> BoxFuture<'s, Result<PreparedStatus>> {
        self.store.prepared_status(participation).boxed()
    }

    fn vote<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<Option<Told>>> {
        vote_of(&self.store, participation).boxed()
    }
}

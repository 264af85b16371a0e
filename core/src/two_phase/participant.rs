//! A participant: a store and the work that is to be done in it, of any backend.

use std::{
    future::ready,
    sync::{Mutex, PoisonError},
};

use futures_util::{FutureExt, future::BoxFuture};

use super::machine::Role;
use crate::{
    error::{Error, ErrorKind, Result},
    execute::{Work, WorkError},
    identity::{NamespaceIdentity, identity_of},
    names::Namespace,
    nested::within,
    place::Place,
    prepared::{BegunPrepared, LastResource, Participation, PreparedTransactions},
    register::Decision,
    store::{Store, TwoPhase},
    transaction::Transactional,
};

/// A participant at which an attempt has begun.
pub(super) enum Begun<'a> {
    /// Its transaction is open, its marker in. Runs the work.
    Fresh(BoxFuture<'a, Result<Worked<'a>>>),
    /// Prepared by an earlier attempt.
    Prepared,
    /// Committed by an earlier attempt.
    Committed,
}

/// A participant whose work is done.
pub(super) enum Worked<'a> {
    /// It has prepared, now or in an earlier attempt, or has only read and was undone.
    Consents,
    /// Commits in one phase. If it is dropped instead, nothing is committed.
    Open(BoxFuture<'a, Result<Ended>>),
}

/// How a commit in one phase ended.
pub(super) enum Ended {
    /// With the decision that stands.
    Decided(Decision),
    /// Prepared or committed before: nothing was done, and the register knows more.
    Found,
}

/// A participant, whatever its store and its work.
pub(super) trait Participant<'a>: Send + Sync {
    fn name(&self) -> &str;
    /// Two participants with the same home are one store.
    fn home(&self) -> (Place, Namespace);
    /// By what decisions name it; `None` for one that only reads.
    fn identity(&self) -> BoxFuture<'_, Result<Option<NamespaceIdentity>>>;
    /// What it was made to be. One that prepares may turn out to be alone.
    fn role(&self) -> Role;
    /// Puts a refusal in the place of the work.
    fn refuse(&mut self, refusal: &Error);
    /// Refuses a store that can't play its role. One that is alone commits in one phase, and prepares
    /// nothing.
    fn check(&self, role: Role) -> BoxFuture<'_, Result<()>>;
    fn begin(
        &mut self,
        participation: &Participation,
        role: Role,
    ) -> BoxFuture<'a, Result<Begun<'a>>>;
    fn commit<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>>;
    fn rollback<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>>;
}

/// How a store ends a transaction that holds the register as well.
pub(super) type Deciding<S> = for<'s> fn(
    &'s S,
    <S as Transactional>::Tx,
    &'s Participation,
) -> BoxFuture<'s, Result<Decision>>;

/// [`LastResource::commit_deciding`], boxed.
pub(super) fn deciding<'s, S: LastResource>(
    store: &'s S,
    tx: S::Tx,
    participation: &'s Participation,
) -> BoxFuture<'s, Result<Decision>> {
    store.commit_deciding(tx, participation).boxed()
}

/// What a participant that writes does in its store.
pub(super) trait Job<'a, S>: Send + Sync {
    /// Whether it commits last, with the decision.
    fn is_last(&self) -> bool;
    fn begin(
        &mut self,
        store: &S,
        participation: &Participation,
        role: Role,
    ) -> BoxFuture<'a, Result<Begun<'a>>>;
}

/// One that writes.
pub(super) struct Writer<S, J> {
    name: String,
    store: S,
    job: J,
    refusal: Option<Error>,
}

impl<S, J> Writer<S, J> {
    pub(super) fn new(name: String, store: S, job: J) -> Self {
        Self {
            name,
            store,
            job,
            refusal: None,
        }
    }
}

impl<'a, S: PreparedTransactions, J: Job<'a, S>> Participant<'a> for Writer<S, J> {
    fn name(&self) -> &str {
        &self.name
    }

    fn home(&self) -> (Place, Namespace) {
        (self.store.place(), self.store.namespace().clone())
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<NamespaceIdentity>>> {
        async { identity_of(&self.store).await.map(Some) }.boxed()
    }

    fn role(&self) -> Role {
        if self.job.is_last() {
            Role::Last
        } else {
            Role::Prepared
        }
    }

    fn check(&self, role: Role) -> BoxFuture<'_, Result<()>> {
        async move {
            match role {
                Role::Reader | Role::Alone => return Ok(()),
                Role::Last => return check_last(&self.store, &self.name),
                Role::Prepared => {}
            }
            if check_prepares(&self.store, &self.name).is_ok() {
                return Ok(());
            }
            // The handle may remember a setting that the server has changed since.
            self.store.now().await?;
            check_prepares(&self.store, &self.name)
        }
        .boxed()
    }

    fn refuse(&mut self, refusal: &Error) {
        self.refusal = Some(refusal.body().again());
    }

    fn begin(
        &mut self,
        participation: &Participation,
        role: Role,
    ) -> BoxFuture<'a, Result<Begun<'a>>> {
        match self.refusal.take() {
            Some(refusal) => {
                begin_refusing(self.store.clone(), participation.clone(), refusal).boxed()
            }
            None => self.job.begin(&self.store, participation, role),
        }
    }

    fn commit<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.commit_prepared(participation).boxed()
    }

    fn rollback<'s>(&'s self, participation: &'s Participation) -> BoxFuture<'s, Result<()>> {
        self.store.rollback_prepared(participation).boxed()
    }
}

/// Begins, so that what an earlier attempt has done is found, and refuses where there is nothing.
async fn begin_refusing<'a, S: PreparedTransactions>(
    store: S,
    participation: Participation,
    refusal: Error,
) -> Result<Begun<'a>> {
    Ok(match store.begin_prepared(&participation).await? {
        BegunPrepared::Fresh(tx) => {
            Begun::Fresh(async move { Err(rolled_back(&store, tx, refusal).await) }.boxed())
        }
        BegunPrepared::AlreadyPrepared => Begun::Prepared,
        BegunPrepared::AlreadyCommitted => Begun::Committed,
    })
}

/// Work by a closure, in an open transaction.
pub(super) struct Closure<S: Transactional, W> {
    /// Where it holds the register and commits last.
    deciding: Option<Deciding<S>>,
    work: Once<W>,
}

impl<S: Transactional, W> Closure<S, W> {
    pub(super) fn new(work: W, deciding: Option<Deciding<S>>) -> Self {
        Self {
            deciding,
            work: Once::new(work),
        }
    }
}

impl<'a, S, W> Job<'a, S> for Closure<S, W>
where
    S: PreparedTransactions,
    W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>> + 'a,
{
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
        let (work, deciding) = (self.work.take(&store), self.deciding);
        async move {
            let mut tx = match store.begin_prepared(&participation).await? {
                BegunPrepared::Fresh(tx) => tx,
                BegunPrepared::AlreadyPrepared => return Ok(Begun::Prepared),
                BegunPrepared::AlreadyCommitted => return Ok(Begun::Committed),
            };
            let work = work?;
            let worked = async move {
                if let Err(error) = within(store.place(), work(&mut tx)).await {
                    return Err(undone(&store, tx, error).await);
                }
                match (role, deciding) {
                    (Role::Alone, _) => Ok(Worked::Open(
                        async move {
                            store.commit_alone(tx, &participation).await?;
                            Ok(Ended::Decided(Decision::Commit))
                        }
                        .boxed(),
                    )),
                    (Role::Last, Some(deciding)) => Ok(Worked::Open(
                        async move {
                            let decision = deciding(&store, tx, &participation).await?;
                            Ok(Ended::Decided(decision))
                        }
                        .boxed(),
                    )),
                    _ => {
                        store.prepare(tx, &participation).await?;
                        Ok(Worked::Consents)
                    }
                }
            };
            Ok(Begun::Fresh(worked.boxed()))
        }
        .boxed()
    }
}

/// One that only reads. Its transaction is a plain one, and always undone.
pub(super) struct Reader<S, W> {
    name: String,
    store: S,
    work: Once<W>,
    refusal: Option<Error>,
}

impl<S, W> Reader<S, W> {
    pub(super) fn new(name: String, store: S, work: W) -> Self {
        Self {
            name,
            store,
            work: Once::new(work),
            refusal: None,
        }
    }
}

impl<'a, S, W> Participant<'a> for Reader<S, W>
where
    S: Transactional,
    W: for<'t> Work<&'t mut S::Tx, Result<(), WorkError>> + 'a,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn home(&self) -> (Place, Namespace) {
        (self.store.place(), self.store.namespace().clone())
    }

    fn identity(&self) -> BoxFuture<'_, Result<Option<NamespaceIdentity>>> {
        ready(Ok(None)).boxed()
    }

    fn role(&self) -> Role {
        Role::Reader
    }

    fn check(&self, _: Role) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn refuse(&mut self, refusal: &Error) {
        self.refusal = Some(refusal.body().again());
    }

    fn begin(&mut self, _: &Participation, _: Role) -> BoxFuture<'a, Result<Begun<'a>>> {
        if let Some(refusal) = self.refusal.take() {
            return ready(Ok(Begun::Fresh(ready(Err(refusal)).boxed()))).boxed();
        }
        let store = self.store.clone();
        let work = self.work.take(&store);
        async move {
            let work = work?;
            let mut tx = store.begin().await?;
            let worked = async move {
                if let Err(error) = within(store.place(), work(&mut tx)).await {
                    return Err(undone(&store, tx, error).await);
                }
                store.rollback(tx).await?;
                Ok(Worked::Consents)
            };
            Ok(Begun::Fresh(worked.boxed()))
        }
        .boxed()
    }

    fn commit<'s>(&'s self, _: &'s Participation) -> BoxFuture<'s, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn rollback<'s>(&'s self, _: &'s Participation) -> BoxFuture<'s, Result<()>> {
        ready(Ok(())).boxed()
    }
}

/// Rolls back after failed work, and gives the failure.
async fn undone<S: Transactional>(store: &S, tx: S::Tx, error: WorkError) -> Error {
    let error = error.into_error(OPERATION, store);
    rolled_back(store, tx, error).await
}

async fn rolled_back<S: Transactional>(store: &S, tx: S::Tx, error: Error) -> Error {
    if let Err(rollback) = store.rollback(tx).await {
        tracing::debug!(error = %rollback, "rollback after failed work");
    }
    error
}

/// Work, taken when it runs: at most once per attempt. Never locked: the mutex only makes a
/// participant shareable whose work is not, so that an attempt may change threads.
struct Once<W>(Mutex<Option<W>>);

impl<W> Once<W> {
    fn new(work: W) -> Self {
        Self(Mutex::new(Some(work)))
    }

    fn take<S: Store>(&mut self, store: &S) -> Result<W> {
        let work = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        work.take().ok_or_else(|| {
            Error::new(ErrorKind::WorkFailed, OPERATION, store.backend())
                .with_message("the work of this attempt has run already")
        })
    }
}

pub(super) const OPERATION: &str = "two_phase_commit";

/// Refuses a store whose backend has no two-phase commit at all.
pub(super) fn check_two_phase<S: PreparedTransactions>(store: &S, name: &str) -> Result<()> {
    let capabilities = store.capabilities();
    if capabilities.two_phase != TwoPhase::None || capabilities.two_phase_off.is_some() {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Unsupported, OPERATION, store.backend())
            .with_message(format!("the participant {name:?} has no two-phase commit")),
    )
}

/// Refuses as well a store whose server has it switched off, with what switches it on.
fn check_prepares<S: PreparedTransactions>(store: &S, name: &str) -> Result<()> {
    check_two_phase(store, name)?;
    match store.capabilities().two_phase_off {
        None => Ok(()),
        Some(remedy) => Err(
            Error::new(ErrorKind::Configuration, OPERATION, store.backend())
                .with_message(format!("the participant {name:?} can't prepare: {remedy}")),
        ),
    }
}

/// Refuses a store that can't commit the decision with its work.
fn check_last<S: PreparedTransactions>(store: &S, name: &str) -> Result<()> {
    if store.capabilities().last_participant {
        return Ok(());
    }
    Err(
        Error::new(ErrorKind::Unsupported, OPERATION, store.backend()).with_message(format!(
            "the participant {name:?} can't be the last one: its store does not commit a decision \
             together with its work. Use `participant`"
        )),
    )
}

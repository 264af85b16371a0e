//! Mutants that take a neighbour's prepared transactions for their own: another role's, another
//! database's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use exactly_once::{
    Error, ErrorKind, Participation, PreparedTransactions, Result, TransactionDigest,
    memory::{MemoryStore, MemoryTx},
};
use exactly_once_conformance::harness::Way;

use crate::{harness::assert_told_apart, patch::Patch};

/// A server with roles: what one has prepared, only that one may end.
#[derive(Clone, Default)]
struct Roles {
    /// Who has prepared what.
    owners: Arc<Mutex<HashMap<TransactionDigest, u8>>>,
    me: u8,
}

impl Roles {
    fn own(&self, asked: &Participation) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.insert(*asked.transaction(), self.me);
    }

    fn may_end(&self, asked: &Participation) -> Result<()> {
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        match owners.get(asked.transaction()) {
            Some(owner) if *owner != self.me => {
                Err(Error::new(ErrorKind::Configuration, "end", "roles"))
            }
            _ => Ok(()),
        }
    }

    fn another(&self) -> Self {
        Self {
            owners: Arc::clone(&self.owners),
            me: self.me + 1,
        }
    }
}

impl Patch for Roles {
    fn by(&self, right: &MemoryStore, way: Way) -> Option<(MemoryStore, Self)> {
        (way == Way::AnotherRole).then(|| (right.another_handle(), self.another()))
    }
    async fn prepare(
        &self,
        right: &MemoryStore,
        tx: MemoryTx,
        asked: &Participation,
    ) -> Result<()> {
        right.prepare(tx, asked).await?;
        self.own(asked);
        Ok(())
    }
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        self.may_end(asked)?;
        right.commit_prepared(asked).await
    }
    async fn rollback_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        self.may_end(asked)?;
        right.rollback_prepared(asked).await
    }
}

macro_rules! as_roles {
    ($($method:ident),*) => {
        fn by(&self, right: &MemoryStore, way: Way) -> Option<(MemoryStore, Self)> {
            let (right, roles) = self.0.by(right, way)?;
            Some((right, Self(roles)))
        }
        async fn prepare(
            &self,
            right: &MemoryStore,
            tx: MemoryTx,
            asked: &Participation,
        ) -> Result<()> {
            self.0.prepare(right, tx, asked).await
        }
        $(async fn $method(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
            self.0.$method(right, asked).await
        })*
    };
}

/// Commits as another role, as if the server had allowed it.
#[derive(Clone, Default)]
struct AnyRoleCommits(Roles);

impl Patch for AnyRoleCommits {
    as_roles!(rollback_prepared);
}

/// The server's refusal of a commit is read as "nothing to commit any more".
#[derive(Clone, Default)]
struct RefusedCommitIsDone(Roles);

impl Patch for RefusedCommitIsDone {
    as_roles!(rollback_prepared);
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match self.0.commit_prepared(right, asked).await {
            Err(error) if error.kind() == ErrorKind::Configuration => Ok(()),
            answer => answer,
        }
    }
}

/// Rolls back as another role, as if the server had allowed it.
#[derive(Clone, Default)]
struct AnyRoleRollsBack(Roles);

impl Patch for AnyRoleRollsBack {
    as_roles!(commit_prepared);
}

/// The refusal does not say that no retry will help.
#[derive(Clone, Default)]
struct AnotherRoleIsTold(Roles);

impl Patch for AnotherRoleIsTold {
    as_roles!(rollback_prepared);
    async fn commit_prepared(&self, right: &MemoryStore, asked: &Participation) -> Result<()> {
        match self.0.commit_prepared(right, asked).await {
            Err(error) if error.kind() == ErrorKind::Configuration => {
                Err(Error::new(ErrorKind::Busy, "commit_prepared", "roles"))
            }
            answer => answer,
        }
    }
}

#[test]
fn commit_as_another_role() {
    const CASE: &str = "prepared::ground::t63_another_role";
    assert_told_apart::<Roles, AnyRoleCommits>(CASE);
    assert_told_apart::<Roles, RefusedCommitIsDone>(CASE);
    assert_told_apart::<Roles, AnyRoleRollsBack>(CASE);
    assert_told_apart::<Roles, AnotherRoleIsTold>(CASE);
}

/// A server with another database beside this one.
#[derive(Clone, Default)]
struct Databases;

impl Patch for Databases {
    fn by(&self, _: &MemoryStore, way: Way) -> Option<(MemoryStore, Self)> {
        (way == Way::AnotherDatabase).then(|| (MemoryStore::new(), Self))
    }
}

/// What is prepared is looked for on the whole server, whatever database it belongs to.
#[derive(Clone, Default)]
struct WholeServer;

impl Patch for WholeServer {
    fn by(&self, right: &MemoryStore, way: Way) -> Option<(MemoryStore, Self)> {
        (way == Way::AnotherDatabase).then(|| (right.another_handle(), Self))
    }
}

#[test]
fn another_databases_transactions_are_taken_for_own_ones() {
    assert_told_apart::<Databases, WholeServer>("prepared::ground::t64_another_database");
}

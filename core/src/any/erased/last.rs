//! The twins of participants that hold the register and commit last.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{AnyTx, Erased, own};
use crate::{
    error::Result,
    names::Namespace,
    one_shot_participant::LastOneShotParticipant,
    prepared::{LastResource, Participation},
    register::Decision,
    statement::Statement,
};

pub(in crate::any) trait ErasedLast: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedLast>;
    fn commit_deciding<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<Decision>>;
}

impl<S: LastResource> ErasedLast for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedLast> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn commit_deciding<'a>(
        &'a self,
        tx: AnyTx,
        participation: &'a Participation,
    ) -> BoxFuture<'a, Result<Decision>> {
        async {
            let tx = own(&self.0, tx, "commit_deciding")?;
            self.0.commit_deciding(tx, participation).await
        }
        .boxed()
    }
}

pub(in crate::any) trait ErasedLastOneShot: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedLastOneShot>;
    fn commit_deciding_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<Option<Decision>>>;
}

impl<S: LastOneShotParticipant> ErasedLastOneShot for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedLastOneShot> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn commit_deciding_one_shot<'a>(
        &'a self,
        participation: &'a Participation,
        statements: &'a [Statement],
    ) -> BoxFuture<'a, Result<Option<Decision>>> {
        self.0
            .commit_deciding_one_shot(participation, statements)
            .boxed()
    }
}

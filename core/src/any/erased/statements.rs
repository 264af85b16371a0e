//! The twin of statements in a transaction.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{AnyTx, Erased, foreign};
use crate::{
    error::Result, names::Namespace, rows::Ran, statement::Statement,
    transaction::StatementTransaction,
};

pub(in crate::any) trait ErasedStatements: Send + Sync {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedStatements>;
    fn run_in<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        statement: &'a Statement,
    ) -> BoxFuture<'a, Result<Ran>>;
}

impl<S: StatementTransaction> ErasedStatements for Erased<S> {
    fn rebind(&self, namespace: &Namespace) -> Arc<dyn ErasedStatements> {
        Arc::new(Self(self.0.with_namespace(namespace.clone())))
    }
    fn run_in<'a>(
        &'a self,
        tx: &'a mut AnyTx,
        statement: &'a Statement,
    ) -> BoxFuture<'a, Result<Ran>> {
        async {
            match tx.downcast_mut::<S::Tx>() {
                Some(tx) => self.0.run_in(tx, statement).await,
                None => Err(foreign(&self.0, "run_in")),
            }
        }
        .boxed()
    }
}

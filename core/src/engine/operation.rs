//! Balance operations, so that one method of the context serves all of them.

use std::future::Future;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    balance::{
        Adjust, Applied, BalanceStore, CloseAccount, CompareAndSet, OpenAccount, Transfer,
        Transferred,
    },
    error::Result,
};

/// An operation of a [`BalanceStore`], with its key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no balance operation",
    note = "return `Adjust`, `OpenAccount`, `CloseAccount`, `CompareAndSet` or `Transfer`"
)]
pub trait BalanceOperation: Send + Sync + 'static {
    /// What it answers.
    type Answer: Serialize + DeserializeOwned + Send + 'static;

    /// Asks the store.
    ///
    /// # Errors
    /// As the store's method has it.
    fn apply<S: BalanceStore>(
        &self,
        store: &S,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;
}

macro_rules! operation {
    ($($operation:ident => $method:ident -> $answer:ident;)*) => {$(
        impl BalanceOperation for $operation {
            type Answer = $answer;
            async fn apply<S: BalanceStore>(&self, store: &S) -> Result<$answer> {
                store.$method(self).await
            }
        }
    )*};
}

operation! {
    Adjust => adjust -> Applied;
    OpenAccount => open_account -> Applied;
    CloseAccount => close_account -> Applied;
    CompareAndSet => compare_and_set -> Applied;
    Transfer => transfer -> Transferred;
}

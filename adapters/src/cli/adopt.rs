//! An identity of its own for a restored copy.

use super::{
    output::{Answer, confirm, refuse},
    stores::Given,
};
use crate::{
    ErrorKind, Result, Store,
    connect::{StoreUrl, left_anywhere},
};

/// The identity is that of all namespaces, so what is in doubt is looked for in all of them.
pub(super) async fn adopt(
    given: &Given,
    url: &str,
    leave_in_doubt: bool,
    yes: bool,
) -> Result<Answer> {
    let left = if leave_in_doubt {
        None
    } else {
        Some(left_anywhere(&StoreUrl::parse(url)?).await?)
    };
    if left.is_some_and(|left| left > 0) {
        let why = format!(
            "{} transactions that are in doubt and decisions that are not carried out are left at {}, \
             over all namespaces: they name the identity that the copy has now, and nothing resolves \
             them once it has another. Run `exactly-once in-doubt sweep` over the copies alone first, \
             in each namespace, or add --leave-in-doubt",
            left.unwrap_or_default(),
            given.shown
        );
        return Err(refuse(ErrorKind::Busy, "adopt", why));
    }
    let old = given.store.identity().await?;
    let question = format!(
        "The data at {} get a new identity in place of {old}, in every namespace: do this to the \
         restored copy, never to the original. Programs that use the copy must be stopped before, and \
         open it again afterwards.",
        given.shown
    );
    confirm(&question, yes)?;
    let new = given.store.adopt().await?;
    Ok(
        Answer::said("adopted: start the programs that use this copy again")
            .fact("store", given.shown.as_str())
            .fact("old identity", old.to_string())
            .fact("new identity", new.to_string()),
    )
}

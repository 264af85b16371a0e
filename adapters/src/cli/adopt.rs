//! An identity of its own for a restored copy.

use super::{
    output::{Answer, confirm, refuse},
    stores::Given,
};
use crate::{DecisionRegister, ErrorKind, PreparedTransactions, Result, Store, TransactionDigest};

const PAGE: u32 = 500;

pub(super) async fn adopt(given: &Given, leave_in_doubt: bool, yes: bool) -> Result<Answer> {
    let in_doubt = in_doubt(given).await?;
    let decisions = unfinished(given).await?;
    if in_doubt + decisions > 0 && !leave_in_doubt {
        let why = format!(
            "{in_doubt} transactions are in doubt at {}, and {decisions} decisions are not carried \
             out: they name the identity that the copy has now, and nothing resolves them once it has \
             another. Run `exactly-once in-doubt sweep` over the copies alone first, or add \
             --leave-in-doubt",
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
            .fact("new identity", new.to_string())
            .fact("left in doubt", in_doubt + decisions),
    )
}

async fn in_doubt(given: &Given) -> Result<usize> {
    let (mut count, mut after) = (0, None::<TransactionDigest>);
    loop {
        let page = given.store.in_doubt(after.as_ref(), PAGE).await?;
        count += page.entries.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(count),
        }
    }
}

async fn unfinished(given: &Given) -> Result<usize> {
    let (mut count, mut after) = (0, None::<TransactionDigest>);
    loop {
        let page = given.store.unfinished(after.as_ref(), PAGE).await?;
        count += page.entries.len();
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(count),
        }
    }
}

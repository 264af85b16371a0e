//! Keys held for a while, for effects outside the database.

use std::time::Duration;

use exactly_once_core::{
    Claim, Error, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Store,
    Timestamp, time::check_duration,
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During, error},
    idempotency::standing_in,
    key_row::{KeyRow, Standing, State},
    schema::{KEYS, LAST_TOKEN, NUMBERS},
    store::{RedbStore, Then, now},
};

/// A greater token than all before it.
fn next_token(tx: &WriteTransaction) -> Result<FencingToken> {
    let mut numbers = tx.open_table(NUMBERS).during("lease")?;
    let last = numbers
        .get(LAST_TOKEN)
        .during("lease")?
        .map_or(0, |last| last.value());
    let next = last.checked_add(1).ok_or_else(|| {
        error(
            ErrorKind::Unsupported,
            "lease",
            "all fencing tokens of this file are used up",
        )
    })?;
    numbers.insert(LAST_TOKEN, next).during("lease")?;
    Ok(FencingToken::new(next))
}

fn deadline(ttl: Duration, operation: &'static str) -> Result<Timestamp> {
    check_duration("lease", ttl)?;
    now().checked_add(ttl).ok_or_else(|| {
        error(
            ErrorKind::Invalid,
            operation,
            "the deadline does not fit the store's clock",
        )
    })
}

/// The key's row, whoever it belongs to.
fn row_of(
    tx: &WriteTransaction,
    namespace: &str,
    claim: &Claim,
    operation: &'static str,
) -> Result<Option<KeyRow>> {
    let keys = tx.open_table(KEYS).during(operation)?;
    KeyRow::read(&keys, namespace, claim.key().as_str(), now(), operation)
}

/// Whether the row is the lease of this token. That its deadline has passed does not matter: nobody
/// has taken the key over.
fn is_holder(row: &KeyRow, claim: &Claim, token: FencingToken) -> bool {
    matches!(row.state, State::Leased { .. })
        && row.token == token
        && row.fingerprint == *claim.fingerprint()
}

fn fenced(operation: &'static str) -> Error {
    let message = "this lease is not the current one: another attempt took the key or completed it";
    error(ErrorKind::Fenced, operation, message)
}

impl LeaseStore for RedbStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        check_duration("lease", ttl)?;
        self.write("lease", move |tx| {
            let namespace = namespace.as_str();
            match standing_in(tx, namespace, &claim, "lease")? {
                Standing::Free => {}
                Standing::Completed(outcome) => return Ok(Then::Leave(Leased::Completed(outcome))),
                Standing::InProgress(retry_after) => {
                    return Ok(Then::Leave(Leased::InProgress { retry_after }));
                }
                Standing::Mismatch => return Ok(Then::Leave(Leased::Mismatch)),
            }
            let (token, deadline) = (next_token(tx)?, deadline(ttl, "lease")?);
            let state = State::Leased { deadline };
            let row = KeyRow {
                fingerprint: *claim.fingerprint(),
                token,
                state,
            };
            row.write(tx, namespace, claim.key().as_str(), "lease")?;
            Ok(Then::Commit(Leased::Granted(Lease { token, deadline })))
        })
        .await
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        check_duration("lease", ttl)?;
        self.write("renew", move |tx| {
            let namespace = namespace.as_str();
            let row = row_of(tx, namespace, &claim, "renew")?;
            let mut row = row
                .filter(|row| is_holder(row, &claim, token))
                .ok_or_else(|| fenced("renew"))?;
            let deadline = deadline(ttl, "renew")?;
            row.state = State::Leased { deadline };
            row.write(tx, namespace, claim.key().as_str(), "renew")?;
            Ok(Then::Commit(Lease { token, deadline }))
        })
        .await
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.capabilities().max_receipt_bytes, "finalize", BACKEND)?;
        }
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        let outcome = outcome.clone();
        self.write("finalize", move |tx| {
            let namespace = namespace.as_str();
            let row =
                row_of(tx, namespace, &claim, "finalize")?.ok_or_else(|| fenced("finalize"))?;
            if row.fingerprint != *claim.fingerprint() {
                let message = "the key belongs to another request";
                return Err(error(ErrorKind::Mismatch, "finalize", message));
            }
            match &row.state {
                State::Completed { outcome: first, .. } if row.token == token => {
                    return finalized_before(*first == outcome);
                }
                _ if is_holder(&row, &claim, token) => {}
                _ => return Err(fenced("finalize")),
            }
            KeyRow::completed(&claim, token, outcome, now()).write(
                tx,
                namespace,
                claim.key().as_str(),
                "finalize",
            )?;
            Ok(Then::Commit(()))
        })
        .await
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        self.write("release", move |tx| {
            let namespace = namespace.as_str();
            match row_of(tx, namespace, &claim, "release")? {
                None => Ok(Then::Leave(())),
                Some(row) if is_holder(&row, &claim, token) => {
                    KeyRow::remove(tx, namespace, claim.key().as_str(), "release")?;
                    Ok(Then::Commit(()))
                }
                Some(_) => Err(fenced("release")),
            }
        })
        .await
    }
}

/// The answer to the holder who finalizes once more.
fn finalized_before(with_this_outcome: bool) -> Result<Then<()>> {
    if with_this_outcome {
        return Ok(Then::Leave(()));
    }
    let kind = ErrorKind::Conflict { current: None };
    Err(error(
        kind,
        "finalize",
        "finalized before with another outcome, which stands",
    ))
}

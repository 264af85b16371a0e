//! Keys held for a while, for effects outside the database.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Store,
    adapter::{
        check_duration,
        rules::keys::{self, Finalize, KeyRow, RowState},
    },
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During, error},
    idempotency::standing_in,
    key_row,
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

/// The key's row, whichever request it belongs to.
fn row_of(
    tx: &WriteTransaction,
    namespace: &str,
    claim: &Claim,
    operation: &'static str,
) -> Result<Option<KeyRow>> {
    let keys = tx.open_table(KEYS).during(operation)?;
    key_row::read(&keys, namespace, claim.key().as_str(), operation)
}

impl LeaseStore for RedbStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        check_duration("lease", ttl)?;
        self.write("lease", move |tx| {
            let namespace = namespace.as_str();
            let standing = standing_in(tx, namespace, &claim, "lease")?;
            if let Some(answer) = standing.leased("lease", BACKEND)? {
                return Ok(Then::Leave(answer));
            }
            let deadline = keys::deadline(now(), ttl, "lease", BACKEND)?;
            let token = next_token(tx)?;
            let row = KeyRow {
                fingerprint: *claim.fingerprint(),
                state: RowState::Leased { token, deadline },
            };
            key_row::write(&row, tx, namespace, claim.key().as_str(), "lease")?;
            Ok(Then::Commit(Leased::Granted(Lease { token, deadline })))
        })
        .await
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        check_duration("lease", ttl)?;
        self.write("renew", move |tx| {
            let (namespace, now) = (namespace.as_str(), now());
            let row = row_of(tx, namespace, &claim, "renew")?;
            keys::renew(row.as_ref(), &claim, token, now, BACKEND)?;
            let deadline = keys::deadline(now, ttl, "renew", BACKEND)?;
            let row = KeyRow {
                fingerprint: *claim.fingerprint(),
                state: RowState::Leased { token, deadline },
            };
            key_row::write(&row, tx, namespace, claim.key().as_str(), "renew")?;
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
            let (namespace, now) = (namespace.as_str(), now());
            let row = row_of(tx, namespace, &claim, "finalize")?;
            match keys::finalize(row.as_ref(), &claim, token, &outcome, now, BACKEND)? {
                Finalize::Stands => return Ok(Then::Leave(())),
                Finalize::Record => {}
            }
            let row = key_row::completed(&claim, Some(token), outcome, now);
            key_row::write(&row, tx, namespace, claim.key().as_str(), "finalize")?;
            Ok(Then::Commit(()))
        })
        .await
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let (namespace, claim) = (self.namespace.clone(), claim.clone());
        self.write("release", move |tx| {
            let namespace = namespace.as_str();
            let row = row_of(tx, namespace, &claim, "release")?;
            if !keys::release(row.as_ref(), &claim, token, now(), BACKEND)? {
                return Ok(Then::Leave(()));
            }
            key_row::remove(tx, namespace, claim.key().as_str(), "release")?;
            Ok(Then::Commit(()))
        })
        .await
    }
}

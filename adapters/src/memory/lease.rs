//! Keys held for a while.

use std::time::Duration;

use exactly_once_core::{
    Claim, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, Store,
    adapter::{
        refusals,
        rules::keys::{self, Finalize, KeyRow, RowState},
    },
};

use super::{
    MemoryStore,
    error::BACKEND,
    idempotency::{CLAIMED_RETRY, completed, standing},
    state::Space,
};

/// The lease has ended where a transaction has claimed the key: whether the key has a new holder shows
/// when that transaction ends.
fn check_claims(space: &Space, claim: &Claim, operation: &'static str) -> Result<()> {
    if space.claims.contains_key(claim.key()) {
        return Err(refusals::in_progress(CLAIMED_RETRY, operation, BACKEND));
    }
    Ok(())
}

impl LeaseStore for MemoryStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let mut state = self.state("lease")?;
        let now = self.shared.clock.now();
        let deadline = keys::deadline(now, ttl, "lease", BACKEND)?;
        let standing = standing(state.space(&self.namespace), claim, now);
        if let Some(answer) = standing.leased("lease", BACKEND)? {
            return Ok(answer);
        }
        let token = state.next_token();
        let row = KeyRow {
            fingerprint: *claim.fingerprint(),
            state: RowState::Leased { token, deadline },
        };
        let rows = &mut state.space(&self.namespace).keys;
        rows.insert(claim.key().clone(), row);
        Ok(Leased::Granted(Lease { token, deadline }))
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let mut state = self.state("renew")?;
        let now = self.shared.clock.now();
        let deadline = keys::deadline(now, ttl, "renew", BACKEND)?;
        let space = state.space(&self.namespace);
        check_claims(space, claim, "renew")?;
        let row = space.keys.get_mut(claim.key());
        keys::renew(row.as_deref(), claim, token, now, BACKEND)?;
        if let Some(row) = row {
            row.state = RowState::Leased { token, deadline };
        }
        Ok(Lease { token, deadline })
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.capabilities().max_receipt_bytes, "finalize", BACKEND)?;
        }
        let mut state = self.state("finalize")?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        check_claims(space, claim, "finalize")?;
        let row = space.keys.get(claim.key());
        match keys::finalize(row, claim, token, outcome, now, BACKEND)? {
            Finalize::Stands => {}
            Finalize::Record => {
                let row = completed(claim, outcome.clone(), Some(token), now);
                space.keys.insert(claim.key().clone(), row);
            }
        }
        Ok(())
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let mut state = self.state("release")?;
        let now = self.shared.clock.now();
        let space = state.space(&self.namespace);
        check_claims(space, claim, "release")?;
        let row = space.keys.get(claim.key());
        if keys::release(row, claim, token, now, BACKEND)? {
            space.keys.remove(claim.key());
        }
        Ok(())
    }
}

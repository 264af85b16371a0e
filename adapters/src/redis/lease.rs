//! Keys held for effects outside.

use std::time::Duration;

use exactly_once_core::{
    Claim, FencingToken, Lease, LeaseStore, Leased, Outcome, Result,
    adapter::{
        check_duration,
        rules::keys::{self, Finalize},
    },
};

use super::{
    error::BACKEND,
    idempotency::{Seen, disagree, retention_micros, stored_outcome},
    reply::Reply,
    scripts,
    store::RedisStore,
};

fn micros(ttl: Duration) -> Result<Vec<u8>> {
    Ok(check_duration("lease", ttl)?
        .as_micros()
        .to_string()
        .into_bytes())
}

fn granted(reply: &Reply) -> Result<Lease> {
    Ok(Lease {
        token: FencingToken::new(reply.integer(1)?),
        deadline: reply.time(2)?,
    })
}

impl LeaseStore for RedisStore {
    async fn lease(&self, claim: &Claim, ttl: Duration) -> Result<Leased> {
        let ttl = micros(ttl)?;
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let keys = vec![
            self.record_key(shard, claim.key()),
            self.expiry_index(shard),
            self.key(shard, "fence", ""),
        ];
        let arguments = vec![
            claim.fingerprint().as_bytes().to_vec(),
            ttl,
            claim.key().as_str().into(),
            retention_micros(claim.retention()),
        ];
        self.list_shard("lease", shard).await?;
        let reply = self
            .write("lease", &scripts::LEASE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "granted" => granted(&reply).map(Leased::Granted),
            _ => {
                let standing = Seen::read(&reply)?.standing(claim);
                let answer = standing.leased("lease", BACKEND)?;
                answer.ok_or_else(|| disagree("lease"))
            }
        }
    }

    async fn renew(&self, claim: &Claim, token: FencingToken, ttl: Duration) -> Result<Lease> {
        let ttl = micros(ttl)?;
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let keys = vec![self.record_key(shard, claim.key())];
        let arguments = vec![
            claim.fingerprint().as_bytes().to_vec(),
            token.to_string().into_bytes(),
            ttl,
        ];
        let reply = self
            .write("renew", &scripts::RENEW, shard, keys, arguments)
            .await?;
        match reply.word() {
            "granted" => granted(&reply),
            _ => {
                let seen = Seen::read(&reply)?;
                keys::renew(seen.row.as_ref(), claim, token, seen.now, BACKEND)?;
                Err(disagree("renew"))
            }
        }
    }

    async fn finalize(&self, claim: &Claim, token: FencingToken, outcome: &Outcome) -> Result<()> {
        if let Outcome::Applied(receipt) = outcome {
            receipt.check_size(self.shared.max_receipt_bytes, "finalize", BACKEND)?;
        }
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let keys = vec![
            self.record_key(shard, claim.key()),
            self.expiry_index(shard),
        ];
        let (state, bytes) = stored_outcome(outcome);
        let arguments = vec![
            claim.fingerprint().as_bytes().to_vec(),
            token.to_string().into_bytes(),
            state.into(),
            bytes,
            retention_micros(claim.retention()),
            claim.key().as_str().into(),
        ];
        let reply = self
            .write("finalize", &scripts::FINALIZE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "recorded" => Ok(()),
            _ => {
                let Seen { row, now } = Seen::read(&reply)?;
                match keys::finalize(row.as_ref(), claim, token, outcome, now, BACKEND)? {
                    Finalize::Stands => Ok(()),
                    Finalize::Record => Err(disagree("finalize")),
                }
            }
        }
    }

    async fn release(&self, claim: &Claim, token: FencingToken) -> Result<()> {
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let keys = vec![self.record_key(shard, claim.key())];
        let arguments = vec![
            claim.fingerprint().as_bytes().to_vec(),
            token.to_string().into_bytes(),
        ];
        let reply = self
            .write("release", &scripts::RELEASE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "released" => Ok(()),
            _ => {
                let seen = Seen::read(&reply)?;
                match keys::release(seen.row.as_ref(), claim, token, seen.now, BACKEND)? {
                    false => Ok(()),
                    true => Err(disagree("release")),
                }
            }
        }
    }
}

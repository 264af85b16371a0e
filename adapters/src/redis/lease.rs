//! Keys held for effects outside.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Lease, LeaseStore, Leased, Outcome, Result, refusals,
    time::check_duration,
};

use super::{
    error::{BACKEND, error},
    idempotency::{duration_of, mismatch, outcome_of, retention_micros, stored_outcome},
    reply::Reply,
    scripts,
    store::RedisStore,
};

fn fenced(operation: &'static str) -> exactly_once_core::Error {
    refusals::fenced(operation, BACKEND)
}

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
            "done" => outcome_of(&reply, 1).map(Leased::Completed),
            "held" => Ok(Leased::InProgress {
                retry_after: duration_of(&reply, 1)?,
            }),
            "mismatch" => Ok(Leased::Mismatch),
            _ => Err(reply.unexpected()),
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
            "fenced" => Err(fenced("renew")),
            _ => Err(reply.unexpected()),
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
            "fenced" => Err(fenced("finalize")),
            "mismatch" => Err(mismatch("finalize")),
            "conflict" => Err(error(ErrorKind::Conflict { current: None }, "finalize")
                .with_message("the lease was finalized with another outcome, which stands")),
            _ => Err(reply.unexpected()),
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
            "fenced" => Err(fenced("release")),
            _ => Err(reply.unexpected()),
        }
    }
}

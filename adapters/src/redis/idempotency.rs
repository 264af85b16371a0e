//! Keys and receipts.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, FencingToken, Fingerprint, IdempotencyKey, IdempotencyStore,
    KeyRecord, Outcome, Receipt, Rejection, Result, Retention, Settled, Timestamp,
    adapter::{
        check_limit, refusals,
        rules::keys::{self, KeyRow, RowState, Standing},
    },
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{
    commands::Work,
    error::{BACKEND, error},
    reply::Reply,
    schema::Shard,
    scripts,
    store::RedisStore,
    transaction::{RedisTx, refusal},
};

/// Records that one script expires.
const EXPIRE_BATCH: u32 = 256;

/// Shards of a cluster that are looked at together.
const EXPIRE_AT_ONCE: usize = 32;

impl RedisStore {
    pub(super) fn record_key(&self, shard: Shard, key: &IdempotencyKey) -> Vec<u8> {
        self.key(shard, "key", key.as_str())
    }

    pub(super) fn expiry_index(&self, shard: Shard) -> Vec<u8> {
        self.key(shard, "key-expiry", "")
    }

    async fn read_key(&self, operation: &'static str, key: &IdempotencyKey) -> Result<Reply> {
        let shard = self.layout().shard_of_key(&self.namespace, key);
        let keys = vec![self.record_key(shard, key)];
        self.read(operation, &scripts::LOOKUP, shard, keys, Vec::new())
            .await
    }

    /// Applies work and records an outcome, in one script.
    async fn record(
        &self,
        operation: &'static str,
        claim: &Claim,
        outcome: &Outcome,
        work: &Work,
    ) -> Result<Settled> {
        let rows = Rows::default();
        let recorded = self.record_counted(operation, claim, outcome, work, &rows);
        Ok(match recorded.await? {
            Recorded::Now(_) => Settled::Recorded,
            Recorded::Before(outcome) => Settled::Superseded(outcome),
        })
    }

    /// The same for work whose rows are counted or returned.
    pub(super) async fn record_counted(
        &self,
        operation: &'static str,
        claim: &Claim,
        outcome: &Outcome,
        work: &Work,
        rows: &Rows,
    ) -> Result<Recorded> {
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let (state, bytes) = stored_outcome(outcome);
        let (keys, arguments) = work.for_script();
        let keys = [
            vec![
                self.record_key(shard, claim.key()),
                self.expiry_index(shard),
                self.layout().reservations(shard),
            ],
            keys,
        ]
        .concat();
        let arguments = [
            vec![
                claim.fingerprint().as_bytes().to_vec(),
                state.into(),
                bytes,
                retention_micros(claim.retention()),
                claim.key().as_str().into(),
                rows.required.as_str().into(),
                rows.returned.as_str().into(),
            ],
            arguments,
        ]
        .concat();
        self.list_shard(operation, shard).await?;
        let reply = self
            .write(operation, &scripts::COMPLETE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "recorded" => Ok(Recorded::Now(reply.bytes(1).to_vec())),
            "known" => {
                let standing = Seen::read(&reply)?.standing(claim);
                let outcome = standing.outcome(operation, BACKEND)?;
                outcome
                    .map(Recorded::Before)
                    .ok_or_else(|| disagree(operation))
            }
            _ => Err(refusal(operation, &reply)),
        }
    }

    /// Whether the transaction is one that a claim of this key gave.
    fn check_claim(&self, operation: &'static str, tx: &RedisTx, claim: &Claim) -> Result<()> {
        tx.check_home(self, operation)?;
        let own = tx.claim.as_ref().is_some_and(|own| {
            own.key() == claim.key() && own.fingerprint() == claim.fingerprint()
        });
        if own {
            return Ok(());
        }
        Err(refusals::foreign(operation, BACKEND))
    }
}

/// What is asked of the rows of statements, as `complete.lua` takes it.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) required: String,
    pub(super) returned: String,
}

/// What became of an outcome.
pub(super) enum Recorded {
    /// It is recorded, as these bytes.
    Now(Vec<u8>),
    /// An earlier one is.
    Before(Outcome),
}

/// What a script saw of a key, and when.
pub(super) struct Seen {
    pub(super) row: Option<KeyRow>,
    pub(super) now: Timestamp,
}

impl Seen {
    /// Reads what `facts` in `record.lua` gives.
    pub(super) fn read(reply: &Reply) -> Result<Self> {
        if reply.word() != "known" {
            return Err(reply.unexpected());
        }
        if reply.items.len() == 1 {
            // Without a row nothing depends on the clock.
            let now = Timestamp::from_micros(0);
            return Ok(Self { row: None, now });
        }
        let fingerprint = reply.bytes(1).try_into().map_err(|_| reply.unexpected())?;
        let token = match reply.bytes(4) {
            [] => None,
            _ => Some(FencingToken::new(reply.integer(4)?)),
        };
        let state = match (reply.bytes(2), token) {
            (b"L", Some(token)) => RowState::Leased {
                token,
                deadline: reply.time(5)?,
            },
            _ => RowState::Completed {
                outcome: outcome_of(reply, 2)?,
                token,
                completed_at: reply.time(6)?,
                expires_at: match reply.bytes(7) {
                    [] => None,
                    _ => Some(reply.time(7)?),
                },
            },
        };
        let fingerprint = Fingerprint::from_bytes(fingerprint);
        Ok(Self {
            row: Some(KeyRow { fingerprint, state }),
            now: reply.time(8)?,
        })
    }

    pub(super) fn standing(self, claim: &Claim) -> Standing {
        keys::standing(self.row, claim, self.now)
    }
}

pub(super) fn mismatch(operation: &'static str) -> exactly_once_core::Error {
    refusals::mismatch(operation, BACKEND)
}

/// A script refused what the rules of this crate allow.
pub(super) fn disagree(operation: &'static str) -> exactly_once_core::Error {
    error(ErrorKind::Configuration, operation)
        .with_message("the script and the rules of this crate disagree: versions are mixed")
}

/// The state's letter, and the bytes to keep. A rejection is `status message`.
pub(super) fn stored_outcome(outcome: &Outcome) -> (&'static str, Vec<u8>) {
    match outcome {
        Outcome::Applied(receipt) => ("A", receipt.as_bytes().to_vec()),
        Outcome::Rejected(rejection) => (
            "J",
            format!("{} {}", rejection.stored_status(), rejection.message()).into_bytes(),
        ),
    }
}

/// The outcome whose letter is at a place, and its bytes behind it.
pub(super) fn outcome_of(reply: &Reply, at: usize) -> Result<Outcome> {
    match reply.bytes(at) {
        b"A" => Ok(Outcome::Applied(Receipt::from_bytes(
            reply.bytes(at + 1).to_vec(),
        ))),
        b"J" => {
            let (status, message) = reply
                .text(at + 1)?
                .split_once(' ')
                .ok_or_else(|| reply.unexpected())?;
            let status = status.parse().map_err(|_| reply.unexpected())?;
            Ok(Outcome::Rejected(Rejection::from_stored(status, message)))
        }
        _ => Err(reply.unexpected()),
    }
}

/// Empty for ever.
pub(super) fn retention_micros(retention: Retention) -> Vec<u8> {
    retention
        .duration()
        .map(|duration| duration.as_micros().to_string().into_bytes())
        .unwrap_or_default()
}

impl IdempotencyStore for RedisStore {
    async fn claim(&self, claim: &Claim) -> Result<Claimed<RedisTx>> {
        let shard = self.layout().shard_of_key(&self.namespace, claim.key());
        let fresh = || {
            let mut tx = RedisTx::new(self.clone(), Some(shard));
            tx.claim = Some(claim.clone());
            Claimed::Fresh(tx)
        };
        let reply = self.read_key("claim", claim.key()).await?;
        let answer = Seen::read(&reply)?
            .standing(claim)
            .claimed("claim", BACKEND)?;
        if let Some(Claimed::Completed(_)) = &answer {
            self.replicate("claim", shard, &reply).await?;
        }
        Ok(answer.unwrap_or_else(fresh))
    }

    async fn complete(&self, tx: RedisTx, claim: &Claim, receipt: &Receipt) -> Result<Settled> {
        receipt.check_size(self.shared.max_receipt_bytes, "complete", BACKEND)?;
        self.check_claim("complete", &tx, claim)?;
        let work = tx.finish("complete")?;
        let outcome = Outcome::Applied(receipt.clone());
        self.record("complete", claim, &outcome, &work).await
    }

    async fn reject(&self, tx: RedisTx, claim: &Claim, rejection: &Rejection) -> Result<Settled> {
        self.check_claim("reject", &tx, claim)?;
        // What the rejection was decided on must still be so.
        let read = Work {
            guards: tx.work.guards,
            writes: Vec::new(),
        };
        let outcome = Outcome::Rejected(rejection.clone());
        self.record("reject", claim, &outcome, &read).await
    }

    async fn lookup(&self, key: &IdempotencyKey) -> Result<Option<KeyRecord>> {
        let reply = self.read_key("lookup", key).await?;
        let seen = Seen::read(&reply)?;
        let Some(record) = keys::record(seen.row, seen.now) else {
            return Ok(None);
        };
        let shard = self.layout().shard_of_key(&self.namespace, key);
        self.replicate("lookup", shard, &reply).await?;
        Ok(Some(record))
    }

    async fn forget(&self, key: &IdempotencyKey) -> Result<bool> {
        let shard = self.layout().shard_of_key(&self.namespace, key);
        let keys = vec![self.record_key(shard, key), self.expiry_index(shard)];
        let arguments = vec![key.as_str().into()];
        let reply = self
            .write("forget", &scripts::FORGET, shard, keys, arguments)
            .await?;
        match reply.word() {
            "removed" => Ok(true),
            _ => {
                let seen = Seen::read(&reply)?;
                match keys::forget(seen.row.as_ref(), seen.now, BACKEND)? {
                    false => Ok(false),
                    true => Err(disagree("forget")),
                }
            }
        }
    }

    async fn expire(&self, limit: u32) -> Result<u64> {
        let mut left = u64::from(check_limit(limit, "expire", BACKEND)?);
        let mut removed = 0;
        let mut shards = self.all_shards("expire").await?;
        while left > 0 && !shards.is_empty() {
            let batch = left.min(EXPIRE_BATCH.into());
            let looking = shards.into_iter().map(|shard| self.due(shard, batch));
            let found: Vec<(Shard, Vec<Vec<u8>>)> = stream::iter(looking)
                .buffer_unordered(EXPIRE_AT_ONCE)
                .try_collect()
                .await?;
            let mut room = usize::try_from(left).unwrap_or(usize::MAX);
            let work = found.into_iter().filter_map(|(shard, mut due)| {
                due.truncate(room);
                room -= due.len();
                (!due.is_empty()).then_some((shard, due))
            });
            let work: Vec<_> = work.collect();
            let removing = work
                .into_iter()
                .map(|(shard, due)| self.expire_batch(shard, due));
            let gone: Vec<(Shard, u64)> = stream::iter(removing)
                .buffer_unordered(EXPIRE_AT_ONCE)
                .try_collect()
                .await?;
            let count: u64 = gone.iter().map(|(_, gone)| gone).sum();
            removed += count;
            left -= count.min(left);
            // Where only the index was put right, the rest can wait for the next call.
            shards = gone
                .into_iter()
                .filter_map(|(shard, gone)| (gone > 0).then_some(shard))
                .collect();
        }
        Ok(removed)
    }
}

impl RedisStore {
    /// Keys of one shard that the index says are due.
    async fn due(&self, shard: Shard, limit: u64) -> Result<(Shard, Vec<Vec<u8>>)> {
        let keys = vec![self.expiry_index(shard)];
        let arguments = vec![limit.to_string().into_bytes()];
        let reply = self
            .read("expire", &scripts::DUE, shard, keys, arguments)
            .await?;
        Ok((shard, reply.rest(1)))
    }

    /// Expires some keys of one shard; gives how many it removed.
    async fn expire_batch(&self, shard: Shard, due: Vec<Vec<u8>>) -> Result<(Shard, u64)> {
        let index = self.expiry_index(shard);
        let records = due.iter().map(|key| self.key(shard, "key", key));
        let keys = std::iter::once(index).chain(records).collect();
        let reply = self
            .write("expire", &scripts::EXPIRE, shard, keys, due)
            .await?;
        let gone = u64::try_from(reply.integer(1)?).map_err(|_| reply.unexpected())?;
        Ok((shard, gone))
    }
}

//! Records by transaction: pages in the order of their digests, over all shards, and their removal.

use std::collections::BTreeMap;

use exactly_once_core::{Participation, Result, Timestamp, TransactionDigest};
use futures_util::future::try_join_all;

use super::{error::unexpected, prepared::micros, schema::Shard, scripts, store::RedisStore};

/// Records that one script removes.
const FORGET_BATCH: u64 = 256;

/// A page of an index.
pub(super) struct DigestPage {
    pub(super) found: Vec<(TransactionDigest, Shard)>,
    pub(super) next: Option<TransactionDigest>,
    pub(super) now: Timestamp,
}

pub(super) fn hex(digest: &TransactionDigest) -> String {
    digest.to_string()
}

fn from_hex(text: &[u8]) -> Option<TransactionDigest> {
    let mut bytes = [0; 32];
    let (pairs, []) = text.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(TransactionDigest::from_bytes(bytes))
}

/// A participation as it was stored.
pub(super) fn digest_of(
    operation: &'static str,
    digest: TransactionDigest,
    terms: &[u8],
    not_after: &[u8],
    forget_after: &[u8],
) -> Result<Participation> {
    Participation::from_terms(
        digest,
        terms,
        micros(operation, not_after)?,
        micros(operation, forget_after)?,
    )
}

impl RedisStore {
    /// The next digests after one, of all the shards together.
    pub(super) async fn digests(
        &self,
        operation: &'static str,
        shards: &[Shard],
        index: &str,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<DigestPage> {
        let after = after.map(hex).unwrap_or_default();
        let more = u64::from(limit) + 1;
        let pages = shards.iter().map(|shard| {
            let keys = vec![self.key(*shard, index, "")];
            let arguments = vec![after.clone().into_bytes(), more.to_string().into_bytes()];
            async move {
                let reply = self
                    .read(operation, &scripts::PAGE, *shard, keys, arguments)
                    .await?;
                Ok::<_, exactly_once_core::Error>((*shard, reply.time(1)?, reply.rest(2)))
            }
        });
        let mut found = Vec::new();
        let mut now = Timestamp::from_micros(0);
        for (shard, time, members) in try_join_all(pages).await? {
            now = now.max(time);
            for member in members {
                let digest = from_hex(&member)
                    .ok_or_else(|| unexpected(operation, "a digest that is not 64 digits"))?;
                found.push((digest, shard));
            }
        }
        found.sort_unstable();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_last = found.len() <= limit;
        found.truncate(limit);
        let next = found.last().filter(|_| !is_last).map(|(digest, _)| *digest);
        Ok(DigestPage { found, next, now })
    }

    /// Fields of their records, in the same order.
    pub(super) async fn fields(
        &self,
        operation: &'static str,
        kind: &str,
        found: &[(TransactionDigest, Shard)],
        fields: &[&str],
    ) -> Result<BTreeMap<TransactionDigest, Vec<Vec<u8>>>> {
        let mut by_shard: BTreeMap<Shard, Vec<TransactionDigest>> = BTreeMap::new();
        for (digest, shard) in found {
            by_shard.entry(*shard).or_default().push(*digest);
        }
        let mut records = BTreeMap::new();
        for (shard, digests) in by_shard {
            let keys = digests
                .iter()
                .map(|digest| self.key(shard, kind, hex(digest)))
                .collect();
            let arguments = fields
                .iter()
                .map(|field| field.as_bytes().to_vec())
                .collect();
            let reply = self
                .read(operation, &scripts::FIELDS, shard, keys, arguments)
                .await?;
            if !digests.is_empty() {
                // A sweeper acts on what is listed, so it waits like what wrote it.
                self.replicate(operation, shard, &reply).await?;
            }
            let values = reply.rest(1);
            for (digest, values) in digests.into_iter().zip(values.chunks(fields.len())) {
                records.insert(digest, values.to_vec());
            }
        }
        Ok(records)
    }

    /// Removes records past `forget_after`.
    pub(super) async fn forget_records(
        &self,
        operation: &'static str,
        shards: &[Shard],
        kind: &str,
        index: &str,
        limit: u32,
    ) -> Result<u64> {
        let mut removed = 0;
        for shard in shards {
            loop {
                let batch = (u64::from(limit) - removed).min(FORGET_BATCH);
                if batch == 0 {
                    return Ok(removed);
                }
                let key = self.key(*shard, index, "");
                let arguments = vec![batch.to_string().into_bytes()];
                let due = self
                    .read(
                        operation,
                        &scripts::DUE,
                        *shard,
                        vec![key.clone()],
                        arguments,
                    )
                    .await?
                    .rest(1);
                if due.is_empty() {
                    break;
                }
                let records = due.iter().map(|name| self.key(*shard, kind, name));
                let keys = std::iter::once(key).chain(records).collect();
                let reply = self
                    .write(operation, &scripts::FORGET_RECORDS, *shard, keys, due)
                    .await?;
                let gone = u64::try_from(reply.integer(1)?).map_err(|_| reply.unexpected())?;
                removed += gone;
                if gone == 0 {
                    break;
                }
            }
        }
        Ok(removed)
    }
}

//! The decision register: the first writer wins, in one script.

use exactly_once_core::{
    Decision, DecisionRegister, Error, Participation, RegisterEntry, RegisterPage, Result,
    Settlement, Store as _, TransactionDigest,
    adapter::{check_limit, refusals, rules::participants::Asked},
};

use super::{
    digests::{digest_of, hex},
    error::{BACKEND, unexpected},
    idempotency::disagree,
    prepared::identity,
    reply::Reply,
    schema::Shard,
    scripts,
    store::RedisStore,
};

const RECORD: &str = "decision";
const UNFINISHED: &str = "decision-unfinished";
const EXPIRY: &str = "decision-expiry";

impl RedisStore {
    fn decision_place(&self, participation: &Participation) -> (Shard, Vec<Vec<u8>>) {
        let digest = participation.transaction();
        let shard = self.layout().shard_of_digest(&self.namespace, digest);
        let keys = vec![
            self.key(shard, RECORD, hex(digest)),
            self.key(shard, UNFINISHED, ""),
            self.key(shard, EXPIRY, ""),
        ];
        (shard, keys)
    }

    /// Refuses a transaction of another register.
    async fn check_register(
        &self,
        participation: &Participation,
        operation: &'static str,
    ) -> Result<()> {
        let held = self.identity().await?.within(&self.namespace);
        participation.check_register(&held, operation, BACKEND)
    }
}

/// How a decision was settled, as it is stored; empty where it was not.
fn settled(operation: &'static str, stored: &[u8]) -> Result<Option<Settlement>> {
    if stored.is_empty() {
        return Ok(None);
    }
    std::str::from_utf8(stored)
        .ok()
        .and_then(Settlement::parse)
        .map(Some)
        .ok_or_else(|| unexpected(operation, "a settlement that is not what this crate wrote"))
}

/// The refusal of a name that was used otherwise.
fn another(operation: &'static str) -> Error {
    refusals::another_transaction(operation, BACKEND)
}

/// Nothing stands: the clock follows in the reply.
fn asked<'a>(
    participation: &'a Participation,
    operation: &'static str,
    reply: &Reply,
) -> Result<Asked<'a>> {
    Ok(Asked {
        participation,
        now: reply.time(1)?,
        operation,
        store: BACKEND,
    })
}

impl DecisionRegister for RedisStore {
    async fn decide(&self, participation: &Participation, proposal: Decision) -> Result<Decision> {
        let operation = "decide";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation);
        let mut arguments = identity(participation);
        arguments.push(hex(participation.transaction()).into_bytes());
        arguments.push(proposal.as_str().into());
        arguments.push(participation.participants().to_bytes());
        let reply = self
            .write(operation, &scripts::DECIDE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "none" => {
                asked(participation, operation, &reply)?.decide(proposal)?;
                Err(disagree(operation))
            }
            "mismatch" => Err(another(operation)),
            word => match settled(operation, reply.bytes(1))? {
                Some(settled) => Ok(settled.outcome),
                None => Decision::parse(word).ok_or_else(|| reply.unexpected()),
            },
        }
    }

    async fn decision(&self, participation: &Participation) -> Result<Option<RegisterEntry>> {
        let operation = "decision";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation);
        let keys = keys.into_iter().take(1).collect();
        let arguments = identity(participation);
        let reply = self
            .read(operation, &scripts::DECIDED, shard, keys, arguments)
            .await?;
        match reply.word() {
            "none" => Ok(None),
            "mismatch" => Err(another(operation)),
            word => {
                self.replicate(operation, shard, &reply).await?;
                let decision = Decision::parse(word).ok_or_else(|| reply.unexpected())?;
                Ok(Some(RegisterEntry {
                    participation: participation.clone().with_named(reply.bytes(2)),
                    decision,
                    finished: reply.bytes(1) == b"1",
                    settled: settled(operation, reply.bytes(3))?,
                }))
            }
        }
    }

    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        let operation = "settle";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation);
        let mut arguments = identity(participation);
        arguments.push(hex(participation.transaction()).into_bytes());
        arguments.push(settlement.to_text().into_bytes());
        let reply = self
            .write(operation, &scripts::SETTLE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "settled" => settled(operation, reply.bytes(1))?.ok_or_else(|| reply.unexpected()),
            "none" => Err(asked(participation, operation, &reply)?.undecided()),
            "mismatch" => Err(another(operation)),
            _ => Err(reply.unexpected()),
        }
    }

    async fn finish(&self, participation: &Participation) -> Result<()> {
        let operation = "finish";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation);
        let mut arguments = identity(participation);
        arguments.push(hex(participation.transaction()).into_bytes());
        let reply = self
            .write(operation, &scripts::FINISH, shard, keys, arguments)
            .await?;
        match reply.word() {
            "finished" => Ok(()),
            "none" => Err(asked(participation, operation, &reply)?.undecided()),
            "mismatch" => Err(another(operation)),
            _ => Err(reply.unexpected()),
        }
    }

    async fn unfinished(
        &self,
        after: Option<&TransactionDigest>,
        limit: u32,
    ) -> Result<RegisterPage> {
        let operation = "unfinished";
        check_limit(limit, operation, BACKEND)?;
        let shards = self.layout().buckets(&self.namespace);
        let page = self
            .digests(operation, &shards, UNFINISHED, after, limit)
            .await?;
        let fields = ["v", "z", "f", "n", "g", "m"];
        let mut entries = Vec::new();
        for (digest, found) in self.fields(operation, RECORD, &page.found, &fields).await? {
            let [decision, finished, terms, not_after, forget_after, members] = found.as_slice()
            else {
                continue;
            };
            let decision = std::str::from_utf8(decision).ok().and_then(Decision::parse);
            // Finished, and perhaps forgotten, between the two reads.
            let Some(decision) = decision.filter(|_| finished == b"0") else {
                continue;
            };
            let participation = digest_of(operation, digest, terms, not_after, forget_after)?;
            entries.push(RegisterEntry {
                participation: participation.with_named(members),
                decision,
                finished: false,
                settled: None,
            });
        }
        Ok(RegisterPage {
            entries,
            next: page.next,
        })
    }

    async fn forget_decisions(&self, limit: u32) -> Result<u64> {
        let operation = "forget_decisions";
        check_limit(limit, operation, BACKEND)?;
        let shards = self.layout().buckets(&self.namespace);
        self.forget_records(operation, &shards, RECORD, EXPIRY, limit)
            .await
    }
}

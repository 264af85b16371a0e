//! The decision register: the first writer wins, in one script.

use exactly_once_core::{
    Decision, DecisionRegister, Dispute, Error, Participation, RegisterEntry, RegisterPage, Result,
    Settlement, Store as _, Timestamp, TransactionDigest,
    adapter::{
        check_limit, refusals,
        rules::participants::{Asked, Note},
    },
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
    fn decision_place(&self, digest: &TransactionDigest) -> (Shard, Vec<Vec<u8>>) {
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

/// The participants that did not obey a decision, as they are stored.
fn disputes(operation: &'static str, stored: &[u8]) -> Result<Vec<Dispute>> {
    std::str::from_utf8(stored)
        .ok()
        .and_then(Dispute::parse_all)
        .ok_or_else(|| unexpected(operation, "disputes that are not what this crate wrote"))
}

/// What stands, from the reply of a note that was not written: decision, finished, participants,
/// settlement, disputes.
fn stands(
    participation: &Participation,
    operation: &'static str,
    reply: &Reply,
) -> Result<RegisterEntry> {
    let decision = std::str::from_utf8(reply.bytes(1)).ok();
    let decision = decision.and_then(Decision::parse);
    Ok(RegisterEntry {
        participation: participation.clone().with_named(reply.bytes(3)),
        decision: decision.ok_or_else(|| reply.unexpected())?,
        finished: reply.bytes(2) == b"1",
        settled: settled(operation, reply.bytes(4))?,
        disputes: disputes(operation, reply.bytes(5))?,
    })
}

/// The fields of a record, as [`listed`] reads them.
const FIELDS: [&str; 8] = ["v", "z", "f", "n", "g", "m", "t", "d"];

/// A record that is not asked for by its terms; `None` where there is none.
fn listed(
    operation: &'static str,
    digest: TransactionDigest,
    fields: &[Vec<u8>],
) -> Result<Option<RegisterEntry>> {
    let [
        decision,
        finished,
        terms,
        not_after,
        forget_after,
        members,
        settlement,
        disputed,
    ] = fields
    else {
        return Ok(None);
    };
    let decision = std::str::from_utf8(decision).ok().and_then(Decision::parse);
    let Some(decision) = decision else {
        return Ok(None);
    };
    let participation = digest_of(operation, digest, terms, not_after, forget_after)?;
    Ok(Some(RegisterEntry {
        participation: participation.with_named(members),
        decision,
        finished: finished == b"1",
        settled: settled(operation, settlement)?,
        disputes: disputes(operation, disputed)?,
    }))
}

/// For rules about what stands, which need no clock.
fn untimed<'a>(participation: &'a Participation, operation: &'static str) -> Asked<'a> {
    Asked {
        participation,
        now: Timestamp::from_micros(0),
        operation,
        store: BACKEND,
    }
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
        let (shard, keys) = self.decision_place(participation.transaction());
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
        let (shard, keys) = self.decision_place(participation.transaction());
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
                    disputes: disputes(operation, reply.bytes(4))?,
                }))
            }
        }
    }

    async fn find_decision(
        &self,
        transaction: &TransactionDigest,
    ) -> Result<Option<RegisterEntry>> {
        let operation = "find_decision";
        let (shard, _) = self.decision_place(transaction);
        let found = [(*transaction, shard)];
        let found = self.fields(operation, RECORD, &found, &FIELDS).await?;
        let found = found.into_iter().next();
        found.map_or(Ok(None), |(digest, fields)| {
            listed(operation, digest, &fields)
        })
    }

    async fn dispute(
        &self,
        participation: &Participation,
        dispute: &Dispute,
    ) -> Result<Option<Settlement>> {
        let operation = "dispute";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation.transaction());
        let mut arguments = identity(participation);
        arguments.push(hex(participation.transaction()).into_bytes());
        arguments.push(dispute.decision.as_str().into());
        arguments.push(dispute.participant_text().into_bytes());
        arguments.push(dispute.to_text().into_bytes());
        let reply = self
            .write(operation, &scripts::DISPUTE, shard, keys, arguments)
            .await?;
        match reply.word() {
            "disputed" => Ok(None),
            "stands" => {
                let stands = stands(participation, operation, &reply)?;
                let asked = untimed(participation, operation);
                match asked.dispute(Some(&stands), dispute)? {
                    (Note::Done, settled) => Ok(settled),
                    (Note::Write, _) => Err(disagree(operation)),
                }
            }
            "none" => Err(asked(participation, operation, &reply)?.undecided()),
            "mismatch" => Err(another(operation)),
            _ => Err(reply.unexpected()),
        }
    }

    async fn settle(
        &self,
        participation: &Participation,
        settlement: &Settlement,
    ) -> Result<Settlement> {
        let operation = "settle";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation.transaction());
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

    async fn finish(&self, participation: &Participation, decision: Decision) -> Result<()> {
        let operation = "finish";
        self.check_register(participation, operation).await?;
        let (shard, keys) = self.decision_place(participation.transaction());
        let mut arguments = identity(participation);
        arguments.push(hex(participation.transaction()).into_bytes());
        arguments.push(decision.as_str().into());
        let reply = self
            .write(operation, &scripts::FINISH, shard, keys, arguments)
            .await?;
        match reply.word() {
            "finished" => Ok(()),
            "stands" => {
                let stands = stands(participation, operation, &reply)?;
                match untimed(participation, operation).finish(Some(&stands), decision)? {
                    Note::Done => Ok(()),
                    Note::Write => Err(disagree(operation)),
                }
            }
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
        let mut entries = Vec::new();
        let found = self.fields(operation, RECORD, &page.found, &FIELDS).await?;
        for (digest, fields) in found {
            // Finished, and perhaps forgotten, between the two reads.
            let entry = listed(operation, digest, &fields)?;
            entries.extend(entry.filter(|entry| !entry.finished));
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

//! Staged two-phase commit: work and reservations are stored, and applied at the commit.
//!
//! Redis has no prepared transactions, so this is ours, in scripts: each is atomic, so marker,
//! deadline, work and reservation are checked and written at one moment.

use std::time::Duration;

use exactly_once_core::{
    BegunPrepared, Error, ErrorKind, InDoubt, InDoubtPage, Participation, PreparedStatus,
    PreparedTransactions, Result, Timestamp, TransactionDigest,
    adapter::{
        check_limit, refusals,
        rules::participants::{Asked, Commit, Known, RollBack, Stage},
    },
};

use super::{
    attempt::Attempt,
    commands::Work,
    digests::{digest_of, hex},
    error::{BACKEND, error},
    idempotency::disagree,
    reply::Reply,
    schema::Shard,
    scripts,
    store::RedisStore,
    transaction::{RedisTx, refusal},
};

/// How often a rollback looks again when a prepare comes between.
const ATTEMPTS: u32 = 8;

/// The keys of one transaction's records.
struct Records {
    shard: Shard,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Records {
    /// Refuses a transaction that was not begun for this participation.
    fn check_begun(
        &self,
        operation: &'static str,
        tx: &RedisTx,
        attempt: Option<&Attempt>,
    ) -> Result<()> {
        let record = self.keys.first().map(Vec::as_slice).unwrap_or_default();
        if tx.shard == Some(self.shard) && attempt.is_some_and(|attempt| attempt.is_at(record)) {
            return Ok(());
        }
        Err(refusals::foreign(operation, BACKEND))
    }
}

/// What a script saw of a transaction, and when.
struct Seen {
    known: Known,
    now: Timestamp,
}

impl Seen {
    /// Reads what `known` in `outcome.lua` gives.
    fn read(reply: &Reply) -> Result<Self> {
        let known = match (reply.word(), reply.bytes(1)) {
            ("known", b"") => Known::Nothing,
            ("known", b"mismatch") => Known::Another,
            ("known", b"P") => Known::At(Stage::Prepared),
            ("known", b"C") => Known::At(Stage::Committed),
            ("known", b"B") => Known::At(Stage::RolledBack),
            _ => return Err(reply.unexpected()),
        };
        let now = reply.time(2)?;
        Ok(Self { known, now })
    }

    fn asked<'a>(&self, participation: &'a Participation, operation: &'static str) -> Asked<'a> {
        Asked {
            participation,
            now: self.now,
            operation,
            store: BACKEND,
        }
    }
}

/// The refusal of work that was to be prepared, or committed alone.
fn not_prepared(operation: &'static str, asked: &Participation, reply: &Reply) -> Error {
    let seen = match reply.word() {
        "known" => Seen::read(reply),
        _ => return refusal(operation, reply),
    };
    match seen.and_then(|seen| seen.asked(asked, operation).prepare(seen.known)) {
        Ok(()) => disagree(operation),
        Err(refusal) => refusal,
    }
}

/// The three arguments by which scripts compare a participation.
pub(super) fn identity(participation: &Participation) -> Vec<Vec<u8>> {
    vec![
        participation.terms().to_vec(),
        participation
            .not_after()
            .as_micros()
            .to_string()
            .into_bytes(),
        participation
            .forget_after()
            .as_micros()
            .to_string()
            .into_bytes(),
    ]
}

impl RedisStore {
    /// A bound handle is a participant of its own, so its records are too.
    fn transaction_kind(&self, part: &str) -> String {
        let kind = if self.bound.is_some() {
            "transaction-at"
        } else {
            "transaction"
        };
        format!("{kind}{part}")
    }

    fn place_of(&self, participation: &Participation) -> Records {
        let digest = participation.transaction();
        let shard = self
            .bound
            .unwrap_or_else(|| self.layout().shard_of_digest(&self.namespace, digest));
        let name = hex(digest);
        let holder = format!(
            "{}:{}:{}:{name}",
            self.namespace.as_str().len(),
            self.namespace,
            self.transaction_kind(""),
        );
        let mut arguments = identity(participation);
        arguments.push(name.clone().into_bytes());
        arguments.push(holder.into_bytes());
        Records {
            shard,
            keys: vec![
                self.key(shard, &self.transaction_kind(""), &name),
                self.key(shard, &self.transaction_kind("-doubt"), ""),
                self.key(shard, &self.transaction_kind("-expiry"), ""),
                self.layout().reservations(shard),
            ],
            arguments,
        }
    }

    /// What is known of a transaction; of a prepared one with the staged work, where it is asked for.
    async fn known(
        &self,
        operation: &'static str,
        place: &Records,
        participation: &Participation,
        with_work: bool,
    ) -> Result<(Seen, Work)> {
        let keys = place.keys.iter().take(1).cloned().collect();
        let mut arguments = identity(participation);
        arguments.push(if with_work {
            b"work".to_vec()
        } else {
            Vec::new()
        });
        let reply = self
            .read(operation, &scripts::STATUS, place.shard, keys, arguments)
            .await?;
        let seen = Seen::read(&reply)?;
        if seen.known == Known::Nothing {
            return Ok((seen, Work::default()));
        }
        // It vouches for what was written, perhaps by an attempt that ended *ambiguous*.
        self.replicate(operation, place.shard, &reply).await?;
        if !with_work || seen.known != Known::At(Stage::Prepared) {
            return Ok((seen, Work::default()));
        }
        let work = Work::from_bytes(reply.bytes(3)).ok_or_else(|| {
            error(ErrorKind::Configuration, operation)
                .with_message("the staged work is not what this crate wrote")
        })?;
        Ok((seen, work))
    }

    fn transaction_shards(&self) -> Vec<Shard> {
        match self.bound {
            Some(shard) => vec![shard],
            None => self.layout().buckets(&self.namespace),
        }
    }
}

impl PreparedTransactions for RedisStore {
    async fn begin_prepared(
        &self,
        participation: &Participation,
    ) -> Result<BegunPrepared<RedisTx>> {
        let operation = "begin_prepared";
        let place = self.place_of(participation);
        let (seen, _) = self.known(operation, &place, participation, false).await?;
        let begin = seen.asked(participation, operation).begin(seen.known)?;
        if let Some(answer) = begin.known() {
            return Ok(answer);
        }
        let record = place.keys.first().map(Vec::as_slice).unwrap_or_default();
        let Some(attempt) = Attempt::begin(&self.shared.identity, record) else {
            return Err(refusals::at_work(operation, BACKEND));
        };
        let mut tx = RedisTx::new(self.clone(), Some(place.shard));
        tx.attempt = Some(attempt);
        Ok(BegunPrepared::Fresh(tx))
    }

    async fn prepare(&self, mut tx: RedisTx, participation: &Participation) -> Result<()> {
        let operation = "prepare";
        // Given back when the answer is there.
        let attempt = tx.attempt.take();
        let place = self.place_of(participation);
        tx.check_home(self, operation)?;
        place.check_begun(operation, &tx, attempt.as_ref())?;
        let work = tx.finish(operation)?;
        let (keys, arguments) = work.for_script();
        let keys = [place.keys, keys].concat();
        let arguments = [place.arguments, vec![work.to_bytes()], arguments].concat();
        let reply = self
            .write(operation, &scripts::PREPARE, place.shard, keys, arguments)
            .await?;
        match reply.word() {
            "prepared" => Ok(()),
            _ => Err(not_prepared(operation, participation, &reply)),
        }
    }

    async fn commit_alone(&self, mut tx: RedisTx, participation: &Participation) -> Result<()> {
        let operation = "commit_alone";
        // Given back when the answer is there.
        let attempt = tx.attempt.take();
        let place = self.place_of(participation);
        tx.check_home(self, operation)?;
        place.check_begun(operation, &tx, attempt.as_ref())?;
        let work = tx.finish(operation)?;
        let (keys, arguments) = work.for_script();
        let keys = [place.keys, keys].concat();
        let arguments = [place.arguments, arguments].concat();
        let script = &scripts::COMMIT_ALONE;
        let reply = self
            .write(operation, script, place.shard, keys, arguments)
            .await?;
        match reply.word() {
            "committed" => Ok(()),
            _ => Err(not_prepared(operation, participation, &reply)),
        }
    }

    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        let operation = "commit_prepared";
        let place = self.place_of(participation);
        let (seen, work) = self.known(operation, &place, participation, true).await?;
        match seen.asked(participation, operation).commit(seen.known)? {
            Commit::Done => return Ok(()),
            Commit::Apply => {}
        }
        let (keys, arguments) = work.for_script();
        let keys = [place.keys, keys].concat();
        let arguments = [place.arguments, arguments].concat();
        let reply = self
            .write(
                operation,
                &scripts::COMMIT_PREPARED,
                place.shard,
                keys,
                arguments,
            )
            .await?;
        match reply.word() {
            "committed" => Ok(()),
            "heuristic" => Err(heuristic(operation, &reply)),
            _ => {
                let seen = Seen::read(&reply)?;
                match seen.asked(participation, operation).commit(seen.known)? {
                    Commit::Done => Ok(()),
                    Commit::Apply => Err(disagree(operation)),
                }
            }
        }
    }

    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        let operation = "rollback_prepared";
        let place = self.place_of(participation);
        for _ in 0..ATTEMPTS {
            let (seen, work) = self.known(operation, &place, participation, true).await?;
            let with_work = match seen.asked(participation, operation).roll_back(seen.known)? {
                RollBack::Done => return Ok(()),
                RollBack::Undo => "seen",
                RollBack::Bury => "",
            };
            let keys = [place.keys.clone(), work.keys()].concat();
            let arguments = [place.arguments.clone(), vec![with_work.into()]].concat();
            let reply = self
                .write(
                    operation,
                    &scripts::ROLLBACK_PREPARED,
                    place.shard,
                    keys,
                    arguments,
                )
                .await?;
            match reply.word() {
                "rolled back" => return Ok(()),
                "again" => continue,
                _ => {}
            }
            let seen = Seen::read(&reply)?;
            return match seen.asked(participation, operation).roll_back(seen.known)? {
                RollBack::Done => Ok(()),
                RollBack::Undo | RollBack::Bury => Err(disagree(operation)),
            };
        }
        Err(refusals::overtaken(operation, BACKEND))
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        let operation = "prepared_status";
        let place = self.place_of(participation);
        let (seen, _) = self.known(operation, &place, participation, false).await?;
        seen.asked(participation, operation).status(seen.known)
    }

    async fn in_doubt(&self, after: Option<&TransactionDigest>, limit: u32) -> Result<InDoubtPage> {
        let operation = "in_doubt";
        check_limit(limit, operation, BACKEND)?;
        let (record, index) = (self.transaction_kind(""), self.transaction_kind("-doubt"));
        let shards = self.transaction_shards();
        let page = self
            .digests(operation, &shards, &index, after, limit)
            .await?;
        let fields = ["s", "f", "n", "g", "p"];
        let mut entries = Vec::new();
        for (digest, found) in self
            .fields(operation, &record, &page.found, &fields)
            .await?
        {
            let [state, terms, not_after, forget_after, prepared_at] = found.as_slice() else {
                continue;
            };
            // Finished between the two reads.
            if state != b"P" {
                continue;
            }
            let participation = digest_of(operation, digest, terms, not_after, forget_after)?;
            let prepared_at = micros(operation, prepared_at)?;
            let age: Duration = page.now.since(prepared_at);
            entries.push(InDoubt {
                participation,
                prepared_at,
                age,
            });
        }
        Ok(InDoubtPage {
            entries,
            next: page.next,
        })
    }

    async fn forget_prepared(&self, limit: u32) -> Result<u64> {
        let operation = "forget_prepared";
        check_limit(limit, operation, BACKEND)?;
        let (record, index) = (self.transaction_kind(""), self.transaction_kind("-expiry"));
        let shards = self.transaction_shards();
        self.forget_records(operation, &shards, &record, &index, limit)
            .await
    }
}

fn heuristic(operation: &'static str, reply: &Reply) -> Error {
    error(ErrorKind::Heuristic, operation).with_message(format!(
        "a writer that does not use this crate changed {}, which the prepared transaction has \
         reserved. Nothing was applied and it stays in doubt: put the key right and commit again, \
         or roll back and mend the other participants",
        reply.lossy(1)
    ))
}

pub(super) fn micros(operation: &'static str, bytes: &[u8]) -> Result<Timestamp> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .map(Timestamp::from_micros)
        .ok_or_else(|| super::error::unexpected(operation, "a time that is no number"))
}

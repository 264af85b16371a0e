//! Staged two-phase commit: work and reservations are stored, and applied at the commit.
//!
//! Redis has no prepared transactions, so this is ours, in scripts: each is atomic, so marker,
//! deadline, work and reservation are checked and written at one moment.

use std::time::Duration;

use exactly_once_core::{
    BegunPrepared, Error, ErrorKind, InDoubt, InDoubtPage, Participation, PreparedStatus,
    PreparedTransactions, Result, Timestamp, TransactionDigest, register::check_limit,
};

use super::{
    attempt::Attempt,
    commands::Work,
    digests::{digest_of, hex},
    error::{BACKEND, error},
    idempotency::mismatch,
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
        Err(error(ErrorKind::Invalid, operation)
            .with_message("the transaction was begun by another participation"))
    }
}

/// What is known of a transaction before an attempt at it.
enum Known {
    Nothing {
        late: bool,
    },
    /// With the staged work, where it was asked for.
    Prepared(Work),
    Committed,
    RolledBack,
    Forgotten,
}

fn forgotten(operation: &'static str) -> Error {
    error(ErrorKind::Forgotten, operation)
        .with_message("the time to remember the transaction is over: what became of it is unknown")
}

fn rolled_back(operation: &'static str, late: bool) -> Error {
    let message = if late {
        "the deadline to prepare has passed, so it will be rolled back"
    } else {
        "the transaction was rolled back"
    };
    error(ErrorKind::RolledBack, operation).with_message(message)
}

/// Another attempt was first, or another participant that is really this store: whose work it has
/// kept must not be taken for this one's.
fn taken(operation: &'static str) -> Error {
    error(ErrorKind::Busy, operation)
        .with_message("another attempt has prepared or committed it: begin again")
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

    async fn known(
        &self,
        operation: &'static str,
        place: &Records,
        participation: &Participation,
        with_work: bool,
    ) -> Result<Known> {
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
        match (reply.word(), reply.bytes(1)) {
            ("none", _) => return Ok(Known::Nothing { late: false }),
            ("late", _) => return Ok(Known::Nothing { late: true }),
            ("forgotten", _) => return Ok(Known::Forgotten),
            _ => {}
        }
        // It vouches for what was written, perhaps by an attempt that ended *ambiguous*.
        self.replicate(operation, place.shard, &reply).await?;
        match (reply.word(), reply.bytes(1)) {
            ("state", b"P") if !with_work => Ok(Known::Prepared(Work::default())),
            ("state", b"P") => Work::from_bytes(reply.bytes(2))
                .map(Known::Prepared)
                .ok_or_else(|| {
                    error(ErrorKind::Configuration, operation)
                        .with_message("the staged work is not what this crate wrote")
                }),
            ("state", b"C") => Ok(Known::Committed),
            ("state", b"B") => Ok(Known::RolledBack),
            ("state", b"mismatch") => Err(mismatch(operation)),
            _ => Err(reply.unexpected()),
        }
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
        match self.known(operation, &place, participation, false).await? {
            Known::Nothing { late: false } => {
                let record = place.keys.first().map(Vec::as_slice).unwrap_or_default();
                let Some(attempt) = Attempt::begin(&self.shared.identity, record) else {
                    return Err(error(ErrorKind::Busy, operation).with_message(
                        "another attempt at this transaction is in its work, or another \
                         participant of it is this very store",
                    ));
                };
                let mut tx = RedisTx::new(self.clone(), Some(place.shard));
                tx.attempt = Some(attempt);
                Ok(BegunPrepared::Fresh(tx))
            }
            Known::Nothing { late: true } => Err(rolled_back(operation, true)),
            Known::Prepared(_) => Ok(BegunPrepared::AlreadyPrepared),
            Known::Committed => Ok(BegunPrepared::AlreadyCommitted),
            Known::RolledBack => Err(rolled_back(operation, false)),
            Known::Forgotten => Err(forgotten(operation)),
        }
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
        match (reply.word(), reply.bytes(1)) {
            ("prepared", _) => Ok(()),
            ("state", b"P" | b"C") => Err(taken(operation)),
            ("state", b"B") => Err(rolled_back(operation, false)),
            ("state", b"mismatch") => Err(mismatch(operation)),
            ("late", _) => Err(rolled_back(operation, true)),
            ("forgotten", _) => Err(forgotten(operation)),
            _ => Err(refusal(operation, &reply)),
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
        match (reply.word(), reply.bytes(1)) {
            ("committed", _) => Ok(()),
            ("state", b"P" | b"C") => Err(taken(operation)),
            ("state", b"B") => Err(rolled_back(operation, false)),
            ("state", b"mismatch") => Err(mismatch(operation)),
            ("late", _) => Err(rolled_back(operation, true)),
            ("forgotten", _) => Err(forgotten(operation)),
            _ => Err(refusal(operation, &reply)),
        }
    }

    async fn commit_prepared(&self, participation: &Participation) -> Result<()> {
        let operation = "commit_prepared";
        let place = self.place_of(participation);
        let work = match self.known(operation, &place, participation, true).await? {
            Known::Prepared(work) => work,
            Known::Committed => return Ok(()),
            Known::RolledBack => return Err(rolled_back(operation, false)),
            Known::Forgotten => return Err(forgotten(operation)),
            Known::Nothing { .. } => return Err(not_prepared(operation)),
        };
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
        match (reply.word(), reply.bytes(1)) {
            ("state", b"C") => Ok(()),
            ("state", b"B") => Err(rolled_back(operation, false)),
            ("state", b"mismatch") => Err(mismatch(operation)),
            ("none", _) => Err(not_prepared(operation)),
            ("forgotten", _) => Err(forgotten(operation)),
            ("heuristic", _) => Err(heuristic(operation, &reply)),
            _ => Err(reply.unexpected()),
        }
    }

    async fn rollback_prepared(&self, participation: &Participation) -> Result<()> {
        let operation = "rollback_prepared";
        let place = self.place_of(participation);
        for _ in 0..ATTEMPTS {
            let (work, seen) = match self.known(operation, &place, participation, true).await? {
                Known::Prepared(work) => (work.keys(), "seen"),
                Known::Committed => return Err(committed(operation)),
                Known::Forgotten => return Err(forgotten(operation)),
                Known::RolledBack => return Ok(()),
                Known::Nothing { .. } => (Vec::new(), ""),
            };
            let keys = [place.keys.clone(), work].concat();
            let arguments = [place.arguments.clone(), vec![seen.into()]].concat();
            let reply = self
                .write(
                    operation,
                    &scripts::ROLLBACK_PREPARED,
                    place.shard,
                    keys,
                    arguments,
                )
                .await?;
            return match (reply.word(), reply.bytes(1)) {
                ("state", b"B") => Ok(()),
                ("state", b"C") => Err(committed(operation)),
                ("state", b"mismatch") => Err(mismatch(operation)),
                ("forgotten", _) => Err(forgotten(operation)),
                ("again", _) => continue,
                _ => Err(reply.unexpected()),
            };
        }
        Err(error(ErrorKind::Busy, operation))
    }

    async fn prepared_status(&self, participation: &Participation) -> Result<PreparedStatus> {
        let place = self.place_of(participation);
        Ok(
            match self
                .known("prepared_status", &place, participation, false)
                .await?
            {
                Known::Nothing { .. } => PreparedStatus::None,
                Known::Prepared(_) => PreparedStatus::Prepared,
                Known::Committed => PreparedStatus::Committed,
                Known::RolledBack => PreparedStatus::RolledBack,
                Known::Forgotten => PreparedStatus::Forgotten,
            },
        )
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

fn not_prepared(operation: &'static str) -> Error {
    error(ErrorKind::NotPrepared, operation).with_message("no such transaction is prepared")
}

fn committed(operation: &'static str) -> Error {
    error(ErrorKind::Committed, operation)
        .with_message("the transaction was committed and can't be rolled back")
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

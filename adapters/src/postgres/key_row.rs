//! A row of the table of keys, as every key operation reads it.

use std::time::Duration;

use exactly_once_core::{
    Claim, FencingToken, Fingerprint, IdempotencyKey, KeyRecord, KeyState, Outcome, Receipt,
    Rejection, Result, Retention, Timestamp,
};
use sha2::{Digest, Sha256};

use super::{
    driver::{Driver, Reply},
    error::garbled,
    literal,
    statements::NOW,
    store::PostgresStore,
};

const APPLIED: i64 = 1;
const REJECTED: i64 = 2;

/// How soon a rival in flight may be done.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A key's row and the clock.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) fingerprint: Fingerprint,
    pub(super) outcome: Option<Outcome>,
    pub(super) token: i64,
    lease_until: i64,
    completed_at: i64,
    expires_at: Option<i64>,
    now: i64,
}

/// What a key's row means to who comes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is done.
    Completed(Outcome),
    /// It is another request's.
    Mismatch,
    /// A lease in force holds it.
    Leased { retry_after: Duration },
    /// Its retention has passed, or its lease is over: it may be taken over.
    Free,
    /// The transaction that claimed it was ended behind the store's back: what its work did until
    /// then is committed, and no outcome is known.
    EndedByWork,
}

impl KeyRow {
    /// Reads the answer to [`PostgresStore::select_key`]; `None` if there is no row.
    pub(super) fn read(reply: Option<&Reply>, operation: &'static str) -> Result<Option<Self>> {
        let Some(row) = reply.and_then(|reply| reply.rows.first()) else {
            return Ok(None);
        };
        Self::parse(row).map(Some).ok_or_else(|| garbled(operation))
    }

    pub(super) fn parse(row: &[Option<String>]) -> Option<Self> {
        let text = |column: usize| row.get(column)?.as_deref();
        let number = |column: usize| text(column)?.parse::<i64>().ok();
        let outcome = match number(1) {
            None => None,
            Some(APPLIED) => {
                let body = literal::unhex(text(2)?)?;
                Some(Outcome::Applied(Receipt::from_bytes(body)))
            }
            Some(REJECTED) => {
                let message = String::from_utf8(literal::unhex(text(2)?)?).ok()?;
                let status = u16::try_from(number(3)?).ok()?;
                Some(Outcome::Rejected(Rejection::from_stored(status, message)))
            }
            Some(_) => return None,
        };
        Some(Self {
            fingerprint: Fingerprint::from_bytes(literal::unhex(text(0)?)?.try_into().ok()?),
            outcome,
            token: number(4)?,
            lease_until: number(5)?,
            completed_at: number(6).unwrap_or(0),
            expires_at: number(7),
            now: number(8)?,
        })
    }

    /// Whether its outcome is not remembered any more.
    pub(super) fn expired(&self) -> bool {
        self.outcome.is_some() && self.expires_at.is_some_and(|at| at <= self.now)
    }

    pub(super) fn lease_in_force(&self) -> bool {
        self.outcome.is_none() && self.lease_until > self.now
    }

    /// What it means to a claim.
    pub(super) fn standing(self, claim: &Claim) -> Standing {
        if self.expired() {
            return Standing::Free;
        }
        if self.fingerprint != *claim.fingerprint() {
            return Standing::Mismatch;
        }
        if self.lease_in_force() {
            return Standing::Leased {
                retry_after: self.lease_left(),
            };
        }
        match self.outcome {
            Some(outcome) => Standing::Completed(outcome),
            // A claim commits with its outcome or not at all; only a lease is seen without one.
            None if self.token == 0 => Standing::EndedByWork,
            None => Standing::Free,
        }
    }

    pub(super) fn lease_left(&self) -> Duration {
        Timestamp::from_micros(self.lease_until).since(Timestamp::from_micros(self.now))
    }

    /// What is told of it; `None` where nothing is remembered.
    pub(super) fn record(self) -> Option<KeyRecord> {
        if self.expired() {
            return None;
        }
        let state = match self.outcome {
            Some(outcome) => KeyState::Completed {
                outcome,
                completed_at: Timestamp::from_micros(self.completed_at),
                expires_at: self.expires_at.map(Timestamp::from_micros),
            },
            None => KeyState::Leased {
                token: FencingToken::new(self.token),
                deadline: Timestamp::from_micros(self.lease_until),
            },
        };
        Some(KeyRecord::new(self.fingerprint, state))
    }
}

/// How long an outcome is remembered, in microseconds; `None` is for ever.
pub(super) fn kept(retention: Retention) -> Option<i64> {
    // At most 100 years: the number fits.
    retention
        .duration()
        .map(|kept| i64::try_from(kept.as_micros()).unwrap_or(i64::MAX / 4))
}

/// `outcome, body, status`.
pub(super) fn columns_of(outcome: &Outcome) -> (i64, &[u8], Option<i64>) {
    match outcome {
        Outcome::Applied(receipt) => (APPLIED, receipt.as_bytes(), None),
        Outcome::Rejected(rejection) => (
            REJECTED,
            rejection.message().as_bytes(),
            Some(i64::from(rejection.stored_status())),
        ),
    }
}

/// The columns that record an outcome, as they are set.
pub(super) fn set_outcome(outcome: &Outcome, retention: Retention) -> String {
    let (number, body, status) = columns_of(outcome);
    let kept = kept(retention);
    // The clock is read once for both: the one is exactly so much after the other.
    format!(
        "outcome = {number}, body = {}, status = {}, \
         (completed_at, expires_at) = (SELECT now, now + {} FROM (SELECT {NOW} AS now) clock)",
        literal::bytes(body),
        literal::optional_int(status),
        literal::optional_int(kept),
    )
}

impl<D: Driver> PostgresStore<D> {
    /// `namespace = … AND key = …`
    pub(super) fn key_is(&self, key: &IdempotencyKey) -> String {
        format!(
            "namespace = {} AND key = {}",
            self.namespace_sql(),
            literal::bytes(key.as_str().as_bytes())
        )
    }

    /// Reads a key's row and the clock.
    pub(super) fn select_key(&self, key: &IdempotencyKey) -> String {
        format!(
            "SELECT pg_catalog.encode(fingerprint, 'hex'), outcome, \
             pg_catalog.encode(body, 'hex'), status, token, lease_until, completed_at, \
             expires_at, {NOW} FROM {} WHERE {}",
            self.tables().keys,
            self.key_is(key)
        )
    }

    /// The conditions under which a row may be taken over by this claim; as [`KeyRow::standing`].
    pub(super) fn is_free(&self, claim: &Claim) -> String {
        format!(
            "(outcome IS NULL AND token <> 0 AND lease_until <= {NOW} AND fingerprint = {} \
             OR outcome IS NOT NULL AND expires_at <= {NOW})",
            literal::bytes(claim.fingerprint().as_bytes())
        )
    }

    /// The number of the advisory lock that whoever claims this key for this request shares, and
    /// that tells, while the row itself can't be seen, which request the claim is for.
    pub(super) fn claim_lock(&self, claim: &Claim) -> i64 {
        let mut hash = Sha256::new();
        hash.update(b"exactly-once/postgres/claim/1");
        for part in [
            self.tables().schema.as_bytes(),
            exactly_once_core::Store::namespace(self)
                .as_str()
                .as_bytes(),
            claim.key().as_str().as_bytes(),
            claim.fingerprint().as_bytes(),
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        digest[..8]
            .iter()
            .fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
    }
}

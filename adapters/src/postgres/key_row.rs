//! A row of the table of keys, as every key operation reads it.

use std::time::Duration;

use exactly_once_core::{
    Claim, FencingToken, Fingerprint, IdempotencyKey, Outcome, Receipt, Rejection, Result,
    Retention, Timestamp,
    adapter::rules::keys::{self, KeyRow, RowState, Standing},
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
pub(super) struct Seen {
    pub(super) row: KeyRow,
    pub(super) now: Timestamp,
}

impl Seen {
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
        let moment = |column: usize| number(column).map(Timestamp::from_micros);
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
        // No lease has the token 0.
        let token = Some(number(4)?).filter(|token| *token != 0);
        let token = token.map(FencingToken::new);
        let state = match (outcome, token) {
            (Some(outcome), token) => RowState::Completed {
                outcome,
                token,
                completed_at: moment(6).unwrap_or(Timestamp::from_micros(0)),
                expires_at: moment(7),
            },
            (None, Some(token)) => RowState::Leased {
                token,
                deadline: moment(5)?,
            },
            // A claim commits with its outcome or not at all; only a lease is seen without one.
            (None, None) => RowState::Unsettled,
        };
        let fingerprint = Fingerprint::from_bytes(literal::unhex(text(0)?)?.try_into().ok()?);
        Some(Self {
            row: KeyRow { fingerprint, state },
            now: moment(8)?,
        })
    }

    pub(super) fn standing(self, claim: &Claim) -> Standing {
        keys::standing(Some(self.row), claim, self.now)
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

    /// The conditions under which a row may be taken over by this claim; as [`keys::standing`].
    pub(super) fn is_free(&self, claim: &Claim) -> String {
        format!(
            "(outcome IS NULL AND token <> 0 AND lease_until <= {NOW} AND fingerprint = {} \
             OR outcome IS NOT NULL AND expires_at <= {NOW})",
            literal::bytes(claim.fingerprint().as_bytes())
        )
    }

    /// The number of the advisory lock that a batch shares, from its claims to its end, whose keys it
    /// claims without [`Self::claim_lock`].
    pub(super) fn batch_lock(&self) -> i64 {
        lock_number(
            "exactly-once/postgres/batch/1",
            &[self.tables().schema.as_bytes()],
        )
    }

    /// The number of the advisory lock that each claim of this key for this request shares, and
    /// that says, while the row itself can't be seen, which request the claim is for.
    pub(super) fn claim_lock(&self, claim: &Claim) -> i64 {
        lock_number(
            "exactly-once/postgres/claim/1",
            &[
                self.tables().schema.as_bytes(),
                exactly_once_core::Store::namespace(self)
                    .as_str()
                    .as_bytes(),
                claim.key().as_str().as_bytes(),
                claim.fingerprint().as_bytes(),
            ],
        )
    }
}

fn lock_number(purpose: &str, parts: &[&[u8]]) -> i64 {
    let mut hash = Sha256::new();
    hash.update(purpose);
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    digest
        .iter()
        .take(8)
        .fold(0_i64, |number, byte| (number << 8) | i64::from(*byte))
}

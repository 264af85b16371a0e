//! The stored row of an idempotency key, and what it means to an attempt.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Fingerprint, IdempotencyKey, KeyRecord, KeyState, Namespace,
    Outcome, Receipt, Rejection, Result, Timestamp,
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{error, statement};

/// A key as it is stored.
#[derive(Debug)]
pub(super) struct KeyRow {
    pub(super) fingerprint: Fingerprint,
    pub(super) state: RowState,
}

#[derive(Debug)]
pub(super) enum RowState {
    Leased {
        token: i64,
        deadline: Timestamp,
    },
    Done {
        /// The token of the lease that it was finalized under, if there was one.
        token: Option<i64>,
        outcome: Outcome,
        completed_at: Timestamp,
        expires_at: Option<Timestamp>,
    },
}

/// What a key's row means to an attempt.
#[derive(Debug)]
pub(super) enum Standing {
    /// The attempt may have it.
    Free,
    Done(Outcome),
    Held {
        retry_after: Duration,
    },
    Mismatch,
}

/// Reads a key's row.
pub(super) fn read(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    key: &IdempotencyKey,
) -> Result<Option<KeyRow>> {
    connection
        .prepare_cached(
            "SELECT fingerprint, state, token, deadline, receipt, status, message, completed_at, \
             expires_at FROM exactly_once_key WHERE namespace = ?1 AND key = ?2",
        )
        .and_then(|mut query| {
            query
                .query_row(params![namespace.as_str(), key.as_str()], decode)
                .optional()
        })
        .map_err(statement(operation))?
        .map_or(Ok(None), |row| {
            row.map(Some).ok_or_else(|| unreadable(operation))
        })
}

/// `None` inside for a row that this library can't have written.
fn decode(row: &Row<'_>) -> rusqlite::Result<Option<KeyRow>> {
    let fingerprint: [u8; 32] = row.get(0)?;
    let state: String = row.get(1)?;
    let token: Option<i64> = row.get(2)?;
    let state = if state == "leased" {
        let deadline = Timestamp::from_micros(row.get(3)?);
        token.map(|token| RowState::Leased { token, deadline })
    } else {
        let outcome = if state == "applied" {
            Outcome::Applied(Receipt::from_bytes(row.get::<_, Vec<u8>>(4)?))
        } else {
            Outcome::Rejected(Rejection::from_stored(
                row.get(5)?,
                row.get::<_, String>(6)?,
            ))
        };
        Some(RowState::Done {
            token,
            outcome,
            completed_at: Timestamp::from_micros(row.get(7)?),
            expires_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_micros),
        })
    };
    Ok(state.map(|state| KeyRow {
        fingerprint: Fingerprint::from_bytes(fingerprint),
        state,
    }))
}

fn unreadable(operation: &'static str) -> exactly_once_core::Error {
    error(
        ErrorKind::Configuration,
        operation,
        "a row of exactly_once_key is not as this library writes it: it was changed by hand",
    )
}

impl KeyRow {
    /// Whether its retention has passed, so that it counts as absent.
    pub(super) fn is_expired(&self, now: Timestamp) -> bool {
        matches!(&self.state, RowState::Done { expires_at: Some(end), .. } if *end <= now)
    }

    /// For people on call.
    pub(super) fn into_record(self) -> KeyRecord {
        let state = match self.state {
            RowState::Leased { token, deadline } => KeyState::Leased {
                token: FencingToken::new(token),
                deadline,
            },
            RowState::Done {
                outcome,
                completed_at,
                expires_at,
                ..
            } => KeyState::Completed {
                outcome,
                completed_at,
                expires_at,
            },
        };
        KeyRecord::new(self.fingerprint, state)
    }
}

/// What the row means to an attempt at the claim. The fingerprint is compared in every state that
/// is still in force.
pub(super) fn standing(row: Option<KeyRow>, fingerprint: &Fingerprint, now: Timestamp) -> Standing {
    let Some(row) = row.filter(|row| !row.is_expired(now)) else {
        return Standing::Free;
    };
    match row.state {
        _ if row.fingerprint != *fingerprint => Standing::Mismatch,
        RowState::Leased { deadline, .. } if deadline <= now => Standing::Free,
        RowState::Leased { deadline, .. } => Standing::Held {
            retry_after: deadline.since(now),
        },
        RowState::Done { outcome, .. } => Standing::Done(outcome),
    }
}

/// A key that is over, and how.
pub(super) struct KeyDone<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) claim: &'a Claim,
    /// Of the lease that it was finalized under.
    pub(super) token: Option<i64>,
    pub(super) outcome: &'a Outcome,
    pub(super) now: Timestamp,
}

const INSERT: &str = "INSERT INTO exactly_once_key (namespace, key, fingerprint, state, token, \
     receipt, status, message, completed_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
     ?10) ON CONFLICT DO NOTHING";

const WRITE: &str = "INSERT INTO exactly_once_key (namespace, key, fingerprint, state, token, \
     receipt, status, message, completed_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
     ?10) ON CONFLICT DO UPDATE SET fingerprint = ?3, state = ?4, token = ?5, deadline = NULL, \
     receipt = ?6, status = ?7, message = ?8, completed_at = ?9, expires_at = ?10";

impl KeyDone<'_> {
    /// Writes the outcome, in place of whatever was there.
    pub(super) fn write(&self, connection: &Connection, operation: &'static str) -> Result<()> {
        self.put(connection, operation, WRITE).map(drop)
    }

    /// Writes the outcome unless the key has a row, in whatever state. Says whether it did.
    pub(super) fn insert(&self, connection: &Connection, operation: &'static str) -> Result<bool> {
        let written = self.put(connection, operation, INSERT)?;
        Ok(written > 0)
    }

    fn put(&self, connection: &Connection, operation: &'static str, sql: &str) -> Result<usize> {
        let (state, receipt, status, message) = match self.outcome {
            Outcome::Applied(receipt) => ("applied", Some(receipt.as_bytes()), None, None),
            Outcome::Rejected(no) => (
                "rejected",
                None,
                Some(no.stored_status()),
                Some(no.message()),
            ),
        };
        let expires_at = self.claim.retention().expires_at(self.now);
        connection
            .prepare_cached(sql)
            .and_then(|mut insert| {
                insert.execute(params![
                    self.namespace.as_str(),
                    self.claim.key().as_str(),
                    self.claim.fingerprint().as_bytes(),
                    state,
                    self.token,
                    receipt,
                    status,
                    message,
                    self.now.as_micros(),
                    expires_at.map(Timestamp::as_micros),
                ])
            })
            .map_err(statement(operation))
    }
}

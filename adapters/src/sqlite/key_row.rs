//! The stored row of an idempotency key.

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Fingerprint, IdempotencyKey, Namespace, Outcome, Receipt,
    Rejection, Result, Timestamp,
    adapter::rules::keys::{KeyRow, RowState},
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{error, statement};

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
    let token = row.get::<_, Option<i64>>(2)?.map(FencingToken::new);
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
        Some(RowState::Completed {
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

/// A key that is completed, and how.
pub(super) struct KeyDone<'a> {
    pub(super) namespace: &'a Namespace,
    pub(super) claim: &'a Claim,
    /// Of the lease that it was finalized under.
    pub(super) token: Option<FencingToken>,
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

    /// Writes another receipt into the row that is there.
    pub(super) fn update_receipt(
        &self,
        connection: &Connection,
        operation: &'static str,
        receipt: &Receipt,
    ) -> Result<()> {
        connection
            .prepare_cached(
                "UPDATE exactly_once_key SET receipt = ?3 WHERE namespace = ?1 AND key = ?2",
            )
            .and_then(|mut update| {
                update.execute(params![
                    self.namespace.as_str(),
                    self.claim.key().as_str(),
                    receipt.as_bytes(),
                ])
            })
            .map_err(statement(operation))
            .map(drop)
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
                    self.token.map(FencingToken::get),
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

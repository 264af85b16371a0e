//! A key's row, as it is stored. What it means is decided by the core's rules.

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Fingerprint, Outcome, Receipt, Rejection, Result, Timestamp,
    adapter::{
        refusals,
        rules::keys::{KeyRow, RowState},
    },
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{BACKEND, During, error},
    schema::{ENDS, KEYS, KeyValue},
};

const LEASED: u8 = 0;
const APPLIED: u8 = 1;
const REJECTED: u8 = 2;

/// Stored where no lease has completed the key: none has this token.
const NO_TOKEN: i64 = 0;

/// The row of a key that is completed now.
pub(crate) fn completed(
    claim: &Claim,
    token: Option<FencingToken>,
    outcome: Outcome,
    now: Timestamp,
) -> KeyRow {
    let state = RowState::Completed {
        outcome,
        token,
        completed_at: now,
        expires_at: claim.retention().expires_at(now),
    };
    KeyRow {
        fingerprint: *claim.fingerprint(),
        state,
    }
}

/// Reads a key's row, also one whose retention has passed: the rules say what it means.
pub(crate) fn read(
    keys: &impl ReadableTable<(&'static str, &'static str), KeyValue>,
    namespace: &str,
    key: &str,
    operation: &'static str,
) -> Result<Option<KeyRow>> {
    let Some(stored) = keys.get((namespace, key)).during(operation)? else {
        return Ok(None);
    };
    let (fingerprint, state, token, at, end, status, body) = stored.value();
    let at = Timestamp::from_micros(at);
    let holder = FencingToken::new(token);
    let completed = |outcome| RowState::Completed {
        outcome,
        token: (token != NO_TOKEN).then_some(holder),
        completed_at: at,
        expires_at: end.map(Timestamp::from_micros),
    };
    let state = match state {
        LEASED => RowState::Leased {
            token: holder,
            deadline: at,
        },
        APPLIED => completed(Outcome::Applied(Receipt::from_bytes(body.to_vec()))),
        REJECTED => {
            let message = String::from_utf8_lossy(body);
            completed(Outcome::Rejected(Rejection::from_stored(status, message)))
        }
        other => {
            let message = format!("a row has the state {other}, which this version can't read");
            return Err(error(ErrorKind::Configuration, operation, &message));
        }
    };
    let fingerprint = Fingerprint::from_bytes(*fingerprint);
    Ok(Some(KeyRow { fingerprint, state }))
}

/// Writes the row over the one that may be there.
pub(crate) fn write(
    row: &KeyRow,
    tx: &WriteTransaction,
    namespace: &str,
    key: &str,
    operation: &'static str,
) -> Result<()> {
    remove(tx, namespace, key, operation)?;
    let (state, token, at, end, status, body) = match &row.state {
        RowState::Leased { token, deadline } => (LEASED, token.get(), deadline, None, 0, &[][..]),
        RowState::Completed {
            outcome,
            token,
            completed_at,
            expires_at,
        } => {
            let (state, status, body) = match outcome {
                Outcome::Applied(receipt) => (APPLIED, 0, receipt.as_bytes()),
                Outcome::Rejected(rejection) => {
                    let status = rejection.stored_status();
                    (REJECTED, status, rejection.message().as_bytes())
                }
            };
            let token = token.map_or(NO_TOKEN, FencingToken::get);
            let end = expires_at.map(Timestamp::as_micros);
            (state, token, completed_at, end, status, body)
        }
        RowState::Unsettled => return Err(refusals::unsettled(operation, BACKEND)),
    };
    let fingerprint = row.fingerprint.as_bytes();
    let row = (fingerprint, state, token, at.as_micros(), end, status, body);
    tx.open_table(KEYS)
        .during(operation)?
        .insert((namespace, key), row)
        .during(operation)?;
    if let Some(end) = end {
        let mut ends = tx.open_table(ENDS).during(operation)?;
        ends.insert((namespace, end, key), ()).during(operation)?;
    }
    Ok(())
}

/// Removes the row and what points at it.
pub(crate) fn remove(
    tx: &WriteTransaction,
    namespace: &str,
    key: &str,
    operation: &'static str,
) -> Result<()> {
    let mut keys = tx.open_table(KEYS).during(operation)?;
    let end = match keys.remove((namespace, key)).during(operation)? {
        Some(stored) => stored.value().4,
        None => None,
    };
    if let Some(end) = end {
        let mut ends = tx.open_table(ENDS).during(operation)?;
        ends.remove((namespace, end, key)).during(operation)?;
    }
    Ok(())
}

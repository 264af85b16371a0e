//! A key's row: what it says, and where the key stands for somebody who wants it.

use std::time::Duration;

use exactly_once_core::{
    Claim, ErrorKind, FencingToken, Fingerprint, Outcome, Receipt, Rejection, Result, Timestamp,
};
use redb::{ReadableTable, WriteTransaction};

use crate::{
    error::{During, error},
    schema::{ENDS, KEYS, KeyValue},
};

const LEASED: u8 = 0;
const APPLIED: u8 = 1;
const REJECTED: u8 = 2;

/// No lease has this token.
pub(crate) const NO_TOKEN: FencingToken = FencingToken::new(0);

/// A key that is leased or completed.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) fingerprint: Fingerprint,
    /// The lease that holds it or that completed it.
    pub(crate) token: FencingToken,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    Leased {
        deadline: Timestamp,
    },
    Completed {
        outcome: Outcome,
        at: Timestamp,
        end: Option<Timestamp>,
    },
}

/// Where a key stands for somebody who wants it.
pub(crate) enum Standing {
    Free,
    Completed(Outcome),
    InProgress(Duration),
    Mismatch,
}

impl KeyRow {
    /// The row of a key that is completed now.
    pub(crate) fn completed(
        claim: &Claim,
        token: FencingToken,
        outcome: Outcome,
        now: Timestamp,
    ) -> Self {
        let end = claim.retention().expires_at(now);
        let state = State::Completed {
            outcome,
            at: now,
            end,
        };
        Self {
            fingerprint: *claim.fingerprint(),
            token,
            state,
        }
    }

    /// Reads a key's row; `None` if there is none or its retention is over.
    pub(crate) fn read(
        keys: &impl ReadableTable<(&'static str, &'static str), KeyValue>,
        namespace: &str,
        key: &str,
        now: Timestamp,
        operation: &'static str,
    ) -> Result<Option<Self>> {
        let Some(row) = Self::read_any(keys, namespace, key, operation)? else {
            return Ok(None);
        };
        let over = row.end().is_some_and(|end| now >= end);
        Ok((!over).then_some(row))
    }

    fn read_any(
        keys: &impl ReadableTable<(&'static str, &'static str), KeyValue>,
        namespace: &str,
        key: &str,
        operation: &'static str,
    ) -> Result<Option<Self>> {
        let Some(stored) = keys.get((namespace, key)).during(operation)? else {
            return Ok(None);
        };
        let (fingerprint, state, token, at, end, status, body) = stored.value();
        let at = Timestamp::from_micros(at);
        let end = end.map(Timestamp::from_micros);
        let state = match state {
            LEASED => State::Leased { deadline: at },
            APPLIED => {
                let outcome = Outcome::Applied(Receipt::from_bytes(body.to_vec()));
                State::Completed { outcome, at, end }
            }
            REJECTED => {
                let message = String::from_utf8_lossy(body);
                let outcome = Outcome::Rejected(Rejection::from_stored(status, message));
                State::Completed { outcome, at, end }
            }
            other => {
                let message = format!("a row has the state {other}, which this version can't read");
                return Err(error(ErrorKind::Configuration, operation, &message));
            }
        };
        let fingerprint = Fingerprint::from_bytes(*fingerprint);
        Ok(Some(Self {
            fingerprint,
            token: FencingToken::new(token),
            state,
        }))
    }

    /// From when on the row is as good as absent.
    fn end(&self) -> Option<Timestamp> {
        match self.state {
            State::Completed { end, .. } => end,
            State::Leased { .. } => None,
        }
    }

    /// Writes the row over the one that may be there.
    pub(crate) fn write(
        &self,
        tx: &WriteTransaction,
        namespace: &str,
        key: &str,
        operation: &'static str,
    ) -> Result<()> {
        Self::remove(tx, namespace, key, operation)?;
        let end = self.end().map(Timestamp::as_micros);
        let (state, at, status, body) = match &self.state {
            State::Leased { deadline } => (LEASED, deadline, 0, &[][..]),
            State::Completed {
                outcome: Outcome::Applied(receipt),
                at,
                ..
            } => (APPLIED, at, 0, receipt.as_bytes()),
            State::Completed {
                outcome: Outcome::Rejected(rejection),
                at,
                ..
            } => (
                REJECTED,
                at,
                rejection.stored_status(),
                rejection.message().as_bytes(),
            ),
        };
        let (fingerprint, token) = (self.fingerprint.as_bytes(), self.token.get());
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
}

/// The one place that says who may have a key. The fingerprint is compared in every state.
pub(crate) fn standing(row: Option<KeyRow>, claim: &Claim, now: Timestamp) -> Standing {
    match row {
        None => Standing::Free,
        Some(row) if row.fingerprint != *claim.fingerprint() => Standing::Mismatch,
        Some(row) => match row.state {
            State::Completed { outcome, .. } => Standing::Completed(outcome),
            State::Leased { deadline } if now < deadline => {
                Standing::InProgress(deadline.since(now))
            }
            State::Leased { .. } => Standing::Free,
        },
    }
}

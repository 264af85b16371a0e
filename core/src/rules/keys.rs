//! What the row of a key means: to a claim, to the holder of a lease, to people on call.
//!
//! Two rules hold in all of them. A row whose retention has passed counts as absent, also while it is
//! still there. And the fingerprint is compared before anything else.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    idempotency::{Claim, Claimed, KeyRecord, KeyState, Outcome},
    lease::{FencingToken, Leased},
    refusals,
    time::{Timestamp, check_duration},
};

/// A key as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The request that the key is used for.
    pub fingerprint: Fingerprint,
    /// Where it stands.
    pub state: RowState,
}

/// Where a key stands, as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowState {
    /// A lease holds it, or held it and was neither finalized nor released.
    Leased {
        /// The token of the holder.
        token: FencingToken,
        /// The end of the lease; at this very moment it does not hold any more.
        deadline: Timestamp,
    },
    /// It is done.
    Completed {
        /// How it ended.
        outcome: Outcome,
        /// The token of the lease that it was finalized with, if there was one.
        token: Option<FencingToken>,
        /// When.
        completed_at: Timestamp,
        /// The end of its retention; at this very moment it is not remembered any more. `None` is
        /// never.
        expires_at: Option<Timestamp>,
    },
    /// A claim was committed without an outcome, because the work ended the transaction itself.
    Unsettled,
}

impl KeyRow {
    /// Whether its retention has passed, so that it counts as absent.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.state, RowState::Completed { expires_at: Some(end), .. } if end <= now)
    }

    /// How long its lease holds the key from now on; `None` where none is in force.
    fn held_for(&self, now: Timestamp) -> Option<Duration> {
        match self.state {
            RowState::Leased { deadline, .. } if now < deadline => Some(deadline.since(now)),
            _ => None,
        }
    }
}

/// What a key's row means to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// The claim may have it: it is unknown, its retention has passed, or its lease has ended.
    Free,
    /// It is done.
    Completed(Outcome),
    /// Another attempt holds it.
    InProgress {
        /// When a retry may find it free.
        retry_after: Duration,
    },
    /// It is another request's.
    Mismatch,
    /// What an earlier attempt did is committed, and no outcome is known.
    Unsettled,
}

/// What the row means to a claim.
pub fn standing(row: Option<KeyRow>, claim: &Claim, now: Timestamp) -> Standing {
    let Some(row) = row.filter(|row| !row.is_expired(now)) else {
        return Standing::Free;
    };
    if row.fingerprint != *claim.fingerprint() {
        return Standing::Mismatch;
    }
    if let Some(retry_after) = row.held_for(now) {
        return Standing::InProgress { retry_after };
    }
    match row.state {
        RowState::Leased { .. } => Standing::Free,
        RowState::Completed { outcome, .. } => Standing::Completed(outcome),
        RowState::Unsettled => Standing::Unsettled,
    }
}

/// What another attempt's open transaction means to a claim, where the store knows which request it
/// is for.
pub fn rival(request: &Fingerprint, claim: &Claim, retry_after: Duration) -> Standing {
    if request == claim.fingerprint() {
        Standing::InProgress { retry_after }
    } else {
        Standing::Mismatch
    }
}

impl Standing {
    /// The answer to a claim; `None` where the key may be taken.
    ///
    /// # Errors
    /// [Invalid](ErrorKind::Invalid) for a key that is [unsettled](Self::Unsettled).
    pub fn claimed<Tx>(
        self,
        operation: &'static str,
        store: &'static str,
    ) -> Result<Option<Claimed<Tx>>> {
        Ok(Some(match self {
            Self::Free => return Ok(None),
            Self::Completed(outcome) => Claimed::Completed(outcome),
            Self::InProgress { retry_after } => Claimed::InProgress { retry_after },
            Self::Mismatch => Claimed::Mismatch,
            Self::Unsettled => return Err(refusals::unsettled(operation, store)),
        }))
    }

    /// The answer to a request for a lease; `None` where it may be granted.
    ///
    /// # Errors
    /// As [`Self::claimed`].
    pub fn leased(self, operation: &'static str, store: &'static str) -> Result<Option<Leased>> {
        Ok(Some(match self {
            Self::Free => return Ok(None),
            Self::Completed(outcome) => Leased::Completed(outcome),
            Self::InProgress { retry_after } => Leased::InProgress { retry_after },
            Self::Mismatch => Leased::Mismatch,
            Self::Unsettled => return Err(refusals::unsettled(operation, store)),
        }))
    }

    /// The answer where claim and effect are one call: the outcome of what is done, `None` where the
    /// key may be taken.
    ///
    /// # Errors
    /// The refusal of all else.
    pub fn outcome(self, operation: &'static str, store: &'static str) -> Result<Option<Outcome>> {
        match self {
            Self::Free => Ok(None),
            Self::Completed(outcome) => Ok(Some(outcome)),
            Self::InProgress { retry_after } => {
                Err(refusals::in_progress(retry_after, operation, store))
            }
            Self::Mismatch => Err(refusals::mismatch(operation, store)),
            Self::Unsettled => Err(refusals::unsettled(operation, store)),
        }
    }
}

/// What is known of a key; `None` where nothing is remembered.
#[must_use]
pub fn record(row: Option<KeyRow>, now: Timestamp) -> Option<KeyRecord> {
    let row = row.filter(|row| !row.is_expired(now))?;
    let state = match row.state {
        RowState::Leased { token, deadline } => KeyState::Leased { token, deadline },
        RowState::Completed {
            outcome,
            completed_at,
            expires_at,
            ..
        } => KeyState::Completed {
            outcome,
            completed_at,
            expires_at,
        },
        // No lease ever has this token.
        RowState::Unsettled => KeyState::Leased {
            token: FencingToken::new(0),
            deadline: Timestamp::from_micros(0),
        },
    };
    Some(KeyRecord::new(row.fingerprint, state))
}

/// Whether there is something to forget.
///
/// # Errors
/// [In progress](ErrorKind::InProgress) where a lease in force holds the key.
pub fn forget(row: Option<&KeyRow>, now: Timestamp, store: &'static str) -> Result<bool> {
    let Some(row) = row.filter(|row| !row.is_expired(now)) else {
        return Ok(false);
    };
    match row.held_for(now) {
        Some(retry_after) => Err(refusals::in_progress(retry_after, "forget", store)),
        // A lease that has ended stays: the outside effect may have happened.
        None => Ok(!matches!(row.state, RowState::Leased { .. })),
    }
}

/// The end of a lease of `ttl` from now on.
///
/// # Errors
/// [Invalid](ErrorKind::Invalid) for a `ttl` of zero or over 100 years.
pub fn deadline(
    now: Timestamp,
    ttl: Duration,
    operation: &'static str,
    store: &'static str,
) -> Result<Timestamp> {
    check_duration("lease", ttl)?;
    now.checked_add(ttl).ok_or_else(|| {
        Error::new(ErrorKind::Invalid, operation, store)
            .with_message("the lease would end after the end of time")
    })
}

/// What the row means to the one that holds this token.
enum Holding<'a> {
    Absent,
    Current,
    Completed(&'a Outcome),
    Lost,
}

fn holding<'a>(
    row: Option<&'a KeyRow>,
    claim: &Claim,
    token: FencingToken,
    now: Timestamp,
    operation: &'static str,
    store: &'static str,
) -> Result<Holding<'a>> {
    let Some(row) = row.filter(|row| !row.is_expired(now)) else {
        return Ok(Holding::Absent);
    };
    if row.fingerprint != *claim.fingerprint() {
        return Err(refusals::mismatch(operation, store));
    }
    Ok(match &row.state {
        RowState::Leased { token: current, .. } if *current == token => Holding::Current,
        RowState::Completed {
            token: Some(by),
            outcome,
            ..
        } if *by == token => Holding::Completed(outcome),
        _ => Holding::Lost,
    })
}

/// Whether the lease may be extended. One that has ended may, as long as no other attempt took the key.
///
/// # Errors
/// [Mismatch](ErrorKind::Mismatch), [fenced](ErrorKind::Fenced).
pub fn renew(
    row: Option<&KeyRow>,
    claim: &Claim,
    token: FencingToken,
    now: Timestamp,
    store: &'static str,
) -> Result<()> {
    match holding(row, claim, token, now, "renew", store)? {
        Holding::Current => Ok(()),
        _ => Err(refusals::fenced("renew", store)),
    }
}

/// What finalizing does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finalize {
    /// The outcome is to be recorded, with the token.
    Record,
    /// It stands already: the same call came before.
    Stands,
}

/// What finalizing does.
///
/// # Errors
/// [Mismatch](ErrorKind::Mismatch), [fenced](ErrorKind::Fenced), and a
/// [conflict](ErrorKind::Conflict) with another outcome.
pub fn finalize(
    row: Option<&KeyRow>,
    claim: &Claim,
    token: FencingToken,
    outcome: &Outcome,
    now: Timestamp,
    store: &'static str,
) -> Result<Finalize> {
    const OPERATION: &str = "finalize";
    match holding(row, claim, token, now, OPERATION, store)? {
        Holding::Current => Ok(Finalize::Record),
        Holding::Completed(first) if first == outcome => Ok(Finalize::Stands),
        Holding::Completed(_) => Err(refusals::another_outcome(OPERATION, store)),
        Holding::Absent | Holding::Lost => Err(refusals::fenced(OPERATION, store)),
    }
}

/// Whether there is something to remove: a lease that was released before is none of anybody.
///
/// # Errors
/// [Mismatch](ErrorKind::Mismatch), [fenced](ErrorKind::Fenced).
pub fn release(
    row: Option<&KeyRow>,
    claim: &Claim,
    token: FencingToken,
    now: Timestamp,
    store: &'static str,
) -> Result<bool> {
    match holding(row, claim, token, now, "release", store)? {
        Holding::Absent => Ok(false),
        Holding::Current => Ok(true),
        Holding::Completed(_) | Holding::Lost => Err(refusals::fenced("release", store)),
    }
}

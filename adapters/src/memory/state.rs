//! All data, as plain maps behind one lock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use exactly_once_core::{
    AccountId, AccountState, Change, Decision, Dispute, FencingToken, Fingerprint, IdempotencyKey,
    Namespace, Participation, Settlement, Timestamp, TransactionDigest,
    adapter::{
        Refused,
        rules::{keys::KeyRow, participants},
    },
};

use super::transaction::Writes;

/// Everything in the store.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The user's own rows: one database for all namespaces, as a table of the user's would be.
    pub(super) rows: BTreeMap<String, Row>,
    pub(super) spaces: BTreeMap<Namespace, Space>,
    /// The last fencing token given, of any key: so tokens only grow, whatever is removed.
    pub(super) last_token: i64,
    /// Transactions that are open.
    pub(super) open: u64,
}

/// One row of the user's. A removed one stays, so that its version never comes back.
#[derive(Debug, Default, Clone)]
pub(super) struct Row {
    pub(super) value: Option<Bytes>,
    pub(super) version: u64,
}

/// What belongs to one namespace.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) keys: BTreeMap<IdempotencyKey, KeyRow>,
    /// Keys that an open transaction has claimed, and for which request.
    pub(super) claims: BTreeMap<IdempotencyKey, Fingerprint>,
    pub(super) accounts: BTreeMap<AccountId, Account>,
    pub(super) operations: BTreeMap<IdempotencyKey, Operation>,
    pub(super) participants: BTreeMap<TransactionDigest, Participant>,
    /// Those of them that are prepared.
    pub(super) in_doubt: BTreeSet<TransactionDigest>,
    pub(super) decisions: BTreeMap<TransactionDigest, Decided>,
}

#[derive(Debug, Clone)]
pub(super) struct Account {
    pub(super) state: AccountState,
    pub(super) history: Vec<Change>,
}

/// A balance operation that was applied or refused: what every replay is answered with.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) fingerprint: Fingerprint,
    pub(super) ended: std::result::Result<Vec<Change>, Refused>,
}

/// A transaction as one participant knows it.
#[derive(Debug)]
pub(super) struct Participant {
    pub(super) participation: Participation,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// An open transaction holds the marker; no other caller sees it.
    Working,
    /// In doubt; the writes are kept, and what they touch is reserved.
    Prepared {
        at: Timestamp,
        staged: Writes,
    },
    Committed,
    RolledBack,
}

impl Stage {
    /// For the rules.
    pub(super) fn known(&self) -> participants::Stage {
        match self {
            Self::Working => participants::Stage::Working,
            Self::Prepared { .. } => participants::Stage::Prepared,
            Self::Committed => participants::Stage::Committed,
            Self::RolledBack => participants::Stage::RolledBack,
        }
    }
}

#[derive(Debug)]
pub(super) struct Decided {
    pub(super) participation: Participation,
    pub(super) decision: Decision,
    pub(super) finished: bool,
    pub(super) disputes: Vec<Dispute>,
    pub(super) settled: Option<Settlement>,
}

impl State {
    pub(super) fn space(&mut self, namespace: &Namespace) -> &mut Space {
        self.spaces.entry(namespace.clone()).or_default()
    }

    pub(super) fn next_token(&mut self) -> FencingToken {
        self.last_token += 1;
        FencingToken::new(self.last_token)
    }

    /// Everything that is staged, and by which transaction.
    pub(super) fn staged(&self) -> impl Iterator<Item = (&Namespace, &TransactionDigest, &Writes)> {
        self.spaces.iter().flat_map(|(namespace, space)| {
            space.in_doubt.iter().filter_map(move |digest| {
                match space.participants.get(digest).map(|known| &known.stage) {
                    Some(Stage::Prepared { staged, .. }) => Some((namespace, digest, staged)),
                    _ => None,
                }
            })
        })
    }
}

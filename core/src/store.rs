//! What every store has: a name, a namespace, a clock, and a plain word about what it can do.

use std::future::Future;

use crate::{
    error::Result,
    identity::StoreIdentity,
    names::{MAX_NAME_BYTES, Namespace},
    place::Place,
    receipt::MAX_RECEIPT_BYTES,
    time::Timestamp,
};

/// What an acknowledged write survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Durability {
    /// Gone with the process: in memory.
    None,
    /// Survives a killed process, not a power cut.
    Process,
    /// Survives a power cut: written through to the disk before it is acknowledged.
    Power,
}

/// How a store takes part in a two-phase commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TwoPhase {
    /// Not at all.
    None,
    /// By the database's own prepared transactions.
    Native,
    /// Staged: the effects are stored with reservations and applied at commit.
    Staged {
        /// Whether writers that don't use this library meet the reservations too. Where they
        /// don't, a foreign write can make a commit *heuristic*.
        stops_foreign_writers: bool,
    },
}

/// When a store notices that a key is already taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimMode {
    /// The key is claimed before the work runs; a rival waits, or gets *in progress*.
    First,
    /// The key is written with the commit: rivals may start the work, but only one commits.
    Optimistic,
}

/// What a store declares about itself; the conformance suite holds it to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The largest receipt, in bytes.
    pub max_receipt_bytes: usize,
    /// The longest name, in bytes; never below [`MAX_NAME_BYTES`](crate::MAX_NAME_BYTES).
    pub max_name_bytes: usize,
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// How it takes part in a two-phase commit.
    pub two_phase: TwoPhase,
    /// Where a setting of the server has two-phase commit off: the setting, and the commands that
    /// switch it on. `None` where it is on, or where the backend has none.
    pub two_phase_off: Option<&'static str>,
    /// Whether it commits its work and the decision in one, as the last participant of a two-phase
    /// commit whose register it holds ([`LastResource`](crate::LastResource)).
    pub last_participant: bool,
    /// When a rival for a key is noticed.
    pub claim: ClaimMode,
    /// Whether time is the server's own. Without it (embedded stores) it is this machine's.
    pub server_time: bool,
    /// Whether all accounts of a transfer may be anywhere. Not so on a cluster.
    pub transfers_across_shards: bool,
}

impl Capabilities {
    /// The capabilities of a store with this durability and this two-phase commit; everything else
    /// at its default: names of 255 bytes, receipts of 1 MiB, no last participant, claim first, server
    /// time, transfers between any accounts.
    #[must_use]
    pub const fn new(durability: Durability, two_phase: TwoPhase) -> Self {
        Self {
            max_receipt_bytes: MAX_RECEIPT_BYTES,
            max_name_bytes: MAX_NAME_BYTES,
            durability,
            two_phase,
            two_phase_off: None,
            last_participant: false,
            claim: ClaimMode::First,
            server_time: true,
            transfers_across_shards: true,
        }
    }

    /// With another limit for receipts.
    #[must_use]
    pub const fn with_max_receipt_bytes(mut self, bytes: usize) -> Self {
        self.max_receipt_bytes = bytes;
        self
    }

    /// With two-phase commit switched off by the server, and what switches it on.
    #[must_use]
    pub const fn with_two_phase_off(mut self, remedy: &'static str) -> Self {
        self.two_phase = TwoPhase::None;
        self.two_phase_off = Some(remedy);
        self
    }

    /// With or without [`LastResource`](crate::LastResource).
    #[must_use]
    pub const fn with_last_participant(mut self, last: bool) -> Self {
        self.last_participant = last;
        self
    }

    /// With another claim mode.
    #[must_use]
    pub const fn with_claim(mut self, claim: ClaimMode) -> Self {
        self.claim = claim;
        self
    }

    /// With this machine's clock instead of a server's.
    #[must_use]
    pub const fn with_server_time(mut self, server_time: bool) -> Self {
        self.server_time = server_time;
        self
    }

    /// With or without transfers between any two accounts.
    #[must_use]
    pub const fn with_transfers_across_shards(mut self, anywhere: bool) -> Self {
        self.transfers_across_shards = anywhere;
        self
    }
}

/// A handle on a store, bound to one [`Namespace`]. Cheap to clone; clones share connections.
///
/// # Contract
/// - Two handles on the same data and namespace, in one process or in many, act as one store.
///   Otherwise a second instance of the service would double every effect.
/// - Nothing of one namespace is ever seen or changed through another.
pub trait Store: Clone + Send + Sync + 'static {
    /// The backend in one word, as `"postgres"`; used in errors, spans and metrics.
    fn backend(&self) -> &'static str;

    /// Where the data are; known since the handle was opened. What must hold is at [`Place::new`].
    fn place(&self) -> Place;

    /// The namespace that this handle is bound to.
    fn namespace(&self) -> &Namespace;

    /// A handle on the same data, bound to another namespace.
    #[must_use]
    fn with_namespace(&self, namespace: Namespace) -> Self;

    /// What this store can do. A setting of the server that was off is read again by [`Self::now`]:
    /// a restart of the server may have switched it on since.
    fn capabilities(&self) -> Capabilities;

    /// The store's clock, the one that deadlines and retention are compared with.
    ///
    /// # Errors
    /// Retryable kinds only, and [configuration](crate::ErrorKind::Configuration).
    fn now(&self) -> impl Future<Output = Result<Timestamp>> + Send;

    /// The identity of the data: random, made with the tables, and kept by a backup, a restore, a move
    /// and a rename. A handle may read it once and keep it.
    ///
    /// To ensure correctness, two handles report the same identity exactly if one was opened on the
    /// data of the other, or on a copy of them. A register that reports the identity of another one
    /// would be asked about transactions that it never saw, and they would be rolled back.
    ///
    /// # Errors
    /// Retryable kinds, and [configuration](crate::ErrorKind::Configuration) where none is stored.
    fn identity(&self) -> impl Future<Output = Result<StoreIdentity>> + Send;

    /// Gives the data a new identity, and returns it: for a copy that was restored beside its
    /// original and goes on as a store of its own. Other handles keep the old one until they are
    /// opened again, so stop the programs that use the copy first.
    ///
    /// What is in doubt in the copy names the register of the original; no sweeper of the copy
    /// resolves it any more.
    ///
    /// # Errors
    /// [Configuration](crate::ErrorKind::Configuration) where the right is missing; retryable kinds.
    fn adopt(&self) -> impl Future<Output = Result<StoreIdentity>> + Send;

    /// Ends this handle and its clones: what is in flight ends or rolls back, connections close,
    /// and later calls are refused as [unavailable](crate::ErrorKind::Unavailable).
    ///
    /// # Errors
    /// Where the store could not be left in order. Calling it twice is fine.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

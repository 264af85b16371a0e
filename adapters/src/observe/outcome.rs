//! What an answer is called in `outcome`: one stable word.

use exactly_once_core::{
    AccountState, Applied, BegunPrepared, Claimed, Decision, HistoryPage, InDoubtPage, KeyRecord,
    Lease, Leased, OneShotDone, PreparedOneShot, PreparedStatus, RegisterEntry, RegisterPage,
    Settled, Settlement, Timestamp, Transferred,
};

/// An answer that has a word.
pub(super) trait Outcome {
    /// The word.
    fn outcome(&self) -> &'static str {
        "ok"
    }

    /// What the answer tells of the store's state.
    fn gauges(&self, _backend: &'static str) {}
}

macro_rules! plain {
    ($($type:ty),*) => {$(impl Outcome for $type {})*};
}
plain!(
    (),
    u64,
    Settlement,
    Timestamp,
    Lease,
    HistoryPage,
    RegisterPage
);

/// A transaction that was begun.
pub(super) struct Begun<Tx>(pub(super) Tx);
impl<Tx> Outcome for Begun<Tx> {}

impl Outcome for bool {
    fn outcome(&self) -> &'static str {
        if *self { "removed" } else { "absent" }
    }
}

macro_rules! optional {
    ($($type:ty),*) => {$(
        impl Outcome for Option<$type> {
            fn outcome(&self) -> &'static str {
                if self.is_some() { "found" } else { "absent" }
            }
        }
    )*};
}
optional!(KeyRecord, AccountState, RegisterEntry);

impl<Tx> Outcome for Claimed<Tx> {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Fresh(_) => "fresh",
            Self::Completed(_) => "replayed",
            Self::InProgress { .. } => "in_progress",
            Self::Mismatch => "mismatch",
        }
    }
}

impl Outcome for Settled {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Superseded(_) => "superseded",
        }
    }
}

impl Outcome for Leased {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Granted(_) => "granted",
            Self::Completed(_) => "replayed",
            Self::InProgress { .. } => "in_progress",
            Self::Mismatch => "mismatch",
        }
    }
}

fn applied(replayed: bool) -> &'static str {
    if replayed { "replayed" } else { "applied" }
}

impl Outcome for OneShotDone {
    fn outcome(&self) -> &'static str {
        applied(self.replayed)
    }
}

impl Outcome for Applied {
    fn outcome(&self) -> &'static str {
        applied(self.replayed)
    }
}

impl Outcome for Transferred {
    fn outcome(&self) -> &'static str {
        applied(self.replayed)
    }
}

impl<Tx> Outcome for BegunPrepared<Tx> {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Fresh(_) => "fresh",
            Self::AlreadyPrepared => "already_prepared",
            Self::AlreadyCommitted => "already_committed",
        }
    }
}

impl Outcome for PreparedOneShot {
    fn outcome(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::AlreadyPrepared => "already_prepared",
            Self::AlreadyCommitted => "already_committed",
        }
    }
}

impl Outcome for Option<Decision> {
    fn outcome(&self) -> &'static str {
        self.map_or("found", |decision| decision.as_str())
    }
}

impl Outcome for PreparedStatus {
    fn outcome(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Forgotten => "forgotten",
        }
    }
}

impl Outcome for Decision {
    fn outcome(&self) -> &'static str {
        self.as_str()
    }
}

impl Outcome for InDoubtPage {
    #[cfg(feature = "metrics")]
    fn gauges(&self, backend: &'static str) {
        let oldest = self
            .entries
            .iter()
            .map(|entry| entry.age)
            .max()
            .unwrap_or_default();
        // A page holds fewer entries than f64 can count.
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        metrics::gauge!("exactly_once_in_doubt", "backend" => backend).set(f64::from(count));
        metrics::gauge!("exactly_once_in_doubt_oldest_seconds", "backend" => backend)
            .set(oldest.as_secs_f64());
    }
}

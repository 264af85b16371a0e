//! What an answer is called in `outcome`: one stable word.

use exactly_once_core::{
    AccountState, Applied, BegunPrepared, Claimed, Decision, HistoryPage, InDoubtPage, KeyRecord,
    Lease, Leased, OneShotDone, PreparedOneShot, PreparedStatus, Ran, RegisterEntry, RegisterPage,
    Settled, Settlement, Timestamp, Transferred,
};

/// An answer that has a word.
pub(super) trait Outcome {
    /// The word.
    fn outcome(&self) -> &'static str {
        "ok"
    }
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
    Ran,
    HistoryPage,
    RegisterPage,
    InDoubtPage
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

/// Of a dispute.
impl Outcome for Option<Settlement> {
    fn outcome(&self) -> &'static str {
        if self.is_some() {
            "settled"
        } else {
            "disputed"
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

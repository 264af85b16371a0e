//! Deliberate mistakes in the protocol. Each switches one rule off.

use crate::world::Config;

/// One rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mistake {
    /// The outcome row is not written in the work's transaction.
    NoMarker,
    /// Rollback ends the prepared transaction and leaves nothing.
    RollbackWithoutTombstone,
    /// The tombstone is tried first, and a lock in its way taken for done.
    TombstoneBeforeRollback,
    /// Commit of an unknown transaction is taken for success.
    UnknownOnCommitIsOk,
    /// Status asks for the marker first and then whether it is prepared.
    StatusReadsMarkerFirst,
    /// The clock is checked before the marker is in.
    DeadlineBeforeMarker,
    /// The clock is not checked.
    NoDeadline,
    /// Tombstones and decisions are removed before their time.
    RecordsRemovedEarly,
    /// Nothing, past its time, is read as rolled back.
    AbsentIsRolledBack,
    /// The sweeper rolls back on its own.
    SweeperWithoutRegister,
    /// The sweeper commits what it finds prepared.
    SweeperCommits,
    /// The sweeper acts on what it listed, without looking again.
    SweeperDoesNotRecheck,
    /// The sweeper rolls back only where it finds something prepared.
    SweeperLeavesNoTombstone,
    /// The sweeper calls a commit finished that somebody knows nothing of.
    SweeperFinishesALoss,
    /// The register keeps the last value instead of the first.
    RegisterLastWriterWins,
    /// The register takes a commit at any time.
    RegisterTakesLateCommit,
    /// A lock in the way is read as "prepared".
    LockTimeoutIsPrepared,
    /// The coordinator notes the end before everybody was told.
    FinishBeforeTold,
    /// The coordinator commits without asking the register.
    CoordinatorWithoutRegister,
    /// The coordinator proposes commit although somebody refused.
    CommitDespiteRefusal,
}

impl Mistake {
    pub(crate) const ALL: [Self; 20] = [
        Self::NoMarker,
        Self::RollbackWithoutTombstone,
        Self::TombstoneBeforeRollback,
        Self::UnknownOnCommitIsOk,
        Self::StatusReadsMarkerFirst,
        Self::DeadlineBeforeMarker,
        Self::NoDeadline,
        Self::RecordsRemovedEarly,
        Self::AbsentIsRolledBack,
        Self::SweeperWithoutRegister,
        Self::SweeperCommits,
        Self::SweeperDoesNotRecheck,
        Self::SweeperLeavesNoTombstone,
        Self::SweeperFinishesALoss,
        Self::RegisterLastWriterWins,
        Self::RegisterTakesLateCommit,
        Self::LockTimeoutIsPrepared,
        Self::FinishBeforeTold,
        Self::CoordinatorWithoutRegister,
        Self::CommitDespiteRefusal,
    ];

    /// The smallest world in which the mistake can show.
    pub(crate) fn shape(self) -> Config {
        let small = Config {
            participants: 2,
            attempts: 2,
            parallel: false,
            refusals: true,
            losses: false,
            observer: false,
        };
        match self {
            Self::StatusReadsMarkerFirst | Self::AbsentIsRolledBack => Config {
                observer: true,
                refusals: false,
                ..small
            },
            Self::UnknownOnCommitIsOk | Self::SweeperFinishesALoss => Config {
                losses: true,
                ..small
            },
            _ => small,
        }
    }
}

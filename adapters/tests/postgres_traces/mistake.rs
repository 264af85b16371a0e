//! The mistakes that can be made around a right store.

/// One rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    RollbackWithoutTombstone,
    UnknownOnCommitIsOk,
    RecordsRemovedEarly,
    SweeperWithoutRegister,
    SweeperCommits,
    RegisterLastWriterWins,
    RegisterTakesLateCommit,
    LockTimeoutIsPrepared,
    CoordinatorWithoutRegister,
    CommitDespiteRefusal,
    SweeperLeavesNoTombstone,
    AlonePrepares,
    AloneLeavesNoTombstone,
    LeftOutByWhatItDid,
    LastCommitsBeforeDecision,
    LastDoesNotWait,
}

impl Mistake {
    const ALL: [Self; 16] = [
        Self::RollbackWithoutTombstone,
        Self::UnknownOnCommitIsOk,
        Self::RecordsRemovedEarly,
        Self::SweeperWithoutRegister,
        Self::SweeperCommits,
        Self::RegisterLastWriterWins,
        Self::RegisterTakesLateCommit,
        Self::LockTimeoutIsPrepared,
        Self::CoordinatorWithoutRegister,
        Self::CommitDespiteRefusal,
        Self::SweeperLeavesNoTombstone,
        Self::AlonePrepares,
        Self::AloneLeavesNoTombstone,
        Self::LeftOutByWhatItDid,
        Self::LastCommitsBeforeDecision,
        Self::LastDoesNotWait,
    ];
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// The one with this name, if it can be made here.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mistake| format!("{mistake:?}") == name)
    }
}

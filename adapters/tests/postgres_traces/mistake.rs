//! The mistakes that can be made around a right store.

/// One rule that is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    UnknownOnCommitIsOk,
    RecordsRemovedEarly,
    SweeperCommits,
    RegisterTakesLateCommit,
    LockTimeoutIsPrepared,
    CoordinatorWithoutRegister,
    CommitDespiteRefusal,
    AlonePrepares,
    AloneLeavesNoTombstone,
    LeftOutByWhatItDid,
    LastCommitsBeforeDecision,
    LastDoesNotWait,
}

impl Mistake {
    const ALL: [Self; 12] = [
        Self::UnknownOnCommitIsOk,
        Self::RecordsRemovedEarly,
        Self::SweeperCommits,
        Self::RegisterTakesLateCommit,
        Self::LockTimeoutIsPrepared,
        Self::CoordinatorWithoutRegister,
        Self::CommitDespiteRefusal,
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

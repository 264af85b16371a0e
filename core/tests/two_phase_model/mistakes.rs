//! Deliberate mistakes in the protocol. Each switches one rule off.
//!
//! The first seventeen are those that every description of the protocol warns of; the rest are
//! rules of this one: the tombstone where nothing was prepared, the end that is noted too early,
//! and the short ways. Mistakes within one statement of a store (an identifier that is cut, a
//! quoted name, another role, staging without reservations) are none of the protocol: the
//! conformance suite and the adapters' tests kill those.

use exactly_once_core::coordinator::machine::Role;

use crate::world::Config;

macro_rules! mistakes {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One rule that is switched off.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub(crate) enum Mistake {
            $($(#[$doc])* $name,)+
        }

        impl Mistake {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)+];
        }
    };
}

mistakes! {
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
    /// The register keeps the last value instead of the first.
    RegisterLastWriterWins,
    /// The register takes a commit at any time.
    RegisterTakesLateCommit,
    /// A lock in the way is read as "prepared".
    LockTimeoutIsPrepared,
    /// The coordinator commits without asking the register.
    CoordinatorWithoutRegister,
    /// The coordinator proposes commit although somebody refused.
    CommitDespiteRefusal,
    /// The sweeper rolls back only where it finds something prepared.
    SweeperLeavesNoTombstone,
    /// The sweeper calls a commit finished that somebody knows nothing of.
    SweeperFinishesALoss,
    /// The coordinator notes the end before everybody was told.
    FinishBeforeTold,
    /// The only one that writes prepares, and leaves only the register out.
    AlonePrepares,
    /// The only one that writes leaves it at its refusal.
    AloneLeavesNoTombstone,
    /// A participant that happened to do nothing is left out.
    LeftOutByWhatItDid,
    /// The one that holds the register commits first, and then asks the register.
    LastCommitsBeforeDecision,
    /// The one that holds the register does not wait until the others have prepared.
    LastDoesNotWait,
}

impl Mistake {
    /// The smallest world in which the mistake can show.
    pub(crate) fn shape(self) -> Config {
        let small = Config {
            roles: &[Role::Prepared; 2],
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
            Self::AlonePrepares => Config {
                roles: &[Role::Prepared],
                ..small
            },
            Self::AloneLeavesNoTombstone => Config {
                roles: &[Role::Alone],
                ..small
            },
            Self::LastCommitsBeforeDecision | Self::LastDoesNotWait => Config {
                roles: &[Role::Last, Role::Prepared],
                ..small
            },
            _ => small,
        }
    }

    /// Its name in file names.
    pub(crate) fn file_name(self) -> String {
        format!("{self:?}.txt")
    }
}

//! Deliberate mistakes in the protocol. Each switches one rule off.
//!
//! The first seventeen are those that every description of the protocol warns of; the rest are
//! rules of this one: the tombstone where nothing was prepared, the end that is noted too early,
//! the short ways, and those of entitlement (register, participants, copies, alarms). Mistakes within one statement of a store (an identifier that is cut, a
//! quoted name, another role, staging without reservations) are none of the protocol: the
//! conformance suite and the adapters' tests kill those.

use exactly_once_core::two_phase::machine::Role;

use crate::world::config::{ADOPTED, ANOTHER, COPY, Config, Knowing, OWN, SMALL, Terms};

/// One attempt of the usual terms.
const ONCE: Config = Config {
    attempts: 1,
    ..SMALL
};

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
    /// The coordinator proposes commit although one refused.
    CommitDespiteRefusal,
    /// The sweeper rolls back only where it finds something prepared.
    SweeperLeavesNoTombstone,
    /// The sweeper calls a commit finished that one participant knows nothing of.
    SweeperFinishesALoss,
    /// The coordinator notes the end before every participant was informed.
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
    /// A sweeper acts on what names another register than its own, which answers too.
    SweeperTakesAnyRegister,
    /// A sweeper that knows a part of the participants finishes the decision.
    PartFinishes,
    /// A sweeper takes each store that it knows for a participant.
    EachKnownTookPart,
    /// A participant that was rolled back under a commit counts as ended.
    RolledBackCountsAsEnded,
    /// A participant that has committed under a rollback counts as ended.
    CommittedCountsAsEnded,
    /// The coordinator takes a participant that was rolled back under a commit for committed.
    HeuristicIsTold,
    /// The register finishes whatever stands, and not the decision that was carried out.
    FinishNamesNoDecision,
    /// The register has no note of a participant that did not obey.
    DisputeIsNotNoted,
    /// A store that is away counts as ended.
    AwayCountsAsEnded,
    /// Participants and register don't compare the participants of two attempts.
    OtherParticipantsAreTheSame,
    /// The participants compare theirs, and the register does not.
    RegisterTakesOtherParticipants,
    /// Participants don't compare the registers of two attempts.
    OtherRegisterIsTheSame,
    /// A sweeper with a copy of the register works beside the original.
    CopyIsNotToldApart,
    /// A restored copy of the register keeps its identity.
    CopyKeepsItsIdentity,
}

impl Mistake {
    /// The smallest world in which the mistake can show.
    pub(crate) const fn shape(self) -> Config {
        let small = Config {
            refusals: true,
            ..SMALL
        };
        match self {
            Self::StatusReadsMarkerFirst | Self::AbsentIsRolledBack => Config {
                observer: true,
                ..SMALL
            },
            Self::UnknownOnCommitIsOk | Self::SweeperFinishesALoss => Config {
                losses: true,
                ..small
            },
            Self::AlonePrepares => Config {
                roles: &[Role::Prepared],
                sweepers: &[Knowing(0, &[0])],
                ..small
            },
            Self::AloneLeavesNoTombstone => Config {
                roles: &[Role::Alone],
                sweepers: &[Knowing(0, &[0])],
                ..small
            },
            Self::LastCommitsBeforeDecision | Self::LastDoesNotWait => Config {
                roles: &[Role::Last, Role::Prepared],
                ..small
            },
            Self::SweeperTakesAnyRegister => Config {
                registers: &[OWN, ANOTHER],
                sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[1, 2])],
                ..ONCE
            },
            Self::PartFinishes => Config {
                sweepers: &[Knowing(0, &[0])],
                ..ONCE
            },
            Self::EachKnownTookPart => Config {
                sweepers: &[Knowing(0, &[0, 1, 2])],
                ..ONCE
            },
            Self::AwayCountsAsEnded => Config { away: true, ..ONCE },
            Self::RolledBackCountsAsEnded | Self::HeuristicIsTold => Config {
                by_hand: true,
                ..ONCE
            },
            Self::CommittedCountsAsEnded => Config {
                restores: true,
                forgets: false,
                parallel: true,
                ..ONCE
            },
            Self::FinishNamesNoDecision => Config {
                restores: true,
                forgets: false,
                ..ONCE
            },
            Self::DisputeIsNotNoted => Config {
                restores: true,
                parallel: true,
                ..ONCE
            },
            Self::OtherParticipantsAreTheSame => Config {
                other: Some(Terms {
                    members: &[2, 0],
                    register: OWN.identity,
                }),
                ..ONCE
            },
            Self::RegisterTakesOtherParticipants => Config {
                other: Some(Terms {
                    members: &[2, 3],
                    register: OWN.identity,
                }),
                ..ONCE
            },
            Self::OtherRegisterIsTheSame => Config {
                registers: &[OWN, ANOTHER],
                other: Some(Terms {
                    members: &[0, 1],
                    register: ANOTHER.identity,
                }),
                refusals: true,
                ..ONCE
            },
            Self::CopyIsNotToldApart => Config {
                registers: &[OWN, COPY],
                sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[0, 1])],
                ..ONCE
            },
            Self::CopyKeepsItsIdentity => Config {
                registers: &[OWN, ADOPTED],
                sweepers: &[Knowing(0, &[0, 1]), Knowing(1, &[1])],
                ..ONCE
            },
            _ => small,
        }
    }

    /// Its name in file names.
    pub(crate) fn file_name(self) -> String {
        format!("{self:?}.txt")
    }
}

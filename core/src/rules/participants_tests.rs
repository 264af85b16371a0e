use super::participants::*;
use crate::{
    error::{Error, ErrorKind},
    fingerprint::Fingerprint,
    names::TransactionId,
    prepared::{Participation, PreparedStatus},
    register::Decision,
    time::Timestamp,
};

const NOT_AFTER: i64 = 100;
const FORGET_AFTER: i64 = 200;
const KNOWN: [Known; 6] = [
    Known::Nothing,
    Known::Another,
    Known::At(Stage::Working),
    Known::At(Stage::Prepared),
    Known::At(Stage::Committed),
    Known::At(Stage::RolledBack),
];

fn participation(request: u8) -> Participation {
    Participation::new(
        &TransactionId::new("t").unwrap(),
        Fingerprint::from_bytes([request; 32]),
        Timestamp::from_micros(NOT_AFTER),
        Timestamp::from_micros(FORGET_AFTER),
    )
    .unwrap()
}

/// What a rule says at a moment to each of [`KNOWN`].
fn answers<T>(
    now: i64,
    rule: impl Fn(&Asked<'_>, Known) -> Result<T, Error>,
) -> [Result<T, ErrorKind>; 6] {
    let participation = participation(1);
    let asked = Asked {
        participation: &participation,
        now: Timestamp::from_micros(now),
        operation: "t",
        store: "t",
    };
    KNOWN.map(|known| rule(&asked, known).map_err(|error| error.kind()))
}

/// A moment in time, the last one in time, late, the last that is late only, and forgotten.
const MOMENTS: [i64; 5] = [0, NOT_AFTER, NOT_AFTER + 1, FORGET_AFTER, FORGET_AFTER + 1];

fn nothing<T>(at: usize, in_time: T) -> Result<T, ErrorKind> {
    match at {
        0 | 1 => Ok(in_time),
        2 | 3 => Err(ErrorKind::RolledBack),
        _ => Err(ErrorKind::Forgotten),
    }
}

#[test]
fn beginning() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        assert_eq!(
            answers(now, |asked, known| asked.begin(known)),
            [
                nothing(at, Begin::Fresh),
                Err(ErrorKind::Mismatch),
                Err(ErrorKind::Busy),
                Ok(Begin::Prepared),
                Ok(Begin::Committed),
                Err(ErrorKind::RolledBack),
            ],
            "at {now}"
        );
    }
}

#[test]
fn preparing() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        assert_eq!(
            answers(now, |asked, known| asked.prepare(known)),
            [
                nothing(at, ()),
                Err(ErrorKind::Mismatch),
                nothing(at, ()),
                Err(ErrorKind::Busy),
                Err(ErrorKind::Busy),
                Err(ErrorKind::RolledBack),
            ],
            "at {now}"
        );
    }
}

#[test]
fn committing() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        // A deadline to prepare is none to commit.
        let nothing = if at < 4 {
            ErrorKind::NotPrepared
        } else {
            ErrorKind::Forgotten
        };
        assert_eq!(
            answers(now, |asked, known| asked.commit(known)),
            [
                Err(nothing),
                Err(ErrorKind::Mismatch),
                Err(ErrorKind::NotPrepared),
                Ok(Commit::Apply),
                Ok(Commit::Done),
                Err(ErrorKind::RolledBack),
            ],
            "at {now}"
        );
    }
}

#[test]
fn rolling_back() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        let nothing = if at < 4 {
            Ok(RollBack::Bury)
        } else {
            Err(ErrorKind::Forgotten)
        };
        assert_eq!(
            answers(now, |asked, known| asked.roll_back(known)),
            [
                nothing,
                Err(ErrorKind::Mismatch),
                Err(ErrorKind::Busy),
                // Also past its time: what holds rows must end.
                Ok(RollBack::Undo),
                Err(ErrorKind::Committed),
                Ok(RollBack::Done),
            ],
            "at {now}"
        );
    }
}

#[test]
fn the_status() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        let nothing = if at < 4 {
            PreparedStatus::None
        } else {
            PreparedStatus::Forgotten
        };
        assert_eq!(
            answers(now, |asked, known| asked.status(known)),
            [
                Ok(nothing),
                Err(ErrorKind::Mismatch),
                Ok(PreparedStatus::None),
                Ok(PreparedStatus::Prepared),
                Ok(PreparedStatus::Committed),
                Ok(PreparedStatus::RolledBack),
            ],
            "at {now}"
        );
    }
}

#[test]
fn deciding() {
    for (at, now) in MOMENTS.into_iter().enumerate() {
        for proposal in [Decision::Commit, Decision::Rollback] {
            let expected = match at {
                0 | 1 => Ok(proposal),
                2 | 3 => Ok(Decision::Rollback),
                _ => Err(ErrorKind::Forgotten),
            };
            let [decided, ..] = answers(now, |asked, _| asked.decide(proposal));
            assert_eq!(decided, expected, "{proposal:?} at {now}");
        }
        let [undecided, ..] = answers(now, |asked, _| Err::<(), _>(asked.undecided()));
        let expected = if at < 4 {
            ErrorKind::NotPrepared
        } else {
            ErrorKind::Forgotten
        };
        assert_eq!(undecided, Err(expected), "at {now}");
    }
}

#[test]
fn a_name_belongs_to_its_whole_participation() {
    let (own, another) = (participation(1), participation(2));
    assert_eq!(Known::of(None, &own), Known::Nothing);
    let stored = |of| Some((of, Stage::Committed));
    assert_eq!(Known::of(stored(&own), &own), Known::At(Stage::Committed));
    assert_eq!(Known::of(stored(&another), &own), Known::Another);
}

use std::time::Duration;

use super::keys::*;
use crate::{
    error::ErrorKind,
    fingerprint::Fingerprint,
    idempotency::{Claim, Claimed, KeyState, Outcome},
    lease::{FencingToken, Leased},
    names::IdempotencyKey,
    receipt::Receipt,
    rejection::Rejection,
    time::Timestamp,
};

const END: i64 = 1_000;
const OWN: FencingToken = FencingToken::new(7);
const OTHER: FencingToken = FencingToken::new(8);

fn claim() -> Claim {
    let key = IdempotencyKey::new("k").unwrap();
    Claim::new(key, Fingerprint::from_bytes([1; 32]))
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn applied() -> Outcome {
    Outcome::Applied(Receipt::from_bytes("1"))
}

fn rejected() -> Outcome {
    Outcome::Rejected(Rejection::new(422, "no"))
}

fn row(state: RowState) -> KeyRow {
    KeyRow {
        fingerprint: Fingerprint::from_bytes([1; 32]),
        state,
    }
}

fn leased(token: FencingToken) -> KeyRow {
    row(RowState::Leased {
        token,
        deadline: at(END),
    })
}

fn done(token: Option<FencingToken>, expires_at: Option<i64>) -> KeyRow {
    row(RowState::Completed {
        outcome: applied(),
        token,
        completed_at: at(0),
        expires_at: expires_at.map(at),
    })
}

fn anothers(row: KeyRow) -> KeyRow {
    KeyRow {
        fingerprint: Fingerprint::from_bytes([2; 32]),
        ..row
    }
}

fn wait(micros: u64) -> Standing {
    Standing::InProgress {
        retry_after: Duration::from_micros(micros),
    }
}

#[test]
fn what_a_row_means_to_a_claim() {
    let done_until = |end| done(None, Some(end));
    let unsettled = row(RowState::Unsettled);
    let cases = [
        (None, 0, Standing::Free),
        (Some(leased(OWN)), END - 1, wait(1)),
        (Some(leased(OWN)), END, Standing::Free),
        (Some(leased(OWN)), END + 1, Standing::Free),
        (Some(leased(OWN)), i64::MIN, wait(i64::MAX.unsigned_abs())),
        (Some(anothers(leased(OWN))), END - 1, Standing::Mismatch),
        // Ended, and neither finalized nor released: the outside effect may have happened.
        (Some(anothers(leased(OWN))), END, Standing::Mismatch),
        (
            Some(done_until(END)),
            END - 1,
            Standing::Completed(applied()),
        ),
        (Some(done_until(END)), END, Standing::Free),
        (
            Some(done(None, None)),
            i64::MAX,
            Standing::Completed(applied()),
        ),
        (Some(anothers(done_until(END))), END - 1, Standing::Mismatch),
        (Some(anothers(done_until(END))), END, Standing::Free),
        (Some(unsettled.clone()), i64::MAX, Standing::Unsettled),
        (Some(anothers(unsettled)), 0, Standing::Mismatch),
    ];
    for (row, now, expected) in cases {
        let case = format!("{row:?} at {now}");
        assert_eq!(standing(row, &claim(), at(now)), expected, "{case}");
    }
}

#[test]
fn an_open_transaction_is_compared_too() {
    let soon = Duration::from_micros(5);
    let claim = claim();
    assert_eq!(rival(claim.fingerprint(), &claim, soon), wait(5));
    let another = Fingerprint::from_bytes([2; 32]);
    assert_eq!(rival(&another, &claim, soon), Standing::Mismatch);
}

#[test]
fn each_form_of_the_answer_says_the_same() {
    let kind = |standing: Standing| standing.outcome("t", "t").map_err(|error| error.kind());
    assert_eq!(kind(Standing::Free), Ok(None));
    assert_eq!(kind(Standing::Completed(applied())), Ok(Some(applied())));
    assert_eq!(kind(Standing::Mismatch), Err(ErrorKind::Mismatch));
    assert_eq!(kind(Standing::Unsettled), Err(ErrorKind::Invalid));
    let retry_after = Duration::from_micros(3);
    assert_eq!(kind(wait(3)), Err(ErrorKind::InProgress { retry_after }));
    let claimed = |standing: Standing| standing.claimed::<()>("t", "t").unwrap();
    let leased = |standing: Standing| standing.leased("t", "t").unwrap();
    assert!(claimed(Standing::Free).is_none());
    assert_eq!(leased(Standing::Free), None);
    assert!(matches!(
        claimed(Standing::Mismatch),
        Some(Claimed::Mismatch)
    ));
    assert_eq!(leased(Standing::Mismatch), Some(Leased::Mismatch));
    assert!(matches!(
        claimed(Standing::Completed(applied())),
        Some(Claimed::Completed(outcome)) if outcome == applied()
    ));
    assert_eq!(
        leased(Standing::Completed(applied())),
        Some(Leased::Completed(applied()))
    );
    assert!(matches!(
        claimed(wait(3)),
        Some(Claimed::InProgress { retry_after: wait }) if wait == retry_after
    ));
    assert_eq!(leased(wait(3)), Some(Leased::InProgress { retry_after }));
    assert!(Standing::Unsettled.claimed::<()>("t", "t").is_err());
    assert!(Standing::Unsettled.leased("t", "t").is_err());
}

#[test]
fn what_is_known_of_a_key() {
    let known = |row: KeyRow, now: i64| record(Some(row), at(now)).map(|record| record.state);
    assert_eq!(record(None, at(0)), None);
    assert_eq!(known(done(None, Some(END)), END), None);
    assert!(matches!(
        known(done(Some(OWN), Some(END)), END - 1),
        Some(KeyState::Completed { expires_at: Some(end), .. }) if end == at(END)
    ));
    // Also when it has ended: people on call must see it.
    assert!(matches!(
        known(leased(OWN), END + 1),
        Some(KeyState::Leased { token: OWN, .. })
    ));
    assert!(known(row(RowState::Unsettled), 0).is_some());
}

#[test]
fn only_what_is_done_is_forgotten() {
    let forgets =
        |row: KeyRow, now: i64| forget(Some(&row), at(now), "t").map_err(|error| error.kind());
    assert_eq!(
        forget(None, at(0), "t").map_err(|error| error.kind()),
        Ok(false)
    );
    let retry_after = Duration::from_micros(1);
    assert_eq!(
        forgets(leased(OWN), END - 1),
        Err(ErrorKind::InProgress { retry_after })
    );
    assert_eq!(forgets(leased(OWN), END), Ok(false));
    assert_eq!(forgets(done(None, Some(END)), END - 1), Ok(true));
    assert_eq!(forgets(done(None, Some(END)), END), Ok(false));
    assert_eq!(forgets(row(RowState::Unsettled), 0), Ok(true));
}

/// What renew, finalize and release say, in this order.
fn holders(row: Option<&KeyRow>, now: i64, outcome: &Outcome) -> [Result<bool, ErrorKind>; 3] {
    let (claim, now) = (claim(), at(now));
    [
        renew(row, &claim, OWN, now, "t").map(|()| true),
        finalize(row, &claim, OWN, outcome, now, "t").map(|to_do| to_do == Finalize::Record),
        release(row, &claim, OWN, now, "t"),
    ]
    .map(|answer| answer.map_err(|error| error.kind()))
}

#[test]
fn what_a_row_means_to_a_holder() {
    const FENCED: Result<bool, ErrorKind> = Err(ErrorKind::Fenced);
    const MISMATCH: Result<bool, ErrorKind> = Err(ErrorKind::Mismatch);
    let completed = |token| done(token, Some(END));
    let cases = [
        (None, 0, [FENCED, FENCED, Ok(false)]),
        (Some(leased(OWN)), END - 1, [Ok(true); 3]),
        // Ended, and no other attempt took it.
        (Some(leased(OWN)), END, [Ok(true); 3]),
        (Some(leased(OTHER)), 0, [FENCED; 3]),
        (Some(anothers(leased(OWN))), 0, [MISMATCH; 3]),
        (Some(completed(Some(OWN))), 0, [FENCED, Ok(false), FENCED]),
        (Some(completed(Some(OTHER))), 0, [FENCED; 3]),
        (Some(completed(None)), END - 1, [FENCED; 3]),
        (Some(completed(Some(OWN))), END, [FENCED, FENCED, Ok(false)]),
        (Some(anothers(completed(None))), END - 1, [MISMATCH; 3]),
        (
            Some(anothers(completed(None))),
            END,
            [FENCED, FENCED, Ok(false)],
        ),
        (Some(row(RowState::Unsettled)), 0, [FENCED; 3]),
    ];
    for (row, now, expected) in cases {
        let answer = holders(row.as_ref(), now, &applied());
        assert_eq!(answer, expected, "{row:?} at {now}");
    }
    let [_, finalized, _] = holders(Some(&completed(Some(OWN))), 0, &rejected());
    assert_eq!(finalized, Err(ErrorKind::Conflict { current: None }));
}

#[test]
fn a_lease_ends_within_time() {
    let end = |now: i64, ttl: Duration| deadline(at(now), ttl, "t", "t").map_err(|e| e.kind());
    assert_eq!(end(5, Duration::from_micros(7)), Ok(at(12)));
    assert_eq!(
        end(i64::MAX - 1, Duration::from_micros(1)),
        Ok(at(i64::MAX))
    );
    let invalid = Err(ErrorKind::Invalid);
    assert_eq!(end(i64::MAX, Duration::from_micros(1)), invalid);
    assert_eq!(end(0, Duration::ZERO), invalid);
    assert_eq!(
        end(0, crate::MAX_DURATION + Duration::from_micros(1)),
        invalid
    );
}

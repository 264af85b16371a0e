//! Fingerprint: a key that is used for another request is a mismatch, in every state.

use exactly_once_core::{
    Claim, Claimed, ErrorKind, Fingerprint, IdempotencyStore, Outcome, Transactional,
};

use super::support::{completed, ensure_recorded, execute, fresh, mismatched, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, key, other_claim, receipt, refused},
    },
    check::CaseFailure,
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// Goal: a completed key is a mismatch for another request, and its receipt is not returned. Method:
/// complete, ask otherwise: by claim and by `execute_once`; then ask as at first.
async fn i20_after_completion<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, other) = (claim("i20")?, other_claim("i20", "another request")?);
    completed(
        &cx,
        cx.store(),
        &claim,
        "i20",
        &receipt("\"not for others\""),
    )
    .await?;
    mismatched(cx.store(), &other).await?;
    let answer = execute(&cx, cx.store(), &other, "i20", "another value").await;
    if let Err(error) = &answer {
        let told = format!("{error} {error:?}").contains("not for others");
        ensure!(!told, seen: error, "an error that does not tell the stored receipt");
    }
    refused(answer, ErrorKind::Mismatch, "another request under the key")?;
    ensure_eq!(cx.effects("i20").await?, 1, "effects");
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("\"not for others\"")),
        "the first request's"
    );
    Ok(())
}

/// Goal: another request never gets a key that is in progress. Method: hold the key's transaction,
/// ask otherwise: it is a mismatch, or, where an open transaction can't be seen from outside, in
/// progress; and a mismatch for sure once it is complete.
async fn i21_while_in_progress<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, other) = (claim("i21")?, other_claim("i21", "another request")?);
    let store = cx.store();
    let mut tx = fresh(store, &claim).await?;
    cx.write(&mut tx, "i21").await?;
    match cx.store().claim(&other).await {
        Ok(Claimed::Mismatch | Claimed::InProgress { .. }) => {}
        // An optimistic store notices at the commit.
        Ok(Claimed::Fresh(rival)) => drop(rival),
        Err(error) if error.is_retryable() => {}
        answer => {
            return Err(CaseFailure::new(
                "another request under a key in progress to be a mismatch, or to wait",
                format!("{answer:?}"),
            ));
        }
    }
    ensure_recorded(store.complete(tx, &claim, &receipt("21")).await)?;
    mismatched(cx.store(), &other).await?;
    ensure_eq!(cx.effects("i21").await?, 1, "effects");
    Ok(())
}

/// Goal: fingerprints are compared whole. Method: two that differ in the last byte, or in the first.
async fn i22_last_byte<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let with = |at: usize, byte: u8| {
        let mut bytes = [7; 32];
        bytes[at] = byte;
        Fingerprint::from_bytes(bytes)
    };
    for (at, byte) in [(31, 8), (31, 0), (31, 135), (0, 0), (0, 135), (16, 0)] {
        let name = format!("i22/{at}/{byte}");
        let claim = Claim::new(key(&name)?, with(at, 7));
        completed(&cx, cx.store(), &claim, &name, &receipt("22")).await?;
        mismatched(cx.store(), &Claim::new(key(&name)?, with(at, byte))).await?;
        replayed(cx.store(), &claim).await?;
    }
    Ok(())
}

/// Goal: an empty request is one, and differs from none. Method: fingerprints of nothing, of the
/// empty text, of the empty list, of zeros.
async fn i23_empty_against_absent<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let requests = [
        Fingerprint::of("op", &())?,
        Fingerprint::of("op", "")?,
        Fingerprint::of("op", &[0_u8; 0])?,
        Fingerprint::of("op", &Some(""))?,
        Fingerprint::of_bytes("op", b""),
        Fingerprint::from_bytes([0; 32]),
    ];
    for (number, first) in requests.iter().enumerate() {
        let name = format!("i23/{number}");
        let claim = Claim::new(key(&name)?, *first);
        completed(&cx, cx.store(), &claim, &name, &receipt("23")).await?;
        replayed(cx.store(), &claim).await?;
        for other in requests.iter().filter(|other| *other != first) {
            mismatched(cx.store(), &Claim::new(key(&name)?, *other)).await?;
        }
    }
    // `Some("")` and `""` are one request to serde; all others are distinct.
    let distinct: std::collections::BTreeSet<_> = requests.iter().collect();
    ensure_eq!(
        distinct.len(),
        requests.len() - 1,
        "distinct fingerprints of empty requests"
    );
    Ok(())
}

/// Goal: the operation's name is part of the request. Method: the same request under two names.
async fn i24_other_operation<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let charge = Claim::new(key("i24")?, Fingerprint::of("charge", &("alice", 5))?);
    let refund = Claim::new(key("i24")?, Fingerprint::of("refund", &("alice", 5))?);
    completed(&cx, cx.store(), &charge, "i24", &receipt("charged")).await?;
    mismatched(cx.store(), &refund).await
}

/// Goal: a rejection belongs to its request too. Method: reject, ask otherwise.
async fn i25_after_a_rejection<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let (claim, other) = (claim("i25")?, other_claim("i25", "another request")?);
    let store = cx.store();
    let tx = fresh(store, &claim).await?;
    let rejection = exactly_once_core::Rejection::new(422, "no");
    ensure_recorded(store.reject(tx, &claim, &rejection).await)?;
    mismatched(cx.store(), &other).await?;
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Rejected(rejection),
        "the first request's outcome"
    );
    // What was rolled back binds no request: the key is free.
    let free = crate::cases::support::claim("i25/free")?;
    let store = cx.store();
    store.rollback(fresh(store, &free).await?).await?;
    let store = cx.store();
    store
        .rollback(fresh(store, &other_claim("i25/free", "another request")?).await?)
        .await?;
    Ok(())
}

cases! { "idempotency::fingerprint" for IdempotencyStore, "core::IdempotencyStore, fingerprint";
    I20 i20_after_completion: "another request under a completed key is a mismatch",
        "the fingerprint is never compared";
    I21 i21_while_in_progress: "another request never gets a key in progress",
        "the fingerprint is stored too late, or only with the receipt";
    I22 i22_last_byte: "fingerprints are compared to the last byte",
        "a prefix of the fingerprint is stored or compared";
    I23 i23_empty_against_absent: "an empty request is a request",
        "an empty or zero fingerprint counts as none";
    I24 i24_other_operation: "the operation's name is part of the request",
        "only the request's body is compared";
    I25 i25_after_a_rejection: "a rejection belongs to its request, a rollback binds nobody",
        "rejections are stored without the fingerprint";
}

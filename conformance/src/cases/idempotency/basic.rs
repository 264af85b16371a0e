//! Basic: a key is fresh once, and then answers with its receipt.

use exactly_once_core::{
    Claim, Error, ErrorKind, ExecuteOnce, IdempotencyStore, KeyState, Outcome, Rejection, Store,
    Transactional,
};

use super::support::{completed, fresh, replayed};
use crate::{
    CaseResult,
    cases::{
        cases,
        support::{claim, key, receipt, refused, retry},
    },
    check::Expecting,
    context::Context,
    ensure, ensure_eq, ensure_matches,
    harness::Harness,
};

/// Goal: the first claim of a key is fresh. Method: claim it, roll back, count effects.
async fn i01_first_claim_is_fresh<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, store) = (claim("i01")?, cx.store());
    let mut tx = fresh(store, &claim).await?;
    cx.write(&mut tx, "i01").await?;
    store.rollback(tx).await?;
    ensure_eq!(cx.effects("i01").await?, 0, "effects after a rollback");
    Ok(())
}

/// Goal: a completed key answers with its receipt. Method: complete, claim again by either handle.
async fn i02_completed_key_gives_the_receipt<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, receipt) = (claim("i02")?, receipt("\u{0}receipt\u{ff}"));
    completed(&cx, cx.store(), &claim, "i02", &receipt).await?;
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(outcome, Outcome::Applied(receipt), "the replayed outcome");
    ensure_eq!(cx.effects("i02").await?, 1, "effects");
    Ok(())
}

/// Goal: nothing is known of a key that was never used. Method: look it up, beside a used one.
async fn i03_absent_key_is_absent<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    completed(
        &cx,
        cx.store(),
        &claim("i03/used")?,
        "i03",
        &receipt("used"),
    )
    .await?;
    ensure_eq!(
        cx.store().lookup(&key("i03")?).await?,
        None,
        "the lookup of an absent key"
    );
    ensure_eq!(
        cx.store().forget(&key("i03")?).await?,
        false,
        "forgetting an absent key"
    );
    Ok(())
}

/// Goal: a rejection is recorded, undoes the work's writes, and is the answer of every attempt.
/// Method: work that writes and then rejects; then work that would not.
async fn i06_rejection_is_replayed<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i06")?;
    let rejection = Rejection::new(402, "the card was declined: \u{1F4B3} 'x' \"y\"");
    for attempt in 1..=3 {
        let (cx, no) = (&cx, rejection.clone());
        let answer = cx
            .store()
            .execute_once(&claim, async |tx| {
                cx.write(tx, "i06").await?;
                // Only the first attempt's work says no: the later ones must not run.
                if attempt == 1 { Err(no.into()) } else { Ok(()) }
            })
            .await;
        let error = answer
            .err()
            .expecting("a rejected effect to be an error each time")?;
        ensure_eq!(
            error.kind(),
            ErrorKind::Rejected { status: 402 },
            "attempt {attempt}"
        );
        ensure_eq!(
            error.rejection(),
            Some(&rejection),
            "the rejection of attempt {attempt}"
        );
    }
    ensure_eq!(cx.effects("i06").await?, 0, "effects of rejected work");
    let outcome = replayed(cx.store(), &claim).await?;
    ensure_eq!(
        outcome,
        Outcome::Rejected(rejection),
        "the recorded outcome"
    );
    Ok(())
}

/// Goal: a refusal that the work meets is recorded like a rejection, so that it stays true; what may
/// succeed later never is. Method: work that writes and then fails for good; then work that would not;
/// and the same with a transient failure.
async fn i06_refusal_is_recorded<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let no = || Error::new(ErrorKind::Refused, "work", "elsewhere").with_message("a: b");
    let mut words = Vec::new();
    for attempt in 1..=3 {
        let (cx, claim) = (&cx, claim("i06/final")?);
        let answer = cx
            .store()
            .execute_once(&claim, async |tx| {
                cx.write(tx, "i06").await?;
                if attempt == 1 {
                    Err(no().into())
                } else {
                    Ok(())
                }
            })
            .await;
        let error = answer.err().expecting("the refusal to be told each time")?;
        ensure_eq!(error.kind(), ErrorKind::Refused, "attempt {attempt}");
        words.push(error.message().map(str::to_owned));
    }
    ensure_eq!(words, vec![Some("a: b".to_owned()); 3], "the words");
    ensure_eq!(cx.effects("i06").await?, 0, "effects of refused work");
    for kind in [ErrorKind::Busy, ErrorKind::WorkFailed, ErrorKind::Ambiguous] {
        let claim = claim(&format!("i06/{}", kind.as_str()))?;
        let transient = async |_: &mut _| Err::<(), _>(Error::new(kind, "work", "here").into());
        let answer = cx.store().execute_once(&claim, transient).await;
        refused(answer, kind, "transient work")?;
        completed(&cx, cx.store(), &claim, kind.as_str(), &receipt("later")).await?;
        ensure_eq!(cx.effects(kind.as_str()).await?, 1, "effects of its retry");
    }
    Ok(())
}

/// Goal: what a lookup returns is what was stored, by the store's clock. Method: complete between two
/// readings of the clock.
async fn i07_lookup_tells_the_record<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, receipt) = (claim("i07")?, receipt("seven"));
    let before = cx.store().now().await?;
    completed(&cx, cx.store(), &claim, "i07", &receipt).await?;
    let after = cx.store().now().await?;
    let record = cx
        .store()
        .lookup(claim.key())
        .await?
        .expecting("a record")?;
    ensure_eq!(record.fingerprint, *claim.fingerprint(), "the fingerprint");
    let (outcome, at, end) = ensure_matches!(record.state,
        KeyState::Completed { outcome, completed_at, expires_at } =>
            (outcome, completed_at, expires_at),
        "a completed key");
    ensure_eq!(outcome, Outcome::Applied(receipt), "the outcome");
    // A transaction may keep the time at which it began, and a clock the milliseconds only.
    let slack = cx.tick();
    ensure!(before.since(at) <= slack && at.since(after) <= slack, seen: (before, at, after),
        "a completion time between the readings before and after it");
    ensure_eq!(
        end,
        claim.retention().expires_at(at),
        "the end of its retention"
    );
    Ok(())
}

/// Goal: a forgotten key is fresh again, and only that key. Method: forget one of two.
async fn i08_forgotten_key_is_fresh<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let (claim, kept) = (claim("i08")?, claim("i08/kept")?);
    completed(&cx, cx.store(), &claim, "i08", &receipt("first")).await?;
    completed(&cx, cx.store(), &kept, "i08/kept", &receipt("kept")).await?;
    ensure_eq!(
        cx.store().forget(claim.key()).await?,
        true,
        "forgetting a completed key"
    );
    ensure_eq!(
        cx.store().forget(claim.key()).await?,
        false,
        "forgetting it again"
    );
    completed(&cx, cx.store(), &claim, "i08", &receipt("second")).await?;
    ensure_eq!(
        cx.effects("i08").await?,
        2,
        "effects of a key that was forgotten once"
    );
    let outcome = replayed(cx.store(), &kept).await?;
    ensure_eq!(
        outcome,
        Outcome::Applied(receipt("kept")),
        "the other key's outcome"
    );
    Ok(())
}

/// Goal: a transaction is for the claim that gave it, and for no other. Method: complete and reject with
/// one of another key's claim, of another request's claim of the key, of the same claim in another
/// namespace, and of no claim: an error, nothing is recorded, nothing stays.
async fn i18_foreign_transaction<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let own = claim("i18/own")?;
    // The same request under another key.
    let other = Claim::new(key("i18/other")?, *own.fingerprint());
    let request = Claim::new(own.key().clone(), *claim("i18/request")?.fingerprint());
    let store = cx.store();
    let elsewhere = store.with_namespace(format!("{}/i18", store.namespace()).parse()?);
    for number in 0..8 {
        let (whose, mut tx) = match number % 4 {
            0 => ("another key's", fresh(store, &other).await?),
            1 => ("another request's", fresh(store, &request).await?),
            2 => ("another namespace's", fresh(&elsewhere, &own).await?),
            _ => ("nobody's", store.begin().await?),
        };
        cx.write(&mut tx, "i18").await?;
        let answer = if number < 4 {
            store.complete(tx, &own, &receipt("foreign")).await
        } else {
            store.reject(tx, &own, &Rejection::new(409, "no")).await
        };
        ensure!(answer.is_err(), seen: answer, "{whose} transaction to be refused");
        for (place, claim) in [(store, &own), (store, &other), (&elsewhere, &own)] {
            let known = retry(|| place.lookup(claim.key())).await?;
            ensure_eq!(
                known,
                None,
                "what {} knows of {:?}",
                place.namespace(),
                claim.key()
            );
        }
    }
    ensure_eq!(cx.effects("i18").await?, 0, "effects");
    for (place, claim) in [(store, &own), (store, &other), (&elsewhere, &own)] {
        completed(&cx, place, claim, "i18", &receipt("18")).await?;
    }
    ensure_eq!(
        cx.effects("i18").await?,
        3,
        "effects under their own claims"
    );
    Ok(())
}

cases! { "idempotency::basic" for IdempotencyStore, "core::IdempotencyStore, Contract";
    I01 i01_first_claim_is_fresh: "the first claim of a key is fresh",
        "rows of another key or namespace are taken for this one";
    I02 i02_completed_key_gives_the_receipt: "a completed key answers with its receipt",
        "the key and the receipt are not committed together";
    I03 i03_absent_key_is_absent: "nothing is known of a key that was never used",
        "an absent row is answered with a default";
    I06 i06_refusal_is_recorded: "a refusal that the work meets is recorded, a transient failure never is",
        "the transaction is rolled back and the key left free";
    I06 i06_rejection_is_replayed: "a rejection is recorded and is the answer of every attempt",
        "failures are not recorded, so the work runs again; or the work's writes are kept";
    I07 i07_lookup_tells_the_record: "a lookup tells what was stored, by the store's clock",
        "times come from the client, or the retention is not counted from completion";
    I08 i08_forgotten_key_is_fresh: "a forgotten key is fresh again, and only that key",
        "forget matches more than the one key, or leaves something behind";
    I18 i18_foreign_transaction: "a transaction is for the claim that gave it, and for no other",
        "whatever transaction is handed over is committed with the key";
}

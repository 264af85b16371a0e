//! What a caller gets: the first answer and each replay are one, and the user's own errors keep their
//! meaning.

use std::{collections::BTreeMap, error::Error as StdError, fmt};

use exactly_once_core::{
    BoxError, Error, ErrorKind, ExecuteOnce, IdempotencyStore, Receipt, Rejection, Transactional,
    WorkError,
};

use crate::{
    CaseResult,
    cases::{cases, support::claim},
    context::Context,
    ensure, ensure_eq,
    harness::Harness,
};

/// A handler's own error type, around what a store or the work said.
#[derive(Debug)]
struct Own {
    inner: BoxError,
    transparent: bool,
}

impl Own {
    fn around(inner: impl Into<BoxError>) -> Self {
        Self {
            inner: inner.into(),
            transparent: false,
        }
    }

    /// As thiserror's `#[error(transparent)]`: its source is the inner error's source.
    fn transparent(inner: impl Into<BoxError>) -> Self {
        Self {
            inner: inner.into(),
            transparent: true,
        }
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transparent {
            true => self.inner.fmt(f),
            false => f.write_str("the payment failed"),
        }
    }
}

impl StdError for Own {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self.transparent {
            true => self.inner.source(),
            false => Some(&*self.inner),
        }
    }
}

/// An error in each wrapping that a handler may give it.
fn wrapped(error: impl Fn() -> BoxError) -> [BoxError; 5] {
    [
        error(),
        Own::around(error()).into(),
        Own::transparent(error()).into(),
        Own::around(Own::transparent(error())).into(),
        Own::transparent(Own::around(Own::around(error()))).into(),
    ]
}

/// Goal: a rejection and a store's error keep their kind inside the handler's own error type. Method:
/// ask the store for the meaning of each, plain and in four wrappings.
async fn i92_own_errors_keep_their_meaning<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let store = cx.store();
    for kind in [
        ErrorKind::Busy,
        ErrorKind::Reserved,
        ErrorKind::InsufficientFunds,
        ErrorKind::Overflow,
        ErrorKind::Refused,
        ErrorKind::Configuration,
    ] {
        let error = || {
            Error::new(kind, "adjust", "another")
                .with_message("why")
                .into()
        };
        for (at, error) in wrapped(error).into_iter().enumerate() {
            let meaning = store.classify("work", error);
            ensure_eq!(meaning.kind(), kind, "the meaning of wrapping {at}");
            ensure_eq!(meaning.message(), Some("why"), "the text of wrapping {at}");
        }
    }
    let no = || Rejection::new(451, "no").into();
    for (at, error) in wrapped(no).into_iter().enumerate() {
        let meaning = store.classify("work", error);
        let rejection = meaning.rejection().cloned();
        ensure_eq!(
            rejection,
            Some(Rejection::new(451, "no")),
            "the rejection of wrapping {at}"
        );
    }
    let foreign = || std::io::Error::other("the service is away").into();
    for (at, error) in wrapped(foreign).into_iter().enumerate() {
        let kind = store.classify("work", error).kind();
        ensure_eq!(
            kind,
            ErrorKind::WorkFailed,
            "the kind of foreign error {at}"
        );
    }
    Ok(())
}

/// Goal: a refusal in the handler's own error type is recorded like a plain one. Method: reject inside
/// a transparent wrapper, then try again with work that would succeed.
async fn i93_wrapped_rejections_are_recorded<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    for (at, rejected) in wrapped(|| Rejection::new(451, "no").into())
        .into_iter()
        .enumerate()
    {
        let (claim, id) = (claim(&format!("i93/{at}"))?, format!("i93/{at}"));
        let (cx, id) = (&cx, id.as_str());
        let mut first = Some(rejected);
        let mut answers = Vec::new();
        for _ in 0..2 {
            let failure = first.take();
            let answer = cx
                .store()
                .execute_once(&claim, async move |tx| {
                    cx.write(tx, id).await?;
                    match failure {
                        Some(error) => Err(WorkError::from_boxed(error)),
                        None => Ok(()),
                    }
                })
                .await;
            let answer = answer
                .map(|done| done.value)
                .map_err(|error| (error.kind(), error.to_string()));
            answers.push(answer);
        }
        let kind = answers[0].clone().map_err(|(kind, _)| kind);
        ensure_eq!(
            kind,
            Err(ErrorKind::Rejected { status: 451 }),
            "the first answer"
        );
        ensure_eq!(
            answers[1].clone(),
            answers[0].clone(),
            "the replay of wrapping {at}"
        );
        ensure_eq!(cx.effects(id).await?, 0, "effects of rejected work");
    }
    Ok(())
}

/// Goal: the first answer and the replay of a refusal are the same error, byte for byte. Method:
/// reject, refuse by each kind that is recorded, and reject in words that read like another refusal;
/// then ask again, also by a handle opened after.
async fn i94_refusals_are_replayed_as_first_answered<H: Harness<Store: IdempotencyStore>>(
    mut cx: Context<H>,
) -> CaseResult {
    let causes: Vec<Box<dyn Fn() -> BoxError + Send + Sync>> = vec![
        Box::new(|| Rejection::new(402, "declined: \u{1F4B3} 'x'").into()),
        Box::new(|| Rejection::new(422, "exactly-once/insufficient_funds: forwarded").into()),
        Box::new(|| Rejection::new(409, "exactly-once/refused: forwarded").into()),
        Box::new(|| {
            Error::new(ErrorKind::Refused, "insert", "sql")
                .with_message("a: b")
                .into()
        }),
        Box::new(|| Error::new(ErrorKind::Refused, "insert", "sql").into()),
        Box::new(|| {
            Error::new(ErrorKind::Overflow, "adjust", "sql")
                .with_message("é")
                .into()
        }),
        Box::new(|| Error::new(ErrorKind::InsufficientFunds, "adjust", "sql").into()),
        Box::new(|| {
            Error::new(ErrorKind::TooLarge, "x", "sql")
                .with_message("x".repeat(9000))
                .into()
        }),
        Box::new(|| Error::new(ErrorKind::Conflict { current: None }, "x", "sql").into()),
    ];
    let mut firsts = Vec::new();
    for (at, cause) in causes.iter().enumerate() {
        let (claim, cause) = (claim(&format!("i94/{at}"))?, cause());
        let kind = cause.downcast_ref::<Error>().map(Error::kind);
        let answer = cx
            .store()
            .execute_once::<(), _>(&claim, async move |_tx| Err(WorkError::from_boxed(cause)))
            .await;
        let first = answer
            .map(|done| done.value)
            .map_err(|error| (error.kind(), error.to_string()));
        if let Some(kind) = kind {
            ensure_eq!(
                first.clone().map_err(|(kind, _)| kind),
                Err(kind),
                "the kind of {at}"
            );
        } else {
            let rejected = matches!(&first, Err((ErrorKind::Rejected { .. }, _)));
            ensure!(
                rejected,
                "the work\'s own words to stay a rejection: {first:?}"
            );
        }
        firsts.push((claim, first));
    }
    for reopened in [false, true] {
        if reopened {
            cx.reopen().await?;
        }
        for (at, (claim, first)) in firsts.iter().enumerate() {
            let answer = cx.store().execute_once(claim, async |_tx| Ok(())).await;
            let again = answer
                .map(|done| done.value)
                .map_err(|error| (error.kind(), error.to_string()));
            ensure_eq!(&again, first, "replay of {at}, reopened: {reopened}");
        }
    }
    Ok(())
}

/// Goal: the first caller gets the value that every retry will get, and a value that does not survive
/// being stored is refused before anything is applied. Method: floats that a careless parser changes;
/// then NaN, a nested option and a map whose keys are no text.
async fn i95_values_read_back<H: Harness<Store: IdempotencyStore>>(cx: Context<H>) -> CaseResult {
    let kept = claim("i95")?;
    let numbers = [
        0.1,
        0.3,
        1e23,
        5e-324,
        f64::MAX,
        -0.0,
        0.729_811_4,
        2.2250738585072014e-308,
    ];
    let work = || async {
        cx.store()
            .execute_once(&kept, async move |_tx| Ok(numbers.to_vec()))
            .await
    };
    let (first, again) = (work().await?, work().await?);
    ensure_eq!(again.replayed, true, "whether the second is a replay");
    let bits = |values: &[f64]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    ensure_eq!(
        bits(&first.value),
        bits(&numbers),
        "the value as it was given"
    );
    ensure_eq!(bits(&again.value), bits(&first.value), "the replayed value");

    refused(&cx, "i95/nan", f64::NAN).await?;
    refused(&cx, "i95/some", Some(None::<u8>)).await?;
    refused(&cx, "i95/map", BTreeMap::from([((1, 2), 3)])).await
}

async fn refused<H, T>(cx: &Context<H>, id: &str, value: T) -> CaseResult
where
    H: Harness<Store: IdempotencyStore>,
    T: serde::Serialize + serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
{
    let claim = claim(id)?;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let value = value.clone();
        let answer = cx
            .store()
            .execute_once(&claim, async move |tx| {
                cx.write(tx, id).await?;
                Ok(value)
            })
            .await;
        answers.push(
            answer
                .map(drop)
                .map_err(|error| (error.kind(), error.to_string())),
        );
        ensure_eq!(
            cx.effects(id).await?,
            0,
            "effects of a value that can't be stored"
        );
    }
    let kind = answers[0].clone().map_err(|(kind, _)| kind);
    ensure_eq!(kind, Err(ErrorKind::Invalid), "the answer");
    ensure_eq!(answers[1].clone(), answers[0].clone(), "the second answer");
    Ok(())
}

/// Goal: a receipt that this program can't read is applied all the same: neither a client's error nor
/// for ever. Method: store a receipt of another type, ask for a number, then for the right type.
async fn i96_unreadable_receipts<H: Harness<Store: IdempotencyStore>>(
    cx: Context<H>,
) -> CaseResult {
    let claim = claim("i96")?;
    let stored = Receipt::json("text")?;
    super::support::completed(&cx, cx.store(), &claim, "i96", &stored).await?;
    let answer = cx.store().execute_once(&claim, async |_tx| Ok(5)).await;
    let answer = answer
        .map(|done| done.value)
        .map_err(|error| (error.kind(), error.kind().http_status()));
    ensure_eq!(
        answer,
        Err((ErrorKind::Unreadable, 500)),
        "the answer to another type"
    );
    let right = cx
        .store()
        .execute_once(&claim, async |_tx| Ok(String::new()))
        .await?;
    ensure_eq!(
        right.value,
        "text",
        "the value as the next version reads it"
    );
    ensure_eq!(cx.effects("i96").await?, 1, "effects");
    Ok(())
}

cases! { "idempotency::answers" for IdempotencyStore, "core::chain, core::Receipt, core::Rejection";
    I92 i92_own_errors_keep_their_meaning: "an error keeps its meaning in the user's own error type",
        "only the outermost error is looked at, instead of a call of `chain::classify`";
    I93 i93_wrapped_rejections_are_recorded: "a rejection in the user's own error type is recorded",
        "the wrapper is taken for a transient error, which is retried for ever";
    I94 i94_refusals_are_replayed_as_first_answered: "the first answer and the replay of a refusal are one",
        "`status()` is stored instead of `stored_status()`, or `Rejection::new` reads it back";
    I95 i95_values_read_back: "the first caller gets the value that a retry gets",
        "the value is given as the work returned it, and the receipt is read at the retry only";
    I96 i96_unreadable_receipts: "a receipt of another version of the program is no client's error",
        "a receipt that can't be read is reported as invalid, or its work runs again";
}

//! Small helpers that cases of several topics share.

use std::{
    fmt::Debug,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use exactly_once_core::{
    AccountId, Advice, Amount, Claim, Error, ErrorKind, Fingerprint, IdempotencyKey, InvalidName,
    Receipt,
};
use tokio::{sync::Barrier, task::JoinSet, time::sleep};

use crate::{CaseFailure, CaseResult};

/// A key, checked.
pub(crate) fn key(name: &str) -> Result<IdempotencyKey, InvalidName> {
    IdempotencyKey::new(name)
}

/// An account, checked.
pub(crate) fn account(name: &str) -> Result<AccountId, InvalidName> {
    AccountId::new(name)
}

/// A claim of the key for a request that is its name.
pub(crate) fn claim(name: &str) -> Result<Claim, InvalidName> {
    Ok(Claim::new(
        key(name)?,
        Fingerprint::of_bytes("conformance", name.as_bytes()),
    ))
}

/// A claim of the key for another request.
pub(crate) fn other_claim(name: &str, request: &str) -> Result<Claim, InvalidName> {
    Ok(Claim::new(
        key(name)?,
        Fingerprint::of_bytes("conformance", request.as_bytes()),
    ))
}

/// A receipt with this text.
pub(crate) fn receipt(text: &str) -> Receipt {
    Receipt::from_bytes(text.as_bytes().to_vec())
}

/// An amount.
pub(crate) fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units)
}

/// How long [`retry`] goes on; an engine would go on for ever.
const RETRY_MAX: Duration = Duration::from_secs(20);

/// Calls again while the answer is a retryable error, as an engine does; the last answer.
pub(crate) async fn retry<T, F, Fut>(mut call: F) -> Result<T, Error>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match call().await {
            Err(error) if error.is_retryable() && started.elapsed() < RETRY_MAX => {
                let asked = match error.kind().advice() {
                    Advice::Retry { after: Some(after) } => after.min(Duration::from_millis(200)),
                    _ => Duration::ZERO,
                };
                sleep(pause.max(asked)).await;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            answer => return answer,
        }
    }
}

/// Requires a refusal of exactly this kind.
#[track_caller]
pub(crate) fn refused<T: Debug>(
    answer: Result<T, Error>,
    kind: ErrorKind,
    what: &str,
) -> CaseResult {
    match answer {
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(CaseFailure::new(
            format!("{what} to be refused as {kind:?}"),
            format!("refused as {:?}: {error}", error.kind()),
        )),
        Ok(answer) => Err(CaseFailure::new(
            format!("{what} to be refused as {kind:?}"),
            format!("it was accepted: {answer:?}"),
        )),
    }
}

/// Requires this very refusal: its kind, and its text.
#[track_caller]
pub(crate) fn worded<T: Debug>(
    answer: Result<T, Error>,
    refusal: &Error,
    what: &str,
) -> CaseResult {
    let text = |error: &Error| error.message().unwrap_or_default().to_owned();
    if let Err(error) = &answer
        && error.kind() == refusal.kind()
        && text(error) != text(refusal)
    {
        return Err(CaseFailure::new(
            format!("{what} to be refused with the text {:?}", text(refusal)),
            format!("the text {:?}", text(error)),
        ));
    }
    refused(answer, refusal.kind(), what)
}

/// Runs the racers in a task each, let go all at once; what they gave, in their order.
pub(crate) async fn race<T, Fut>(racers: impl IntoIterator<Item = Fut>) -> CaseResult<Vec<T>>
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    let racers: Vec<Fut> = racers.into_iter().collect();
    let start = Arc::new(Barrier::new(racers.len()));
    let mut tasks = JoinSet::new();
    for (number, racer) in racers.into_iter().enumerate() {
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            start.wait().await;
            (number, racer.await)
        });
    }
    let mut ended = Vec::new();
    while let Some(racer) = tasks.join_next().await {
        ended.push(racer?);
    }
    ended.sort_by_key(|(number, _)| *number);
    Ok(ended.into_iter().map(|(_, ended)| ended).collect())
}

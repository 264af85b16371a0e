//! Sweeping and forgetting, over the store and the other participants that are named.

use super::{arguments::SweepOver, open, output::Answer};
use crate::{
    AnyStore, Error, Result,
    coordinator::{SweepReport, Sweeper},
};

const COLUMNS: [&str; 3] = ["what", "how many", "where"];

/// Ends everything that is past its deadline, as the register says.
pub(super) async fn sweep(store: &AnyStore, namespace: &str, over: SweepOver) -> Result<Answer> {
    let report = sweeper(store, namespace, over).await?.sweep().await?;
    Ok(told(&report))
}

/// Removes the records of transactions whose time is over.
pub(super) async fn forget(
    store: &AnyStore,
    namespace: &str,
    over: SweepOver,
    limit: u32,
) -> Result<Answer> {
    let sweeper = sweeper(store, namespace, over).await?;
    let mut report = sweeper.forget(limit).await;
    match report.failed.pop() {
        Some(error) => Err(error),
        None => Ok(Answer::said(format!("{} records removed", report.removed))),
    }
}

async fn sweeper(store: &AnyStore, namespace: &str, over: SweepOver) -> Result<Sweeper<AnyStore>> {
    let register = match over.register {
        Some(url) => open(&url, namespace).await?,
        None => store.clone(),
    };
    let mut sweeper = Sweeper::new(register).participant("the store", store.clone())?;
    for (number, url) in over.also.iter().enumerate() {
        let name = format!("participant {}", number + 1);
        sweeper = sweeper.participant(name, open(url, namespace).await?)?;
    }
    Ok(sweeper)
}

/// Whatever needs a person makes the exit code 1.
fn told(report: &SweepReport) -> Answer {
    let count = |what: &str, many: u64| vec![what.to_owned(), many.to_string(), String::new()];
    let error = |what: &str, error: &Error| {
        let text = error.to_string();
        vec![what.to_owned(), "1".to_owned(), text]
    };
    let mut rows = vec![
        count("left alone, in time", report.waiting),
        count("committed", report.committed),
        count("rolled back", report.rolled_back),
    ];
    rows.extend(report.foreign.iter().map(|foreign| {
        let at = format!(
            "{} at {}, of the register {}",
            foreign.transaction, foreign.participant, foreign.register
        );
        vec![
            "of another register, left alone".to_owned(),
            "1".to_owned(),
            at,
        ]
    }));
    rows.extend(report.unfinished.iter().map(|(digest, name)| {
        let at = format!("{digest} at {name}");
        vec!["UNFINISHED".to_owned(), "1".to_owned(), at]
    }));
    rows.extend(report.alarms.iter().map(|alarm| error("ALARM", alarm)));
    rows.extend(report.failed.iter().map(|failed| error("failed", failed)));
    let fine = report.unfinished.is_empty() && report.alarms.is_empty() && report.failed.is_empty();
    Answer::table(&COLUMNS, rows, fine)
}

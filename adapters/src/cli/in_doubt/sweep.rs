//! Sweeping and forgetting, over all stores. Each may hold a register: a transaction is resolved by the
//! one that it names.

use std::collections::BTreeSet;

use crate::{
    AnyStore, ErrorKind, Result,
    cli::{
        arguments::Sure,
        output::{Answer, Cell, confirm},
        stores::{Given, Stores},
    },
    two_phase::{SweepReport, Sweeper},
};

const COLUMNS: [&str; 3] = ["what", "register", "where"];

/// A sweeper over one register, and all stores.
pub(super) fn sweeper(stores: &Stores, register: &Given) -> Result<Sweeper<AnyStore>> {
    let mut sweeper = Sweeper::new(register.store.clone());
    for given in &stores.given {
        sweeper = sweeper.participant(&given.name, given.store.clone())?;
    }
    Ok(sweeper)
}

pub(super) async fn sweep(stores: &Stores, sure: Sure) -> Result<Answer> {
    let question = format!(
        "What is past its deadline ends as its register says, at: {}.",
        stores.named()
    );
    confirm(&question, sure.yes)?;
    let mut swept = Vec::new();
    for register in &stores.given {
        match sweeper(stores, register)?.sweep().await {
            Ok(report) => swept.push((register, report)),
            // Nothing is proven, so nothing was done with what this register decides.
            Err(error) => {
                let mut report = SweepReport::default();
                report.failed.push(error);
                swept.push((register, report));
            }
        }
    }
    Ok(report(swept, stores))
}

/// What needs an operator makes the exit code 1.
pub(super) fn report(swept: Vec<(&Given, SweepReport)>, stores: &Stores) -> Answer {
    let count =
        |of: fn(&SweepReport) -> u64| swept.iter().map(|(_, report)| of(report)).sum::<u64>();
    // Each sweeper sees what waits at every store; each entry is committed by one of them.
    let waiting = swept.iter().map(|(_, report)| report.waiting).max();
    let answer = Answer::new()
        .fact("left alone in time", waiting.unwrap_or_default())
        .fact("committed", count(|report| report.committed))
        .fact("rolled back", count(|report| report.rolled_back));
    let mut foreign = BTreeSet::new();
    let mut failed = BTreeSet::new();
    let mut rows = Vec::new();
    for (register, report) in swept {
        for entry in report.foreign {
            if stores.holding(&entry.register).is_none() {
                let at = format!("{} at {}", entry.transaction, entry.participant);
                foreign.insert((at, entry.register));
            }
        }
        let name: Cell = register.name.as_str().into();
        let unfinished = report.unfinished.into_iter();
        rows.extend(unfinished.map(|(digest, at)| {
            let at = format!("{digest} at {at}").into();
            vec!["UNFINISHED".into(), name.clone(), at]
        }));
        for alarm in report.alarms {
            let kind = match alarm.kind() {
                ErrorKind::Lost => "ALARM: lost",
                _ => "ALARM: heuristic",
            };
            rows.push(vec![kind.into(), name.clone(), alarm.to_string().into()]);
        }
        // A store that fails does so for each register.
        failed.extend(report.failed.iter().map(ToString::to_string));
    }
    let fine = rows.is_empty() && failed.is_empty() && stores.away.is_empty();
    rows.extend(foreign.into_iter().map(|(at, register)| {
        let what = "of a register that is not given, left alone";
        vec![what.into(), register.to_string().into(), at.into()]
    }));
    rows.extend(
        failed
            .into_iter()
            .map(|error| vec!["failed".into(), Cell::Nothing, error.into()]),
    );
    let answer = answer.with_table(&COLUMNS, rows).needs_attention(!fine);
    stores.notes().fold(answer, Answer::note)
}

/// Removes records that are past `forget_after`. A store that is away keeps no other from being cleaned.
pub(super) async fn forget(stores: &Stores, limit: u32, sure: Sure) -> Result<Answer> {
    let question = format!(
        "At most {limit} records past `forget_after` will be removed for good, at each of: {}.",
        stores.named()
    );
    confirm(&question, sure.yes)?;
    let (mut removed, mut failed) = (0, Vec::new());
    for given in &stores.given {
        let sweeper = Sweeper::new(given.store.clone());
        let report = sweeper
            .participant(&given.name, given.store.clone())?
            .forget(limit)
            .await;
        removed += report.removed;
        let errors = report.failed.into_iter();
        failed.extend(errors.map(|error| format!("failed at {:?}: {error}", given.name)));
    }
    let incomplete = !failed.is_empty() || !stores.away.is_empty();
    let answer = Answer::said(format!("{removed} records removed"))
        .fact("removed", removed)
        .needs_attention(incomplete);
    let answer = failed.into_iter().fold(answer, Answer::note);
    Ok(stores.notes().fold(answer, Answer::note))
}

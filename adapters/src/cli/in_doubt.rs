//! Prepared transactions that wait for their decision.

use super::{
    arguments::InDoubtCommand,
    open,
    output::{Answer, confirm},
    sweep,
};
use crate::{
    AnyStore, Decision, DecisionRegister, Error, ErrorKind, InDoubt, PreparedTransactions, Result,
    Store,
};

const COLUMNS: [&str; 5] = [
    "transaction",
    "age seconds",
    "past its deadline",
    "register",
    "fingerprint",
];
const PAGE: u32 = 500;

pub(super) async fn run(
    store: &AnyStore,
    namespace: &str,
    command: InDoubtCommand,
) -> Result<Answer> {
    match command {
        InDoubtCommand::Sweep { over } => sweep::sweep(store, namespace, over).await,
        InDoubtCommand::Forget { over, limit } => {
            sweep::forget(store, namespace, over, limit).await
        }
        InDoubtCommand::List { limit } => list(store, limit).await,
        InDoubtCommand::Show { digest, register } => {
            let register = register_of(store, namespace, register).await?;
            let found = find(store, &digest).await?;
            let row = row(store, &found, Some(&register)).await?;
            Ok(Answer::table(&COLUMNS, vec![row], true))
        }
        InDoubtCommand::Resolve {
            digest,
            register,
            yes,
        } => {
            let register = register_of(store, namespace, register).await?;
            resolve(store, register, &digest, yes).await
        }
    }
}

async fn register_of(store: &AnyStore, namespace: &str, url: Option<String>) -> Result<AnyStore> {
    match url {
        Some(url) => open(&url, namespace).await,
        None => Ok(store.clone()),
    }
}

async fn list(store: &AnyStore, limit: u32) -> Result<Answer> {
    let page = store.in_doubt(None, limit).await?;
    let now = store.now().await?;
    let late = page
        .entries
        .iter()
        .any(|entry| now > entry.participation.not_after());
    let mut rows = Vec::new();
    for entry in &page.entries {
        rows.push(row(store, entry, None).await?);
    }
    Ok(Answer::table(&COLUMNS, rows, !late))
}

async fn row(
    store: &AnyStore,
    entry: &InDoubt,
    register: Option<&AnyStore>,
) -> Result<Vec<String>> {
    let late = store.now().await? > entry.participation.not_after();
    let decision = match register {
        None => "not asked",
        Some(register) => match register.decision(&entry.participation).await? {
            Some(entry) => entry.decision.as_str(),
            None => "nothing yet",
        },
    };
    Ok(vec![
        entry.participation.transaction().to_string(),
        entry.age.as_secs().to_string(),
        if late { "yes" } else { "no" }.to_owned(),
        decision.to_owned(),
        entry.participation.fingerprint().to_string(),
    ])
}

/// The one whose digest begins like this.
async fn find(store: &AnyStore, digest: &str) -> Result<InDoubt> {
    let refuse = |message: &str| {
        Err(Error::new(ErrorKind::Invalid, "in-doubt", "cli").with_message(message))
    };
    let mut found = None;
    let mut after = None;
    loop {
        let page = store.in_doubt(after.as_ref(), PAGE).await?;
        for entry in page.entries {
            if entry
                .participation
                .transaction()
                .to_string()
                .starts_with(digest)
            {
                if found.is_some() {
                    return refuse("more than one transaction begins like this: give more of it");
                }
                found = Some(entry);
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    match found {
        Some(entry) => Ok(entry),
        None => refuse("no transaction in doubt has this digest"),
    }
}

/// As the register says: a person must not decide past it. The register is not told that everybody
/// knows, since other participants may still wait; a sweep does that.
async fn resolve(store: &AnyStore, register: AnyStore, digest: &str, yes: bool) -> Result<Answer> {
    let participation = find(store, digest).await?.participation;
    if store.now().await? <= participation.not_after() {
        return Err(Error::new(ErrorKind::Busy, "in-doubt", "cli")
            .with_message("its deadline has not passed yet: its coordinator may still be at it"));
    }
    let known = register.decision(&participation).await?;
    let what = known.map_or("rollback (nothing was decided)", |entry| {
        entry.decision.as_str()
    });
    confirm(&format!("The transaction will end here with: {what}."), yes)?;
    let decision = match register.decide(&participation, Decision::Rollback).await {
        // A commit is kept until everybody was told: what still waits was never committed.
        Err(error) if error.kind() == ErrorKind::Forgotten => Decision::Rollback,
        decided => decided?,
    };
    match decision {
        Decision::Commit => store.commit_prepared(&participation).await?,
        Decision::Rollback => store.rollback_prepared(&participation).await?,
    }
    Ok(Answer::said(format!("ended with: {}", decision.as_str())))
}

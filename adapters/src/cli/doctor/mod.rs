//! What is wrong with a server or file, each finding with the remedy that fixes it.
//!
//! It asks the backend itself, not our store: a store refuses to open over some of these findings.

#[cfg(feature = "tokio-postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "rusqlite")]
mod sqlite;

use super::output::{Answer, Cell};
use crate::{Error, ErrorKind, Result, connect::StoreUrl};

/// One thing that was looked at.
pub(super) struct Finding {
    what: &'static str,
    seen: String,
    /// What to do about it; `None` where it is fine.
    remedy: Option<String>,
}

#[cfg(any(feature = "tokio-postgres", feature = "rusqlite", feature = "redis"))]
impl Finding {
    /// Looked at: fine, or to be fixed like this.
    fn new(what: &'static str, seen: impl Into<String>, fine: bool, remedy: &str) -> Self {
        let remedy = (!fine).then(|| remedy.to_owned());
        Self {
            what,
            seen: seen.into(),
            remedy,
        }
    }
}

#[cfg_attr(
    not(feature = "tokio-postgres"),
    expect(unused_variables, reason = "only Postgres has ages to judge")
)]
async fn ask(url: &str, max_age: u32) -> Result<Vec<Finding>> {
    let url = StoreUrl::parse(url)?;
    match url.scheme.as_str() {
        #[cfg(feature = "tokio-postgres")]
        "postgres" | "postgresql" => postgres::examine(&url, max_age).await,
        #[cfg(feature = "rusqlite")]
        "sqlite" => sqlite::examine(&url.base).await,
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "unix" => redis::examine(&url.base).await,
        _ => Err(
            Error::new(ErrorKind::Configuration, "doctor", "cli").with_message(
                "no doctor for this URL: it needs postgres:, sqlite: or redis:, and the feature \
             `tokio-postgres`, `rusqlite` or `redis`",
            ),
        ),
    }
}

pub(super) async fn examine(url: &str, max_age: u32) -> Result<Answer> {
    let findings = ask(url, max_age).await?;
    let fine = findings.iter().all(|finding| finding.remedy.is_none());
    let rows = findings.into_iter().map(|Finding { what, seen, remedy }| {
        let verdict = if remedy.is_some() { "MEND" } else { "ok" };
        vec![
            verdict.into(),
            what.into(),
            seen.into(),
            Cell::or_nothing(remedy),
        ]
    });
    let columns = ["verdict", "what", "seen", "remedy"];
    Ok(Answer::table(&columns, rows.collect()).needs_attention(!fine))
}

/// The tables are there, in this version.
#[cfg(any(feature = "tokio-postgres", feature = "rusqlite"))]
fn schema_version(found: i64, known: i64) -> Finding {
    let remedy = if found > known {
        "a newer program has upgraded them: use that version of exactly-once here too"
    } else {
        "run: exactly-once migrate"
    };
    Finding::new("schema version", found.to_string(), found == known, remedy)
}

/// The backend could not be asked. The driver's text may quote the URL, so only its kind is shown.
#[cfg(any(feature = "tokio-postgres", feature = "rusqlite", feature = "redis"))]
fn unreachable(store: &'static str) -> Error {
    Error::new(ErrorKind::Unavailable, "doctor", store).with_message(
        "can't be asked: check that it runs, and the host, port, user and password of the URL",
    )
}

//! What came of an invocation, in the database and towards the caller.

use std::fmt;

use anyhow::{Context as _, Result};
use exactly_once::sqlite::SqliteStore;
use rusqlite::Connection;

use super::service::Service;
use crate::{
    patterns::{Pattern, Way, version},
    plain,
};

/// What the caller got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A value.
    Value(i64),
    /// A status and what was said.
    Refused(u16, String),
    /// Nothing, and there never will be; with the failure that comes again and again.
    Never(String),
}

/// What was seen after an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How often the effect happened.
    pub effects: i64,
    /// What the database holds.
    pub value: i64,
    /// How many transactions were left prepared.
    pub in_doubt: i64,
    /// What the caller got.
    pub answer: Answer,
}

impl Seen {
    /// One effect, nothing in doubt, and the caller got what the database holds.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.effects == 1 && self.in_doubt == 0 && self.answer == Answer::Value(self.value)
    }
}

/// As it stands in the table.
impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_right() {
            return f.write_str("one effect, right answer");
        }
        match self.effects {
            0 => f.write_str("**no** effect")?,
            1 => f.write_str("one effect")?,
            more => write!(f, "**{more} effects**")?,
        }
        if self.in_doubt > 0 {
            write!(f, ", **{} in doubt**", self.in_doubt)?;
        }
        match &self.answer {
            Answer::Value(value) if *value == self.value => Ok(()),
            Answer::Value(_) => f.write_str(", **wrong answer**"),
            Answer::Refused(status, _) => write!(f, ", **answered {status}**"),
            Answer::Never(_) => f.write_str(", **retries for ever**"),
        }
    }
}

pub(super) async fn look(service: &Service<'_>, name: &str, answer: Answer) -> Result<Seen> {
    let (effects, value, in_doubt) = match (service.pattern, service.way) {
        (Pattern::TwoPhase, way) => in_postgres(service, way, name).await?,
        (Pattern::State, Way::Ours) => in_restate(service, name).await?,
        (Pattern::Version, Way::Ours) => {
            let store = SqliteStore::open(service.folder.join("pattern.sqlite")).await?;
            let (effects, value) = version::look(&store, name).await?;
            (effects, value, 0)
        }
        (pattern, _) => in_sqlite(service, pattern, name)?,
    };
    Ok(Seen {
        effects,
        value,
        in_doubt,
        answer,
    })
}

fn database(service: &Service<'_>) -> Result<Connection> {
    plain::open(&service.folder.join("pattern.sqlite"), "")
}

fn in_sqlite(service: &Service<'_>, pattern: Pattern, name: &str) -> Result<(i64, i64, i64)> {
    let sql = match pattern {
        Pattern::Version => "SELECT version - 1, cents FROM accounts WHERE name = ?1",
        Pattern::State => "SELECT n, n FROM counters WHERE name = ?1",
        _ => "SELECT count(*), coalesce(max(cents), 0) FROM payments WHERE name = ?1",
    };
    let both = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, 0));
    Ok(database(service)?.query_row(sql, [name], both)?)
}

/// The order in Postgres; ours has a payment in SQLite with it, all or none.
async fn in_postgres(service: &Service<'_>, way: Way, name: &str) -> Result<(i64, i64, i64)> {
    let postgres = service.servers.postgres().await?;
    let orders = format!(
        "SELECT count(*), coalesce(max(cents), 0), \
         (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database() {}) \
         FROM orders WHERE name = '{name}'",
        // The recipe leaves some behind; ours must leave none at all.
        match way {
            Way::Recipe => format!("AND gid = '{name}'"),
            Way::Ours => String::new(),
        }
    );
    let row = postgres.sql(way.word(), &orders).await?;
    let numbers: Vec<i64> = row
        .split('|')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| row.clone())?;
    let [effects, value, in_doubt] = numbers[..] else {
        anyhow::bail!("three numbers, not {row}");
    };
    if way == Way::Ours {
        let (payments, _, _) = in_sqlite(service, Pattern::Simple, name)?;
        anyhow::ensure!(payments == effects, "{effects} orders, {payments} payments");
    }
    Ok((effects, value, in_doubt))
}

/// The object's own state.
async fn in_restate(service: &Service<'_>, name: &str) -> Result<(i64, i64, i64)> {
    let sql = format!(
        "SELECT value_utf8 FROM state WHERE service_name = '{}' AND service_key = '{name}'",
        service.pattern.service(service.way)
    );
    let rows = service.servers.restate.query(&sql).await?;
    let n = match rows.first() {
        Some(row) => row["value_utf8"].as_str().context("no text")?.parse()?,
        None => 0,
    };
    Ok((n, n, 0))
}

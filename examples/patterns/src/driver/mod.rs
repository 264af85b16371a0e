//! Runs the patterns on the real Restate server, lets their processes die, and reads what came of
//! it.
//!
//! # Layout
//! - `servers`: Restate, and Postgres if a pattern needs it.
//! - `service`: one pattern's process, and invocations of it.
//! - `seen`: what came of an invocation, in the database and towards the caller.

mod seen;
mod servers;
mod service;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

pub use seen::{Answer, Seen};
pub use servers::Servers;
pub use service::Service;

use crate::{
    control::{AROUND_COMMIT, AROUND_PREPARE, Point},
    patterns::{Pattern, Way},
    table::{Restart, Row},
};

/// Lets the process die at each crash point of a pattern, and gives its rows of the table.
///
/// # Errors
/// Where a server fails, or nothing comes of an invocation.
pub async fn crash(service: &Service<'_>) -> Result<Vec<Row>> {
    let (pattern, way) = (service.pattern, service.way);
    let mut rows = Vec::new();
    for phase in phases(pattern) {
        let mut cells = Vec::new();
        for point in phase {
            cells.push(service.crash(*point).await?);
        }
        rows.push(Row::new(pattern, way, phase[0], cells));
    }
    Ok(rows)
}

/// Restarts an invocation of a pattern of ours as a new one from each entry of its journal.
///
/// # Errors
/// Where it does not end well without any crash, or nothing comes of a restart.
pub async fn restarts(service: &Service<'_>) -> Result<Vec<Restart>> {
    let name = "whole";
    let (invocation, seen) = service.plain(name).await?;
    ensure!(seen.is_right(), "{seen:?}");
    let mut effects = seen.effects;
    let mut restarts = Vec::new();
    for (entry, kept) in service.journal(&invocation).await? {
        let seen = service.restart(&invocation, name, entry).await?;
        let more = seen.effects - effects;
        effects = seen.effects;
        restarts.push(Restart::new(service.pattern, kept, more, seen));
    }
    Ok(restarts)
}

fn phases(pattern: Pattern) -> Vec<&'static [Point]> {
    if pattern == Pattern::TwoPhase {
        return vec![&AROUND_PREPARE, &AROUND_COMMIT];
    }
    vec![&AROUND_COMMIT]
}

/// Both tables whole, all patterns at once.
///
/// # Errors
/// As [`crash`] and [`restarts`].
pub async fn tables(servers: &Servers) -> Result<(Vec<Row>, Vec<Restart>)> {
    let all = Pattern::ALL
        .into_iter()
        .flat_map(|pattern| [(pattern, Way::Recipe), (pattern, Way::Ours)]);
    let rows = all.map(async |(pattern, way)| {
        let service = Service::start(servers, pattern, way).await?;
        let rows = crash(&service).await?;
        let restarts = match way {
            Way::Recipe => Vec::new(),
            Way::Ours => restarts(&service).await?,
        };
        anyhow::Ok((rows, restarts))
    });
    let (rows, restarts): (Vec<_>, Vec<_>) = try_join_all(rows).await?.into_iter().unzip();
    Ok((rows.concat(), restarts.concat()))
}

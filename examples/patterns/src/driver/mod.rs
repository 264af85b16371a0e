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

use anyhow::Result;
use futures_util::future::try_join_all;

pub use seen::{Answer, Seen};
pub use servers::Servers;
pub use service::Service;

use crate::{
    control::{AROUND_COMMIT, AROUND_PREPARE, Point},
    patterns::{Pattern, Way},
    table::Row,
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

fn phases(pattern: Pattern) -> Vec<&'static [Point]> {
    if pattern == Pattern::TwoPhase {
        return vec![&AROUND_PREPARE, &AROUND_COMMIT];
    }
    vec![&AROUND_COMMIT]
}

/// The whole table, all patterns at once.
///
/// # Errors
/// As [`crash`].
pub async fn table(servers: &Servers) -> Result<Vec<Row>> {
    let all = Pattern::ALL
        .into_iter()
        .flat_map(|pattern| [(pattern, Way::Recipe), (pattern, Way::Ours)]);
    let rows = all.map(async |(pattern, way)| {
        let service = Service::start(servers, pattern, way).await?;
        crash(&service).await
    });
    let rows = try_join_all(rows).await?;
    Ok(rows.into_iter().flatten().collect())
}

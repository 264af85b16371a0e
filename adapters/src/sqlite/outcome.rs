//! The stored row of a prepared transaction, and who holds a reserved row.

use exactly_once_core::{
    ErrorKind, Namespace, Participation, Result, Timestamp, TransactionDigest,
    adapter::{
        refusals,
        rules::participants::{Known, Stage},
    },
};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{STORE, error, statement};

const fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Working => "working",
        Stage::Prepared => "prepared",
        Stage::Committed => "committed",
        Stage::RolledBack => "rolled_back",
    }
}

fn parse(stored: &str) -> Option<Stage> {
    [Stage::Prepared, Stage::Committed, Stage::RolledBack]
        .into_iter()
        .find(|stage| word(*stage) == stored)
}

/// Reads the four columns `tx, terms, not_after, forget_after` from position `at` on.
pub(super) fn read_participation(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<Result<Participation>> {
    Ok(Participation::from_terms(
        TransactionDigest::from_bytes(row.get(at)?),
        &row.get::<_, Vec<u8>>(at + 1)?,
        Timestamp::from_micros(row.get(at + 2)?),
        Timestamp::from_micros(row.get(at + 3)?),
    ))
}

/// What is known of the transaction.
pub(super) fn find(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
) -> Result<Known> {
    let stored = connection
        .prepare_cached(
            "SELECT tx, terms, not_after, forget_after, state FROM exactly_once_outcome \
             WHERE namespace = ?1 AND tx = ?2",
        )
        .and_then(|mut query| {
            query
                .query_row(
                    params![namespace.as_str(), participation.transaction().as_bytes()],
                    |row| Ok((read_participation(row, 0)?, row.get::<_, String>(4)?)),
                )
                .optional()
        })
        .map_err(statement(operation))?;
    let Some((stored, stage)) = stored else {
        return Ok(Known::Nothing);
    };
    let stage = parse(&stage).ok_or_else(|| {
        error(
            ErrorKind::Configuration,
            operation,
            "a row of exactly_once_outcome is not as this library writes it",
        )
    })?;
    Ok(Known::of(Some((&stored?, stage)), participation))
}

/// Writes where the transaction stands, in place of what was there.
pub(super) fn set(
    connection: &Connection,
    operation: &'static str,
    namespace: &Namespace,
    participation: &Participation,
    stage: Stage,
    now: Timestamp,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO exactly_once_outcome (namespace, tx, terms, state, not_after, \
             forget_after, prepared_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE \
             SET state = ?4",
        )
        .and_then(|mut upsert| {
            upsert.execute(params![
                namespace.as_str(),
                participation.transaction().as_bytes(),
                participation.terms(),
                word(stage),
                participation.not_after().as_micros(),
                participation.forget_after().as_micros(),
                now.as_micros()
            ])
        })
        .map(drop)
        .map_err(statement(operation))
}

/// Says which prepared transactions hold rows of a table; `None` if none does by now.
pub(super) fn holders(connection: &Connection, table: &str) -> Option<String> {
    let found: rusqlite::Result<Vec<String>> = connection
        .prepare_cached(
            "SELECT DISTINCT namespace, lower(hex(tx)) FROM exactly_once_reservation WHERE \
             table_name = ?1 COLLATE NOCASE LIMIT 4",
        )
        .and_then(|mut query| {
            query
                .query_map([table], |row| {
                    let (namespace, tx): (String, String) = (row.get(0)?, row.get(1)?);
                    Ok(format!("{tx} of namespace {namespace}"))
                })?
                .collect()
        });
    // Only more words for an error that is reported anyway.
    let found = found.ok().filter(|found| !found.is_empty())?;
    let row = format!("a row of the table {table}");
    let reserved = refusals::reserved(&row, &found.join(", or "), "", STORE);
    reserved.message().map(str::to_owned)
}

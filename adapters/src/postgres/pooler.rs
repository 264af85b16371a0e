//! A pooler between the store and the server: found at connect, since it decides what may be kept on a
//! connection.

use std::time::{SystemTime, UNIX_EPOCH};

use exactly_once_core::{ErrorKind, Result};
use tokio::time::timeout;

use super::{
    driver::{Connection, Driver, DriverError},
    error::{convert, error},
    options::Timeouts,
    session::Session,
    sqlstate::Stage,
    statements::cell,
};

const PID: &str = "SELECT pg_catalog.pg_backend_pid()";

/// What a pooler in statement mode says of `BEGIN`.
const PROTOCOL_VIOLATION: &str = "08P01";

/// Looks for a pooler, and makes the driver keep no statements where it would mix them up. Where there
/// is one, neither connection may be used any more: they may have kept some.
pub(super) async fn look<D: Driver>(
    driver: &D,
    session: &mut Session<D::Connection>,
    timeouts: &Timeouts,
) -> Result<bool> {
    let first = begin(session).await?;
    let second = match driver.most_connections() {
        0 | 1 => None,
        // Others may have them all.
        _ => timeout(timeouts.acquire, driver.acquire()).await.ok(),
    };
    let Some(Ok(second)) = second else {
        session.batch("ROLLBACK").await.map_err(failed)?;
        return Ok(false);
    };
    let mut second = Session::new(second, timeouts.reply);
    // Of two connections that are both open, each has a server process of its own, unless a pooler
    // lends them one: the one that the first gives back is the next to be lent.
    let before = pid(&mut second, "").await.map_err(failed)?;
    let ended = pid(session, "ROLLBACK; ").await.map_err(failed)?;
    let after = pid(&mut second, "").await.map_err(failed)?;
    if first == ended && before == after && first != before {
        second.release();
        return Ok(false);
    }
    if counts_names(&mut second).await && !driver.keep_no_statements() {
        return Err(error(
            ErrorKind::Configuration,
            "connect",
            "the pool leads through a transaction pooler that does not keep prepared statements \
             apart: one program's would run in place of another's. Give the pool \
             `PgConnectOptions::statement_cache_capacity(0)`, or the pooler prepared statements \
             (pgbouncer from 1.21: max_prepared_statements = 200)",
        ));
    }
    tracing::info!("the store is connected through a transaction pooler");
    Ok(true)
}

fn failed(failed: DriverError) -> exactly_once_core::Error {
    convert(failed, "connect", Stage::Ours)
}

async fn pid<C: Connection>(
    session: &mut Session<C>,
    before: &str,
) -> Result<Option<String>, DriverError> {
    let replies = session.batch(&format!("{before}{PID}")).await?;
    Ok(cell(replies.last(), 0).map(str::to_owned))
}

/// Begins a transaction, which is one session's from one message to the next, and returns its process.
async fn begin<C: Connection>(session: &mut Session<C>) -> Result<Option<String>> {
    let statement_mode = || {
        error(
            ErrorKind::Configuration,
            "connect",
            "a pooler in statement mode is in between, and no transaction holds. To fix it: \
             pool_mode = transaction (or session) in pgbouncer.ini, then RELOAD",
        )
    };
    let first = match pid(session, "BEGIN; ").await {
        Err(refused) if refused.code() == Some(PROTOCOL_VIOLATION) => return Err(statement_mode()),
        first => first.map_err(failed)?,
    };
    let second = pid(session, "").await.map_err(failed)?;
    if first == second {
        Ok(first)
    } else {
        Err(statement_mode())
    }
}

/// Whether the driver's own names reach the server: both drivers count them, each process from the
/// beginning.
async fn counts_names<C: Connection>(session: &mut Session<C>) -> bool {
    // Of this very connection: another program may have left such a name on the server's.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let moment = now.map_or(0, |now| now.as_nanos());
    let probe = format!(
        "SELECT 1 AS exactly_once_probe_{}_{moment}",
        std::process::id()
    );
    let look = format!(
        "SELECT 1 FROM pg_catalog.pg_prepared_statements \
         WHERE statement = '{probe}' AND name ~ '^(sqlx_s_|s)[0-9]+$'"
    );
    let counted = async {
        session.batch("BEGIN").await?;
        if !session.keep_statement(probe).await? {
            return Ok(Vec::new());
        }
        session.batch(&look).await
    };
    match counted.await {
        Ok(replies) => replies.first().is_some_and(|reply| !reply.rows.is_empty()),
        // Such a name is another program's.
        Err(_) => true,
    }
}

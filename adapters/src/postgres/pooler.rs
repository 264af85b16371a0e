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
    check_transactions(session).await?;
    if driver.most_connections() < 2 {
        return Ok(false);
    }
    // Others may have them all.
    let Ok(Ok(second)) = timeout(timeouts.acquire, driver.acquire()).await else {
        return Ok(false);
    };
    let mut second = Session::new(second, timeouts.reply);
    let pooled = is_shared(session, &mut second).await.map_err(failed)?;
    if !pooled {
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

/// A transaction is one session's, from one message to the next.
async fn check_transactions<C: Connection>(session: &mut Session<C>) -> Result<()> {
    let statement_mode = || {
        error(
            ErrorKind::Configuration,
            "connect",
            "a pooler in statement mode is in between, and no transaction holds. To mend it: \
             pool_mode = transaction (or session) in pgbouncer.ini, then RELOAD",
        )
    };
    let first = match pid(session, "BEGIN; ").await {
        Err(refused) if refused.code() == Some(PROTOCOL_VIOLATION) => return Err(statement_mode()),
        first => first.map_err(failed)?,
    };
    let second = pid(session, "").await.map_err(failed)?;
    session.batch("ROLLBACK").await.map_err(failed)?;
    if first == second {
        Ok(())
    } else {
        Err(statement_mode())
    }
}

/// Whether two connections that are both open have met one server process.
async fn is_shared<C: Connection>(
    one: &mut Session<C>,
    other: &mut Session<C>,
) -> Result<bool, DriverError> {
    let mut seen = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        seen[0].push(pid(one, "BEGIN; ").await?);
        seen[1].push(pid(other, "").await?);
        one.batch("ROLLBACK").await?;
        seen[1].push(pid(other, "").await?);
        seen[0].push(pid(one, "").await?);
    }
    let [one, other] = seen;
    let moved = |pids: &[Option<String>]| pids.windows(2).any(|two| two.first() != two.get(1));
    Ok(moved(&one) || moved(&other) || one.iter().any(|pid| other.contains(pid)))
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
        session.keep_statement(probe).await?;
        session.batch(&look).await
    };
    match counted.await {
        Ok(replies) => replies.first().is_some_and(|reply| !reply.rows.is_empty()),
        // Such a name is another program's.
        Err(_) => true,
    }
}

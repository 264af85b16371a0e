//! After the load: all is up, everything ends, one sweep.

use std::time::{Duration, Instant};

use anyhow::Result;
use exactly_once_order::stores::Stores;
use exactly_once_servers::restate::Action;
use serde_json::Value;
use tokio::time::sleep;
use tokio_postgres::NoTls;

use super::{DEADLINE, PATIENCE, world::World};
use crate::audit::{Anomaly, Kind};

/// Work in the background, such as a sweep of a service, may be under way for a moment.
const BACKGROUND: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// How it came to rest.
#[derive(Debug, Default)]
pub struct Rest {
    /// How many participants the one sweep has committed, and how many it has rolled back.
    pub swept: [u64; 2],
    /// What did not come to rest.
    pub anomalies: Vec<Anomaly>,
}

/// Waits until nothing is under way, stops the services, and sweeps once.
///
/// # Errors
/// Where one does not answer.
pub async fn come_to_rest(world: &World) -> Result<Rest> {
    let mut rest = Rest::default();
    for stuck in unfinished(world).await? {
        rest.anomalies.push(Anomaly::new(Kind::Stuck, stuck));
    }
    for busy in sessions(&world.addresses.postgres).await? {
        rest.anomalies.push(Anomaly::new(Kind::LeftBehind, busy));
    }
    // In order, or it is an error.
    tokio::try_join!(world.effects.stop(), world.orders.stop())?;
    sleep(DEADLINE + Duration::from_millis(100)).await;
    let stores = Stores::connect(&world.addresses).await?;
    let sweep = stores.sweeper()?.sweep().await?;
    rest.swept = [sweep.committed, sweep.rolled_back];
    let mut complain = |what| rest.anomalies.push(Anomaly::new(Kind::Sweep, what));
    if sweep.waiting > 0 {
        complain(format!("{} are not past their deadline", sweep.waiting));
    }
    for (transaction, participant) in &sweep.unfinished {
        complain(format!("{participant} knows nothing of {transaction}"));
    }
    for error in sweep.alarms.iter().chain(&sweep.failed) {
        complain(error.to_string());
    }
    Ok(rest)
}

/// What does not end in Restate, and why. What is paused is resumed.
async fn unfinished(world: &World) -> Result<Vec<String>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let sql = "SELECT id, status, target, idempotency_key, last_failure FROM sys_invocation \
                   WHERE status <> 'completed'";
        let rows = world.restate.query(sql).await?;
        if rows.is_empty() || Instant::now() > deadline {
            return Ok(rows.iter().map(Value::to_string).collect());
        }
        for row in rows.iter().filter(|row| row["status"] == "paused") {
            if let Some(id) = row["id"].as_str() {
                // It may be under way again by now.
                let _ = world.restate.act(Action::Resume, id).await;
            }
        }
        sleep(POLL).await;
    }
}

/// Sessions that are not idle, and locks that they hold, while the services are up: their pools
/// must be at rest.
async fn sessions(postgres: &str) -> Result<Vec<String>> {
    let (client, connection) = tokio_postgres::connect(postgres, NoTls).await?;
    let connection = tokio::spawn(connection);
    let busy = "SELECT format('a session that is %s since %s: %s', state, xact_start, query) \
                FROM pg_stat_activity WHERE datname = current_database() \
                AND pid <> pg_backend_pid() AND state <> 'idle'";
    let locks = "SELECT format('a lock: %s %s by %s', locktype, mode, pid) FROM pg_locks \
                 WHERE pid <> pg_backend_pid() AND locktype <> 'virtualxid'";
    let deadline = Instant::now() + BACKGROUND;
    loop {
        let mut found = Vec::new();
        for sql in [busy, locks] {
            let rows = client.query(sql, &[]).await?;
            found.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
        if found.is_empty() || Instant::now() > deadline {
            drop(client);
            connection.await??;
            return Ok(found);
        }
        sleep(POLL).await;
    }
}

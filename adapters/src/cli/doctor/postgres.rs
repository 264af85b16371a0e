//! PostgreSQL.

use tokio_postgres::{Client, NoTls};

use super::{Finding, unreachable};
use crate::Result;

const STORE: &str = "postgres";

pub(super) async fn examine(url: &str) -> Result<Vec<Finding>> {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .map_err(|_| unreachable(STORE))?;
    let connection = tokio::spawn(connection);
    let findings = ask(&client)
        .await
        .map_err(|error| unreachable(STORE).with_source(error));
    drop(client);
    let _ = connection.await;
    findings
}

async fn ask(client: &Client) -> std::result::Result<Vec<Finding>, tokio_postgres::Error> {
    let mut findings = settings(client).await?;
    findings.push(role(client).await?);
    findings.extend(in_doubt(client).await?);
    findings.push(schema(client).await?);
    Ok(findings)
}

async fn setting(
    client: &Client,
    name: &str,
) -> std::result::Result<String, tokio_postgres::Error> {
    let row = client
        .query_one("SELECT current_setting($1)", &[&name])
        .await?;
    row.try_get(0)
}

async fn settings(client: &Client) -> std::result::Result<Vec<Finding>, tokio_postgres::Error> {
    let slots = setting(client, "max_prepared_transactions").await?;
    let fsync = setting(client, "fsync").await?;
    let pages = setting(client, "full_page_writes").await?;
    let commit = setting(client, "synchronous_commit").await?;
    let standby: bool = client
        .query_one("SELECT pg_is_in_recovery()", &[])
        .await?
        .try_get(0)?;
    Ok(vec![
        Finding::new(
            "server_version",
            setting(client, "server_version").await?,
            true,
            "",
        ),
        Finding::new(
            "max_prepared_transactions",
            &*slots,
            slots != "0",
            "two-phase commit is off: ALTER SYSTEM SET max_prepared_transactions = 64; then \
             RESTART the server (a reload is not enough; standbys first)",
        ),
        Finding::new(
            "fsync",
            &*fsync,
            fsync == "on",
            "a power cut loses commits: ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();",
        ),
        Finding::new(
            "full_page_writes",
            &*pages,
            pages == "on",
            "a power cut corrupts pages: ALTER SYSTEM SET full_page_writes = on; \
             SELECT pg_reload_conf();",
        ),
        Finding::new(
            "synchronous_commit",
            &*commit,
            commit != "off",
            "acknowledged commits of your own may be lost in a crash (ours set it locally): \
             ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
        ),
        Finding::new(
            "role of the server",
            if standby { "hot standby" } else { "primary" },
            !standby,
            "it can't write: connect to the primary, or SELECT pg_promote();",
        ),
    ])
}

async fn role(client: &Client) -> std::result::Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT current_user::text, \
             has_database_privilege(current_database(), 'CREATE') \
             OR to_regnamespace('exactly_once') IS NOT NULL",
            &[],
        )
        .await?;
    let name: String = row.try_get(0)?;
    Ok(Finding::new(
        "role",
        name,
        row.try_get(1)?,
        "it may not create the schema: run `exactly-once migrate` once as the owner, or \
         GRANT CREATE ON DATABASE … TO …",
    ))
}

/// Prepared transactions of everybody in the cluster: slots and vacuum are shared by all.
async fn in_doubt(client: &Client) -> std::result::Result<Vec<Finding>, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT count(*), coalesce(extract(epoch FROM now() - min(prepared)), 0)::int8, \
             coalesce(max(age(transaction)), 0)::int8, \
             current_setting('max_prepared_transactions')::int8 FROM pg_prepared_xacts",
            &[],
        )
        .await?;
    let (used, oldest, age, slots): (i64, i64, i64, i64) = (
        row.try_get(0)?,
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
    );
    Ok(vec![
        Finding::new(
            "slots used",
            format!("{used} of {slots}"),
            slots == 0 || used * 5 <= slots * 4,
            "nearly all slots for prepared transactions are taken: exactly-once in-doubt list; \
             end what is past its deadline, or raise max_prepared_transactions and restart",
        ),
        Finding::new(
            "oldest in doubt",
            format!("{oldest} seconds"),
            oldest <= 600,
            "it holds its locks and holds back vacuum: exactly-once in-doubt list, then \
             in-doubt resolve; of others: SELECT gid, owner, database FROM pg_prepared_xacts",
        ),
        Finding::new(
            "vacuum held back by what is prepared",
            format!("{age} transactions"),
            age < 10_000_000,
            "dead rows can't be removed since: end the oldest prepared transaction",
        ),
    ])
}

async fn schema(client: &Client) -> std::result::Result<Finding, tokio_postgres::Error> {
    let row = client
        .query_one("SELECT to_regnamespace('exactly_once') IS NOT NULL", &[])
        .await?;
    let there: bool = row.try_get(0)?;
    Ok(Finding::new(
        "schema exactly_once",
        if there { "there" } else { "missing" },
        there,
        "run: exactly-once migrate",
    ))
}

//! PostgreSQL.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{Finding, unreachable};
use crate::{
    Result,
    connect::StoreUrl,
    postgres::{
        Timeouts,
        identifier::quote,
        schema::{DEFAULT_SCHEMA, VERSION},
        tokio_postgres::pool,
    },
};

const STORE: &str = "postgres";

pub(super) async fn examine(url: &StoreUrl, max_age: u32) -> Result<Vec<Finding>> {
    // As the store would connect, TLS and all.
    let pool = pool(&url.base, 2, &Timeouts::default())?;
    let schema = quote(url.options.text("schema").unwrap_or(DEFAULT_SCHEMA));
    let client = pool.get().await.map_err(|_| unreachable(STORE))?;
    let failed = |error| unreachable(STORE).with_source(error);
    let mut findings = ask(&client, &schema, max_age.into())
        .await
        .map_err(failed)?;
    if let Ok(other) = pool.get().await {
        findings.push(route(&client, &other).await.map_err(failed)?);
    }
    Ok(findings)
}

type Asked<T> = std::result::Result<T, tokio_postgres::Error>;

/// `schema`, that of the store's tables, is quoted.
async fn ask(client: &Client, schema: &str, max_age: i64) -> Asked<Vec<Finding>> {
    let mut findings = settings(client).await?;
    findings.push(standbys(client).await?);
    findings.push(role(client, schema).await?);
    findings.extend(in_doubt(client, max_age).await?);
    findings.push(open_transaction(client, max_age).await?);
    findings.push(vacuum(client).await?);
    findings.push(version(client, schema).await?);
    Ok(findings)
}

/// Two connections that are both open have a server process each, unless a pooler lends them one.
async fn route(client: &Client, other: &Client) -> Asked<Finding> {
    let pid = async |client: &Client| -> Asked<Option<String>> {
        let messages = client.simple_query("SELECT pg_backend_pid()").await?;
        Ok(messages.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    };
    let (one, two, again) = (pid(client).await?, pid(other).await?, pid(client).await?);
    let direct = one != two && one == again;
    Ok(Finding::new(
        "route",
        if direct {
            "direct"
        } else {
            "through a transaction pooler"
        },
        true,
        "",
    ))
}

async fn setting(client: &Client, name: &str) -> Asked<String> {
    let row = client
        .query_one("SELECT current_setting($1)", &[&name])
        .await?;
    row.try_get(0)
}

async fn settings(client: &Client) -> Asked<Vec<Finding>> {
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

async fn role(client: &Client, schema: &str) -> Asked<Finding> {
    let row = client
        .query_one(
            "SELECT current_user::text, \
             has_database_privilege(current_database(), 'CREATE') \
             OR to_regnamespace($1) IS NOT NULL",
            &[&schema],
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

async fn standbys(client: &Client) -> Asked<Finding> {
    let asked = "SELECT count(*), count(*) FILTER (WHERE sync_state = 'async') \
         FROM pg_stat_replication";
    let row = client.query_one(asked, &[]).await?;
    let (all, late): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    Ok(Finding::new(
        "standbys",
        format!("{all}, of which {late} are not waited for"),
        all == 0 || late < all,
        "a failover to them loses acknowledged commits and prepared transactions: ALTER SYSTEM \
         SET synchronous_standby_names = '*'; SELECT pg_reload_conf();",
    ))
}

/// Prepared transactions of everybody in the cluster: slots and vacuum are shared by all.
async fn in_doubt(client: &Client, max_age: i64) -> Asked<Vec<Finding>> {
    let row = client
        .query_one(
            "SELECT count(*), coalesce(extract(epoch FROM now() - min(prepared)), 0)::int8, \
             current_setting('max_prepared_transactions')::int8 FROM pg_prepared_xacts",
            &[],
        )
        .await?;
    let (used, oldest, slots): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
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
            oldest <= max_age,
            "it holds its locks and holds back vacuum: exactly-once in-doubt list, then \
             in-doubt resolve; of others: SELECT gid, owner, database FROM pg_prepared_xacts",
        ),
    ])
}

/// Of the sessions that this role may look at.
async fn open_transaction(client: &Client, max_age: i64) -> Asked<Finding> {
    let row = client
        .query_opt(
            "SELECT pid, extract(epoch FROM now() - xact_start)::int8 FROM pg_stat_activity \
             WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() \
             AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1",
            &[],
        )
        .await?;
    let (pid, age): (i32, i64) = match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, 0),
    };
    Ok(Finding::new(
        "oldest open transaction",
        format!("{age} seconds"),
        age <= max_age,
        &format!(
            "it holds its locks and holds back vacuum; end its session: \
             SELECT pg_terminate_backend({pid});"
        ),
    ))
}

/// What keeps dead rows from being removed; the furthest back of all.
async fn vacuum(client: &Client) -> Asked<Finding> {
    let row = client
        .query_opt(
            "SELECT what, age::int8 FROM ( \
             SELECT 'the prepared transaction ' || gid AS what, age(transaction) AS age \
             FROM pg_prepared_xacts UNION ALL \
             SELECT 'the session with pid ' || pid, greatest(age(backend_xid), age(backend_xmin)) \
             FROM pg_stat_activity WHERE pid <> pg_backend_pid() UNION ALL \
             SELECT 'the replication slot ' || slot_name, greatest(age(xmin), age(catalog_xmin)) \
             FROM pg_replication_slots UNION ALL \
             SELECT 'the standby ' || application_name, age(backend_xmin) \
             FROM pg_stat_replication) AS holder \
             WHERE age IS NOT NULL ORDER BY age DESC LIMIT 1",
            &[],
        )
        .await?;
    let (what, age): (String, i64) = match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => ("nothing".to_owned(), 0),
    };
    Ok(Finding::new(
        "what holds back vacuum",
        format!("{what}, by {age} transactions"),
        age < 10_000_000,
        "dead rows can't be removed since: end it, or drop the slot",
    ))
}

async fn version(client: &Client, schema: &str) -> Asked<Finding> {
    let table = format!("{schema}.schema_version");
    let there = "SELECT to_regclass($1) IS NOT NULL";
    if !client.query_one(there, &[&table]).await?.try_get(0)? {
        let remedy = "run: exactly-once migrate";
        return Ok(Finding::new("schema version", "none", false, remedy));
    }
    let rows = client
        .query(&format!("SELECT version FROM {table}"), &[])
        .await?;
    let version: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(super::schema_version(version, VERSION))
}

//! The page *Operating on Postgres*: its SQL runs as written, and the roles that it makes can do what
//! it says, and no more.
#![cfg(feature = "tokio-postgres")]
#![allow(clippy::unwrap_used)]

use exactly_once::{
    Claim, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, IdempotencyStore,
    postgres::{TokioPostgresStore, TokioPostgresTx},
};
use exactly_once_servers::Postgres;

const PAGE: &str = include_str!("../src/guide/operating_postgres.md");

#[tokio::test(flavor = "multi_thread")]
async fn the_page_runs_as_written() {
    let blocks: Vec<&str> = PAGE
        .split("```sql\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
        .collect();
    let [roles, rights, rest @ ..] = blocks.as_slice() else {
        panic!("the page has {} blocks", blocks.len());
    };
    let server = Postgres::start(15).await.unwrap();
    let sql = async |block: &str| server.sql("postgres", block).await.unwrap();
    let open = async |user: &str, password: &str| {
        let url = server.database_url("postgres");
        let url = url.replace("postgres:throwaway", &format!("{user}:{password}"));
        let builder = TokioPostgresStore::builder(url);
        builder
            .migrate_at_connect(user == "shop_owner")
            .connect()
            .await
    };
    sql(roles).await;
    open("shop_owner", "owner").await.unwrap();
    // Before the rights.
    let refused = open("shop_app", "app").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Configuration, "{refused}");
    sql(rights).await;
    let store = open("shop_app", "app").await.unwrap();
    let key = IdempotencyKey::new("pay/17").unwrap();
    let claim = Claim::new(key, Fingerprint::of("pay", &17).unwrap());
    let work = async |_: &mut TokioPostgresTx| Ok(17);
    assert_eq!(store.execute_once(&claim, work).await.unwrap().value, 17);
    for block in rest {
        sql(block).await;
    }
    let seen = "SELECT namespace || ' ' || key || ' ' || state FROM exactly_once_readable.keys";
    let as_reader = format!("SET ROLE shop_reader; {seen}");
    assert!(sql(&as_reader).await.ends_with("pay/17 applied"));
    let past = server
        .sql(
            "postgres",
            "SET ROLE shop_reader; SELECT * FROM exactly_once.keys",
        )
        .await;
    assert!(past.is_err(), "the reader reads past its views");
    assert_eq!(store.expire(10).await.unwrap(), 0);
}

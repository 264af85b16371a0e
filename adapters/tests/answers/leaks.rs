//! A corpus of refused statements and wrong settings on the SQL backends, whose errors, logs and records
//! are searched for planted values.

use std::error::Error as StdError;

use anyhow::Result;
use exactly_once::{
    ErrorKind, ExecuteOnce, OneShot, OneShotStore, Receipt, Statement, WorkError,
    postgres::{SqlxPostgresStore, TokioPostgresStore, TokioPostgresTx},
    sqlite::SqliteStore,
};
use exactly_once_servers::Postgres;

use crate::{
    claim,
    heard::{PLANTED, clean, log, said},
};

const TABLES: [&str; 4] = [
    "CREATE TABLE parent (id bigint PRIMARY KEY)",
    "CREATE TABLE account (id bigint PRIMARY KEY, owner text UNIQUE NOT NULL, \
     amount bigint NOT NULL CONSTRAINT enough CHECK (amount >= 0), \
     parent bigint REFERENCES parent (id))",
    "CREATE TABLE later (id bigint PRIMARY KEY, \
     parent bigint REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO account (id, owner, amount) VALUES (47114711, 's3cret-pl4nted', 1)",
];

/// Statements that are refused, by name, and a word that the text must hold.
fn corpus() -> Vec<(&'static str, Statement, &'static str)> {
    let secret = PLANTED[0];
    let insert = "INSERT INTO account (id, owner, amount, parent) VALUES ($1, $2, $3, $4)";
    let account = |id: i64, owner: Option<&str>, amount: i64, parent: Option<i64>| {
        Statement::new(insert)
            .bind(id)
            .bind(owner.map(str::to_owned))
            .bind(amount)
            .bind(parent)
    };
    vec![
        ("unique", account(2, Some(secret), 1, None), "account"),
        (
            "primary key",
            account(47_114_711, Some("x"), 1, None),
            "account",
        ),
        (
            "check",
            account(3, Some(secret), -47_114_711, None),
            "enough",
        ),
        ("not null", account(47_114_711, None, 1, None), "owner"),
        (
            "foreign key",
            account(4, Some("y"), 1, Some(47_114_711)),
            "",
        ),
        (
            "update",
            Statement::new("UPDATE account SET amount = amount - $1").bind(47_114_711),
            "enough",
        ),
        (
            "deferred",
            Statement::new("INSERT INTO later (id, parent) VALUES ($1, $2)")
                .bind(1)
                .bind(47_114_711),
            "",
        ),
        (
            "rows",
            Statement::new("UPDATE account SET amount = 2 WHERE owner = $1")
                .bind("absent")
                .expecting_rows(1),
            "statement 1 changed 0 rows and must change exactly 1",
        ),
    ]
}

/// Each of the corpus, alone and again.
async fn refusals<S: OneShotStore>(store: &S) {
    let backend = store.backend();
    for (name, statement, word) in corpus() {
        let effect = OneShot {
            claim: claim(&format!("refused/{name}")),
            statements: vec![statement],
            receipt: Receipt::json(&1).unwrap(),
        };
        let first = store.execute_one_shot(&effect).await.unwrap_err();
        let again = store.execute_one_shot(&effect).await.unwrap_err();
        assert_eq!(
            first.kind(),
            ErrorKind::Refused,
            "{backend}, {name}: {first}"
        );
        assert_eq!(first.to_string(), again.to_string(), "{backend}, {name}");
        assert!(
            first.to_string().contains(word),
            "{backend}, {name}: {first}"
        );
        clean(name, &said(&first));
        clean(name, &said(&again));
        let record = store.lookup(effect.claim.key()).await.unwrap();
        clean(name, &format!("{record:?}"));
    }
}

/// A handler's own error type.
#[derive(Debug)]
struct Own(tokio_postgres::Error);

impl std::fmt::Display for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Own {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_a_row_is_ever_reported() -> Result<()> {
    let log = log();
    let server = Postgres::start(15).await?;
    for (database, by_sqlx) in [("by_tokio", false), ("by_sqlx", true)] {
        server.create_database(database).await?;
        for sql in TABLES {
            server.sql(database, sql).await?;
        }
        let url = server.database_url(database);
        if by_sqlx {
            refusals(&SqlxPostgresStore::builder(&url).connect().await?).await;
            continue;
        }
        let store = TokioPostgresStore::builder(&url).connect().await?;
        refusals(&store).await;
        let claim = claim("wrapped");
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = store
                .execute_once(&claim, async |tx: &mut TokioPostgresTx| {
                    let sql = "UPDATE account SET amount = -47114711";
                    let done = tx.client()?.execute(sql, &[]).await;
                    done.map_err(|error| WorkError::from(Own(error)))
                })
                .await;
            answers.push(answer.unwrap_err());
        }
        assert_eq!(answers[0].kind(), ErrorKind::Refused, "{}", answers[0]);
        assert!(
            answers[0].to_string().contains("\"enough\""),
            "{}",
            answers[0]
        );
        assert_eq!(answers[0].to_string(), answers[1].to_string());
        answers
            .iter()
            .for_each(|error| clean("wrapped", &said(error)));
    }
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("answers.db");
    let sqlite = SqliteStore::builder(&file).open().await?;
    let plain = rusqlite::Connection::open(&file)?;
    for sql in TABLES {
        plain.execute_batch(sql)?;
    }
    refusals(&sqlite).await;

    // Settings: what the server said, and its code.
    let postgres = server.port();
    for (url, words) in [
        (
            format!(
                "postgres://absent:{}@127.0.0.1:{postgres}/by_sqlx",
                PLANTED[0]
            ),
            ["28", "absent"],
        ),
        (
            server.database_url("by_sqlx_missing"),
            ["3D000", "by_sqlx_missing"],
        ),
    ] {
        for error in [
            TokioPostgresStore::builder(&url)
                .connect()
                .await
                .map(drop)
                .unwrap_err(),
            SqlxPostgresStore::builder(&url)
                .connect()
                .await
                .map(drop)
                .unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
            words
                .iter()
                .for_each(|word| assert!(error.to_string().contains(word), "{error}"));
            clean("settings", &said(&error));
        }
    }
    clean("the log", &log.text());
    Ok(())
}

/// What SQLite says of a value is no configuration to be fixed.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_says_what_a_value_does_not_fit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::builder(folder.path().join("said.db"))
        .open()
        .await?;
    let sum = "SELECT sum(x) FROM (SELECT 9223372036854775807 AS x UNION ALL SELECT 1)";
    for (name, statement, kind) in [
        ("sum", Statement::new(sum), ErrorKind::Overflow),
        (
            "json",
            Statement::new("SELECT json($1)").bind("{"),
            ErrorKind::Invalid,
        ),
        ("empty", Statement::new(""), ErrorKind::Invalid),
        (
            "table",
            Statement::new("DELETE FROM no_such_table"),
            ErrorKind::Configuration,
        ),
        (
            "typo",
            Statement::new("DELET FROM x"),
            ErrorKind::Configuration,
        ),
    ] {
        let effect = OneShot {
            claim: claim(name),
            statements: vec![statement],
            receipt: Receipt::json(&1)?,
        };
        let error = store.execute_one_shot(&effect).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(!error.to_string().contains("report"), "{error}");
        assert!(!error.to_string().contains("execute_once"), "{error}");
    }
    Ok(())
}

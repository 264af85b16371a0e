//! The README's table of guarantees says what the stores declare about themselves.
//!
//! Method: each store states its capabilities in the table's words, and the words must stand in its
//! column. The embedded stores are opened, and a throwaway server is started for each of the others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use exactly_once::{Capabilities, ClaimMode, Durability, TwoPhase};

/// The first five lines of a column, from what a store declares.
fn column(capabilities: &Capabilities) -> [&'static str; 5] {
    let durability = match capabilities.durability {
        Durability::None => "nothing",
        Durability::Process => "a killed process",
        Durability::Power => "a power cut",
        _ => "unknown",
    };
    let claim = match capabilities.claim {
        ClaimMode::First => "first",
        ClaimMode::Optimistic => "with the commit",
        _ => "unknown",
    };
    let time = if capabilities.server_time {
        "the server's"
    } else {
        "this machine's"
    };
    let (two_phase, stops) = match capabilities.two_phase {
        TwoPhase::None => ("none", "no"),
        TwoPhase::Native => ("native", "yes"),
        TwoPhase::Staged {
            stops_foreign_writers: true,
        } => ("staged", "yes"),
        TwoPhase::Staged {
            stops_foreign_writers: false,
        } => ("staged", "no"),
        _ => ("unknown", "unknown"),
    };
    [durability, claim, time, two_phase, stops]
}

/// The same lines as the README has them, in the column with this title.
fn readme(title: &str) -> [String; 5] {
    let text = include_str!("../../README.md");
    let table: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("## What each backend guarantees"))
        .filter(|line| line.starts_with('|'))
        .take(7)
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let at = table[0]
        .iter()
        .position(|cell| *cell == title)
        .expect("the column is in the table");
    std::array::from_fn(|line| table[line + 2][at].to_owned())
}

#[cfg(feature = "memory")]
#[test]
fn memory_is_as_the_readme_says() {
    use exactly_once::Store;
    let store = exactly_once::memory::MemoryStore::new();
    assert_eq!(readme("memory"), column(&store.capabilities()));
}

#[cfg(feature = "rusqlite")]
#[tokio::test]
async fn sqlite_is_as_the_readme_says() {
    use exactly_once::Store;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guarantees.db");
    let store = exactly_once::sqlite::SqliteStore::open(path).await.unwrap();
    assert_eq!(readme("SQLite"), column(&store.capabilities()));
}

#[cfg(feature = "tokio-postgres")]
#[tokio::test]
async fn postgres_is_as_the_readme_says() {
    use exactly_once::Store;
    let server = exactly_once_servers::Postgres::start(15).await.unwrap();
    let store = exactly_once::postgres::TokioPostgresStore::builder(server.url())
        .connect()
        .await
        .unwrap();
    assert_eq!(readme("Postgres"), column(&store.capabilities()));
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn redis_is_as_the_readme_says() {
    use exactly_once::Store;
    let server = exactly_once_servers::Redis::start().await.unwrap();
    let store = exactly_once::redis::RedisStore::builder(server.url())
        .connect()
        .await
        .unwrap();
    assert_eq!(readme("Redis"), column(&store.capabilities()));
}

/// With every backend switched off there would be nothing to check.
#[test]
fn the_table_has_its_columns() {
    for title in ["SQLite", "Postgres", "Redis", "memory"] {
        assert!(readme(title).iter().all(|cell| !cell.is_empty()));
    }
}

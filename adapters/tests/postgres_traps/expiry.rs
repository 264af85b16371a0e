//! What is removed in batches: a batch costs what it removes, however much is stored.

use std::time::Duration;

use exactly_once::{DecisionRegister, IdempotencyStore, PreparedTransactions, Store};

use crate::{
    store,
    world::{World, world},
};

/// Stored rows, of which every other one has expired.
const STORED: i64 = 30_000;

/// Removed at once.
const BATCH: u32 = 100;

/// What a batch may read of an index or a table: its own rows, and those that are gone already.
const MOST_READ: i64 = 10 * BATCH as i64;

/// Whether some of them are over, or none.
async fn fill(world: &World, some: bool) {
    let over = if some { "i % 2 = 0" } else { "false" };
    let moment = format!("CASE WHEN {over} THEN i ELSE 4000000000000000 + i END");
    // No ANALYZE has run on the tables since: the planner takes them to be small.
    let sql = format!(
        "ALTER TABLE exactly_once.keys SET (autovacuum_enabled = off);
         ALTER TABLE exactly_once.outcomes SET (autovacuum_enabled = off);
         ALTER TABLE exactly_once.decisions SET (autovacuum_enabled = off);
         ANALYZE exactly_once.keys, exactly_once.outcomes, exactly_once.decisions;
         INSERT INTO exactly_once.keys (namespace, key, fingerprint, outcome, body, expires_at)
         SELECT 'default', i::text::bytea, '', 1, '', {moment} FROM generate_series(1, {STORED}) i;
         INSERT INTO exactly_once.outcomes
         SELECT 'default', i::text::bytea, '', true, 0, {moment} FROM generate_series(1, {STORED}) i;
         INSERT INTO exactly_once.decisions
         SELECT 'default', i::text::bytea, '', '', true, true, NULL, NULL, 0, {moment}
         FROM generate_series(1, {STORED}) i"
    );
    world.sql(&sql).await;
}

/// Rows and entries of indexes that were read of a table until now.
pub(crate) async fn read_until_now(world: &World, table: &str) -> i64 {
    let sql = format!(
        "SELECT coalesce(t.seq_tup_read, 0) + (SELECT sum(i.idx_tup_read)
         FROM pg_stat_all_indexes i WHERE i.relid = t.relid)
         FROM pg_stat_all_tables t WHERE t.schemaname = 'exactly_once' AND t.relname = '{table}'"
    );
    world.sql(&sql).await.parse().unwrap()
}

/// How much the store reads of the table to remove a batch.
async fn reads(world: &World, table: &str, removed: u64) -> i64 {
    let before = read_until_now(world, table).await;
    let store = store(world).await;
    let gone = match table {
        "keys" => store.expire(BATCH).await,
        "outcomes" => store.forget_prepared(BATCH).await,
        _ => store.forget_decisions(BATCH).await,
    };
    assert_eq!(gone.unwrap(), removed, "{table}");
    // A session that ends leaves its counts, but not at once.
    store.close().await.unwrap();
    let mut read = 0;
    for _ in 0..50 {
        read = read_until_now(world, table).await - before;
        if read > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    read
}

async fn batches(some: bool) {
    let world = world().await;
    store(&world).await.close().await.unwrap();
    fill(&world, some).await;
    let removed = if some { u64::from(BATCH) } else { 0 };
    for table in ["keys", "outcomes", "decisions"] {
        let read = reads(&world, table, removed).await;
        assert!(read <= MOST_READ, "{table}: {read} rows were read");
        assert!(!some || read > 0, "{table}: no counts came");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reads_what_it_removes() {
    batches(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_over_next_to_nothing_is_read() {
    batches(false).await;
}

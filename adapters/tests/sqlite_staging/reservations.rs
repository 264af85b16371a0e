//! What prepared work reserves: for this library's writers and for others, until it is decided.

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, BalanceTransaction, ErrorKind, IdempotencyKey,
    OpenAccount, PreparedStatus, PreparedTransactions, Transactional,
};

use crate::{Place, STOCK};

#[tokio::test]
async fn a_writer_without_this_library_meets_the_reservations() {
    let place = Place::new(STOCK).await;
    let sql = "UPDATE stock SET n = 0, name = 'nib' WHERE id = 1;
               INSERT INTO stock VALUES (9, 'cap', 5)";
    let part = place.prepare("t", sql).await.unwrap();
    let db = place.foreign();
    for refused in [
        "UPDATE stock SET n = 99 WHERE id = 1",
        "DELETE FROM stock WHERE id = 1",
        "DELETE FROM stock",
        "UPDATE stock SET id = 9 WHERE id = 2",
        "INSERT INTO stock VALUES (9, 'x', 1)",
        "INSERT INTO stock VALUES (10, 'CAP', 1)",
        "INSERT INTO stock VALUES (10, 'nib', 1)",
        "INSERT INTO stock VALUES (10, 'pen', 1)",
        "INSERT OR REPLACE INTO stock VALUES (10, 'pen', 1)",
        "INSERT OR IGNORE INTO stock VALUES (9, 'x', 1)",
        "INSERT OR REPLACE INTO stock VALUES (1, 'y', 1)",
        "UPDATE OR REPLACE stock SET name = 'cap' WHERE id = 2",
    ] {
        let answer = db.execute(refused, []);
        let text = answer.expect_err(refused).to_string();
        assert!(
            text.contains("exactly-once: reserved by"),
            "{refused}: {text}"
        );
    }
    db.execute("UPDATE stock SET n = 21 WHERE id = 2", [])
        .unwrap();
    db.execute("INSERT INTO stock VALUES (10, NULL, 1), (11, NULL, 1)", [])
        .unwrap();
    place.store.commit_prepared(&part).await.unwrap();
    db.execute("UPDATE stock SET n = 99 WHERE id = 1", [])
        .unwrap();
}

#[tokio::test]
async fn a_reservation_names_its_holder_and_ends_with_the_rollback() {
    let place = Place::new(STOCK).await;
    let part = place
        .prepare("t", "UPDATE stock SET n = 0 WHERE id = 1")
        .await
        .unwrap();
    let mut tx = place.store.begin().await.unwrap();
    let update = "UPDATE stock SET n = n + 1 WHERE id = 1";
    let met = tx.run(move |db| db.execute(update, [])).await.unwrap_err();
    assert_eq!(met.kind(), ErrorKind::Reserved);
    assert!(
        met.to_string().contains(&part.transaction().to_string()),
        "{met}"
    );
    place.store.rollback(tx).await.unwrap();
    let second = place.prepare("u", update).await.unwrap_err();
    assert_eq!(second.kind(), ErrorKind::Reserved);
    place.store.rollback_prepared(&part).await.unwrap();
    let second = place.prepare("u", update).await.unwrap();
    place.store.commit_prepared(&second).await.unwrap();
    assert_eq!(
        place.store.prepared_status(&part).await.unwrap(),
        PreparedStatus::RolledBack
    );
}

#[tokio::test]
async fn accounts_are_reserved_floor_and_all() {
    let place = Place::new("").await;
    let store = &place.store;
    let name = |name: &str| {
        (
            IdempotencyKey::new(name).unwrap(),
            AccountId::new("a").unwrap(),
        )
    };
    let (key, account) = name("open");
    let open = OpenAccount::new(key, account.clone()).with_amount(Amount::new(100));
    store.open_account(&open).await.unwrap();
    let part = place.part("t").await;
    let mut tx = place.begin(&part).await;
    let debit = Adjust::new(name("debit").0, account.clone(), Amount::new(-100));
    assert_eq!(
        store.adjust_in(&mut tx, &debit).await.unwrap().change.after,
        Amount::ZERO
    );
    let again = store.adjust_in(&mut tx, &debit).await.unwrap();
    assert!(again.replayed);
    store.prepare(tx, &part).await.unwrap();
    assert_eq!(
        store.balance(&account).await.unwrap().unwrap().amount,
        Amount::new(100)
    );
    for delta in [-1, 1] {
        let other = Adjust::new(name("other").0, account.clone(), Amount::new(delta));
        let met = store.adjust(&other).await.unwrap_err();
        assert_eq!(met.kind(), ErrorKind::Reserved);
        assert!(
            met.to_string().contains(&part.transaction().to_string()),
            "{met}"
        );
    }
    // The same key on another account would take the operation's record away.
    let b = AccountId::new("b").unwrap();
    let open = OpenAccount::new(IdempotencyKey::new("open b").unwrap(), b.clone());
    store.open_account(&open).await.unwrap();
    let thief = Adjust::new(name("debit").0, b, Amount::new(5));
    assert!(store.adjust(&thief).await.unwrap_err().is_retryable());
    store.commit_prepared(&part).await.unwrap();
    let state = store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount, state.version.get()), (Amount::ZERO, 2));
    assert!(store.adjust(&debit).await.unwrap().replayed);
    let history = store.history(&account, None, 10).await.unwrap().changes;
    let changes = history.iter();
    let found: Vec<_> = changes
        .map(|change| (change.version.get(), change.after.get()))
        .collect();
    assert_eq!(found, [(1, 100), (2, 0)]);
}

#[tokio::test]
async fn a_change_past_the_reservation_is_heuristic_and_nothing_is_applied() {
    let place = Place::new(STOCK).await;
    let sql = "INSERT INTO stock VALUES (9, 'cap', 5); UPDATE stock SET n = 0 WHERE id = 1";
    let part = place.prepare("t", sql).await.unwrap();
    let db = place.foreign();
    let off = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER;
    db.set_db_config(off, false).unwrap();
    db.execute("UPDATE stock SET n = 7 WHERE id = 1", [])
        .unwrap();
    let alarm = place.store.commit_prepared(&part).await.unwrap_err();
    assert_eq!(alarm.kind(), ErrorKind::Heuristic);
    assert_eq!(
        place.store.prepared_status(&part).await.unwrap(),
        PreparedStatus::Prepared
    );
    let caps: i64 = db
        .query_row("SELECT count(*) FROM stock WHERE id = 9", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(caps, 0);
}

#[tokio::test]
async fn guards_follow_the_schema_and_can_be_removed_for_a_migration() {
    let place = Place::new(STOCK).await;
    let first = place
        .prepare("t", "UPDATE stock SET n = 1 WHERE id = 1")
        .await
        .unwrap();
    assert_eq!(
        place.store.remove_guards().await.unwrap(),
        0,
        "while rows are reserved"
    );
    place.store.commit_prepared(&first).await.unwrap();
    let db = place.foreign();
    let migration = "DROP INDEX IF EXISTS none; ALTER TABLE stock RENAME COLUMN n TO amount";
    assert!(place.store.remove_guards().await.unwrap() > 0);
    db.execute_batch("DROP TRIGGER stock_audit").unwrap();
    db.execute_batch(migration).unwrap();
    db.execute_batch(
        "ALTER TABLE stock ADD COLUMN code TEXT; CREATE UNIQUE INDEX u ON stock (code)",
    )
    .unwrap();
    let sql = "UPDATE stock SET amount = 2, code = 'x' WHERE id = 1";
    let second = place.prepare("u", sql).await.unwrap();
    let met = db
        .execute("INSERT INTO stock (id, code) VALUES (50, 'x')", [])
        .unwrap_err();
    assert!(met.to_string().contains("reserved by"), "{met}");
    place.store.commit_prepared(&second).await.unwrap();
    let row = "SELECT amount || code FROM stock WHERE id = 1";
    let row: String = db.query_row(row, [], |row| row.get(0)).unwrap();
    assert_eq!(row, "2x");
}

//! What work must not change of the store and its connection.

use std::time::Duration;

use exactly_once::{ErrorKind, Transactional};
use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthContext, Authorization},
};

use crate::Place;

#[tokio::test]
async fn the_stores_own_objects_are_refused_to_all_work() {
    let place =
        Place::new("CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 1)").await;
    let part = place.prepare("t", "UPDATE t SET a = 2").await.unwrap();
    for sql in [
        "DROP TABLE exactly_once_key",
        "ALTER TABLE exactly_once_key RENAME TO other",
        "ALTER TABLE exactly_once_key ADD COLUMN more",
        "ALTER TABLE exactly_once_account DROP COLUMN floor",
        "DROP INDEX exactly_once_key_expiry",
        "CREATE INDEX mine ON exactly_once_key (state)",
        "CREATE TRIGGER mine AFTER INSERT ON exactly_once_key BEGIN SELECT 1; END",
        "DROP TRIGGER exactly_once_guard_update_t",
        "CREATE TABLE exactly_once_more (a)",
        "CREATE TABLE Exactly_Once_more (a)",
    ] {
        let failure = place.plain(sql).await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused, "{sql}: {failure}");
        assert!(
            failure.to_string().contains("belongs to the store"),
            "{sql}: {failure}"
        );
    }
    place.commit(&part).await;
    // A table of the user's own goes with its guards.
    place.plain("DROP TABLE t").await.unwrap();
}

#[tokio::test]
async fn hooks_and_settings_are_put_back_and_the_work_is_refused() {
    let place = Place::new("CREATE TABLE t (id INTEGER PRIMARY KEY)").await;
    let allow = |_: AuthContext<'_>| Authorization::Allow;
    let breaches: [(&str, fn(&Connection) -> rusqlite::Result<()>); 4] = [
        ("no authorizer", |db| {
            db.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
        }),
        ("another", |db| {
            db.authorizer(Some(|_: AuthContext<'_>| Authorization::Allow))
        }),
        ("no triggers", |db| {
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
                .map(drop)
        }),
        ("no foreign keys", |db| {
            db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)
                .map(drop)
        }),
    ];
    let _ = allow;
    for (what, breach) in breaches {
        let mut tx = place.store.begin().await.unwrap();
        let work = move |db: &Connection| {
            breach(db)?;
            db.execute_batch("INSERT INTO t VALUES (1)")
        };
        let failure = tx.run(work).await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Refused, "{what}: {failure}");
        // The fences are up again, in this transaction and in the next one.
        for sql in [
            "COMMIT",
            "DELETE FROM exactly_once_key",
            "PRAGMA synchronous = OFF",
        ] {
            let met = tx.run(move |db| db.execute_batch(sql)).await.unwrap_err();
            assert_eq!(met.kind(), ErrorKind::Refused, "{what}: {met}");
        }
        place.store.commit(tx).await.unwrap();
        assert!(place.dump("t").is_empty(), "{what}");
    }
    // A commit hook of the work's own, and its time limit, don't reach the next caller.
    let mut tx = place.store.begin().await.unwrap();
    let hook = |db: &Connection| {
        db.commit_hook(Some(|| true))?;
        db.progress_handler(1, Some(|| true))?;
        db.busy_timeout(Duration::ZERO)
    };
    tx.run(hook).await.unwrap();
    place.store.commit(tx).await.unwrap();
    place.plain("INSERT INTO t VALUES (1)").await.unwrap();
}

//! Tables of an older version: upgraded by whoever comes first, and nothing is lost.

use exactly_once::{
    AccountId, Adjust, Amount, Applied, BalanceStore, Change, CompareAndSet, ErrorKind, Expected,
    IdempotencyKey, Leg, OpenAccount, Store, Transfer, Version, postgres::TokioPostgresStore,
};
use futures_util::future::join_all;

use crate::{
    version_1::downgrade,
    world::{World, refused, timeouts, world},
};

/// Whatever JSON or SQL might take for something else.
const NAMES: [&str; 4] = ["plain", "q\"uo'te\\", "日本\n\u{1}", "[{\"account\":"];

fn account(name: &str) -> AccountId {
    AccountId::new(name).unwrap()
}

fn key(name: &str) -> IdempotencyKey {
    IdempotencyKey::new(name).unwrap()
}

fn adjust(name: &str, to: &str, delta: i64) -> Adjust {
    Adjust::new(key(name), account(to), Amount::new(delta))
}

async fn connect(world: &World) -> exactly_once::Result<TokioPostgresStore> {
    let builder = TokioPostgresStore::builder(world.url()).timeouts(timeouts());
    builder.connect().await
}

async fn open(store: &TokioPostgresStore, name: &str) -> Applied {
    let open = OpenAccount::new(key(&format!("open {name}")), account(name));
    let open = open.with_amount(Amount::new(100));
    store.open_account(&open).await.unwrap()
}

async fn history(store: &TokioPostgresStore, name: &str) -> Vec<Change> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = store.history(&account(name), after, 1_000).await.unwrap();
        all.extend(page.changes);
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

fn transfer(name: &str) -> Transfer {
    // Not in the order of their names: the receipt has the order of the legs.
    let legs = [(NAMES[2], -7), (NAMES[0], 3), (NAMES[3], 4)];
    let legs = legs.map(|(to, delta)| Leg {
        account: account(to),
        delta: Amount::new(delta),
    });
    Transfer::new(key(name), legs.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_of_version_1_are_upgraded_and_nothing_is_lost() {
    let world = world().await;
    let store = connect(&world).await.unwrap();
    for name in NAMES {
        open(&store, name).await;
    }
    // More than are read at once.
    let many: Vec<Adjust> = (0..1_200)
        .map(|number| adjust(&format!("many {number}"), NAMES[number % 3], 1))
        .collect();
    let told: Vec<Applied> = join_all(many.iter().map(|one| store.adjust(one)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let too_much = adjust("too much", NAMES[1], -100_000);
    let refusal = store.adjust(&too_much).await.unwrap_err().to_string();
    let moved = store.transfer(&transfer("legs \"'\\")).await.unwrap();
    let set = CompareAndSet::new(
        key("set"),
        account(NAMES[3]),
        Expected::Version(Version::new(2).unwrap()),
        Amount::new(1),
    );
    let set_to = store.compare_and_set(&set).await.unwrap();
    let mut histories = Vec::new();
    for name in NAMES {
        histories.push(history(&store, name).await);
    }
    store.close().await.unwrap();

    world.sql(&downgrade("exactly_once")).await;
    let operations = world
        .sql("SELECT count(*) FROM exactly_once.operations")
        .await;
    assert_eq!(operations, (4 + 1_200 + 3).to_string());
    let role = format!("reader_of_{}", world.database);
    world
        .sql(&format!(
            "CREATE ROLE {role}; GRANT SELECT ON exactly_once.operations TO {role}"
        ))
        .await;
    let careful = TokioPostgresStore::builder(world.url()).migrate_at_connect(false);
    let answer = careful.connect().await;
    refused(
        answer,
        ErrorKind::Configuration,
        &["version 1", "migrate()"],
    );

    let mut upgraded = join_all((0..5).map(|_| connect(&world))).await;
    let store = upgraded.pop().unwrap().unwrap();
    for other in upgraded {
        other.unwrap().close().await.unwrap();
    }
    for (name, before) in NAMES.iter().zip(histories) {
        assert_eq!(
            history(&store, name).await,
            before,
            "the history of {name:?}"
        );
    }
    let again = join_all(many.iter().map(|one| store.adjust(one))).await;
    for (again, told) in again.into_iter().zip(told) {
        let again = again.unwrap();
        assert!(again.replayed);
        assert_eq!(again.change, told.change);
    }
    let again = store.adjust(&too_much).await.unwrap_err().to_string();
    assert_eq!(again, refusal);
    let again = store.transfer(&transfer("legs \"'\\")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.changes, moved.changes);
    let again = store.compare_and_set(&set).await.unwrap();
    assert_eq!((again.change, again.replayed), (set_to.change, true));
    let other = adjust("too much", NAMES[1], -1);
    refused(store.adjust(&other).await, ErrorKind::Mismatch, &[]);
    let next = store.adjust(&adjust("next", NAMES[1], 1)).await.unwrap();
    assert_eq!((next.change.version.get(), next.replayed), (402, false));
    let kept = format!("SELECT has_table_privilege('{role}', 'exactly_once.changes', 'SELECT')");
    assert_eq!(world.sql(&kept).await, "t", "a right was lost");
    world
        .sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_contradict_each_other_are_left_as_they_are() {
    let world = world().await;
    let store = connect(&world).await.unwrap();
    open(&store, "a").await;
    store.adjust(&adjust("one", "a", 1)).await.unwrap();
    store.close().await.unwrap();
    world.sql(&downgrade("exactly_once")).await;
    world
        .sql("DELETE FROM exactly_once.history WHERE version = 2")
        .await;
    refused(
        connect(&world).await,
        ErrorKind::Configuration,
        &["contradict", "nothing was changed"],
    );
    let left = "SELECT (SELECT version FROM exactly_once.schema_version) || ',' || \
                (SELECT count(*) FROM exactly_once.operations) || ',' || \
                (SELECT count(*) FROM exactly_once.history)";
    assert_eq!(world.sql(left).await, "1,2,1");
    world.nothing_open().await;
    // Nor is what is no record of ours.
    let odd = "UPDATE exactly_once.operations SET changes = 'odd' WHERE key = 'one'";
    world.sql(odd).await;
    refused(connect(&world).await, ErrorKind::Configuration, &[]);
    assert_eq!(world.sql(left).await, "1,2,1");
}

// `convert_from` would fail on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_databases_encoding_lacks_is_upgraded() {
    let world = world().await;
    let database = format!("{}_latin", world.database);
    world
        .sql(&format!(
            "CREATE DATABASE {database} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' \
             TEMPLATE template0"
        ))
        .await;
    let latin = World {
        server: world.server.clone(),
        database,
    };
    let store = connect(&latin).await.unwrap();
    let opened = open(&store, NAMES[2]).await;
    let line = history(&store, NAMES[2]).await;
    store.close().await.unwrap();
    // As version 1 has written it.
    let record = hex::encode(serde_json::to_vec(&[&opened.change]).unwrap());
    let fingerprint = latin
        .sql("SELECT encode(fingerprint, 'hex') FROM exactly_once.changes")
        .await;
    let (name, key) = (
        hex::encode(NAMES[2]),
        hex::encode(opened.change.key.as_str()),
    );
    let space = latin
        .sql("SELECT encode(namespace, 'hex') FROM exactly_once.changes")
        .await;
    latin.sql("TRUNCATE exactly_once.changes").await;
    latin.sql(&downgrade("exactly_once")).await;
    latin
        .sql(&format!(
            "INSERT INTO exactly_once.operations VALUES ('\\x{space}', '\\x{key}', \
             '\\x{fingerprint}', '\\x{record}'); \
             INSERT INTO exactly_once.history VALUES ('\\x{space}', '\\x{name}', 1, '\\x{key}', \
             'open', 100, 0, 100)"
        ))
        .await;
    let store = connect(&latin).await.unwrap();
    assert_eq!(history(&store, NAMES[2]).await, line);
    let again = open(&store, NAMES[2]).await;
    assert_eq!((again.change, again.replayed), (opened.change, true));
}

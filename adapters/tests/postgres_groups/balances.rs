//! Changes of accounts share commits too, and what is remembered of an account is only a guess.

use super::*;

fn adjust(account: &str, key: &str, delta: i64) -> Adjust {
    Adjust::new(
        IdempotencyKey::new(key).unwrap(),
        AccountId::new(account).unwrap(),
        Amount::new(delta),
    )
}

async fn opened(store: &TokioPostgresStore, name: &str, amount: i64) -> AccountId {
    let account = AccountId::new(name).unwrap();
    let key = IdempotencyKey::new(format!("open {name}")).unwrap();
    let open = OpenAccount::new(key, account.clone()).with_amount(Amount::new(amount));
    store.open_account(&open).await.unwrap();
    account
}

async fn adjusted(store: &TokioPostgresStore, operations: &[Adjust]) -> Vec<Result<Applied>> {
    join_all(operations.iter().map(|one| store.adjust(one))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_hot_account_share_commits() {
    let (world, store) = shop().await;
    let account = opened(&store, "hot", 0).await;
    let operations: Vec<Adjust> = (0..200)
        .map(|number| adjust("hot", &format!("h{number}"), 1))
        .collect();
    let mut versions: Vec<Version> = adjusted(&store, &operations)
        .await
        .into_iter()
        .map(|applied| applied.unwrap().change.version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), 200, "each has a version of its own");
    let state = store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount.get(), state.version.get()), (200, 201));
    let commits = number(
        &world,
        "SELECT count(DISTINCT xmin::text) FROM exactly_once.changes WHERE kind = 'adjust'",
    )
    .await;
    assert!(commits <= 8, "{commits} commits of 200 changes");
    let sums =
        "SELECT sum(delta) || ',' || max(version) || ',' || count(*) FROM exactly_once.changes";
    assert_eq!(world.sql(sums).await, "200,201,201");
    // Each is replayed as it was, and nothing is written.
    let before = world.sql(WRITTEN).await;
    for applied in adjusted(&store, &operations).await {
        assert!(applied.unwrap().replayed);
    }
    assert_eq!(before, world.sql(WRITTEN).await, "replays have written");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_floor_holds_within_a_group_to_the_unit() {
    let (_world, store) = shop().await;
    let account = opened(&store, "poor", 10).await;
    let operations: Vec<Adjust> = (0..30)
        .map(|number| adjust("poor", &format!("p{number}"), -1))
        .collect();
    let applied = adjusted(&store, &operations).await;
    let refusals = applied.iter().filter(|one| one.is_err()).count();
    assert_eq!(refusals, 20);
    for one in applied.into_iter().filter(Result::is_err) {
        refused(one, ErrorKind::InsufficientFunds, &[]);
    }
    let state = store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount.get(), state.version.get()), (0, 11));
}

// What is remembered of an account is a guess: whatever else changes it, and even if the database
// was taken back in time, nothing is lost and nothing is doubled.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_guess_is_never_written() {
    let (world, store) = shop().await;
    let other = builder(&world.url()).connect().await.unwrap();
    let account = opened(&store, "shared", 0).await;
    for round in 0..10 {
        for (name, store) in [("a", &store), ("b", &other)] {
            let operations: Vec<Adjust> = (0..5)
                .map(|number| adjust("shared", &format!("{name}{round}-{number}"), 1))
                .collect();
            for applied in adjusted(store, &operations).await {
                applied.unwrap();
            }
        }
    }
    let state = store.balance(&account).await.unwrap().unwrap();
    assert_eq!((state.amount.get(), state.version.get()), (100, 101));
    // As after a failover: the same version, another amount.
    world
        .sql("UPDATE exactly_once.accounts SET amount = 70")
        .await;
    let applied = other.adjust(&adjust("shared", "after", 1)).await.unwrap();
    assert_eq!(applied.change.after, Amount::new(71));
    let none = adjust("shared", "deep", -500).with_floor(Floor::None);
    let applied = store.adjust(&none).await.unwrap();
    assert_eq!(applied.change.after, Amount::new(-429));
}

// An account that another has changed costs its own callers another round, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_guess_leaves_the_rest_of_its_group_alone() {
    let (world, store) = shop().await;
    let other = builder(&world.url()).connect().await.unwrap();
    let name = |number: usize| format!("own{number}");
    for number in 0..32 {
        opened(&store, &name(number), 0).await;
    }
    // Not the first, who goes before there is a group.
    let changed = adjust(&name(16), "by another", 5);
    other.adjust(&changed).await.unwrap();
    let operations: Vec<Adjust> = (0..32)
        .map(|number| adjust(&name(number), &format!("g{number}"), 1))
        .collect();
    for (number, applied) in adjusted(&store, &operations).await.into_iter().enumerate() {
        let after = if number == 16 { 6 } else { 1 };
        assert_eq!(
            applied.unwrap().change.after,
            Amount::new(after),
            "{number}"
        );
    }
    let with_it = "SELECT count(*) FROM exactly_once.changes WHERE kind = 'adjust' AND xmin::text = \
                   (SELECT xmin::text FROM exactly_once.changes WHERE key = 'g16')";
    assert_eq!(
        number(&world, with_it).await,
        1,
        "in the commit of its change"
    );
    let commits = "SELECT count(DISTINCT xmin::text) FROM exactly_once.changes \
                   WHERE kind = 'adjust' AND key <> 'by another'";
    assert!(number(&world, commits).await <= 6, "commits of 32 changes");
}

// Who has an account in hand, by whatever path, writes its next line without waiting for a group that
// waits for the account: otherwise the two would wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_account_waits_for_no_group() {
    let (world, store) = shop().await;
    opened(&store, "busy", 0).await;
    // Replays: from now on a group reads before it writes.
    let known = adjust("busy", "known", 1);
    for _ in 0..10 {
        store.adjust(&known).await.unwrap();
    }
    let (client, connection) = tokio_postgres::connect(&world.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    for round in 0..8_u64 {
        let version = 3 + 9 * i64::try_from(round).unwrap();
        client
            .batch_execute(
                "BEGIN; SET LOCAL lock_timeout = '5ms'; \
                 SELECT FROM exactly_once.accounts FOR UPDATE",
            )
            .await
            .unwrap();
        let group = tokio::spawn({
            let store = store.clone();
            async move {
                let operations: Vec<Adjust> = (0..8)
                    .map(|number| adjust("busy", &format!("{round}/{number}"), 1))
                    .collect();
                for applied in adjusted(&store, &operations).await {
                    applied.unwrap();
                }
            }
        });
        tokio::time::sleep(Duration::from_millis(5 + 3 * round)).await;
        let line = format!(
            "INSERT INTO exactly_once.changes SELECT namespace, 'mine {round}', 0, '', account, \
             {version}, 'adjust', 0, amount FROM exactly_once.accounts; \
             UPDATE exactly_once.accounts SET version = version + 1; COMMIT"
        );
        client.batch_execute(&line).await.unwrap();
        group.await.unwrap();
    }
    let lines = "SELECT count(*) || ',' || max(version) FROM exactly_once.changes";
    assert_eq!(world.sql(lines).await, "74,74");
}

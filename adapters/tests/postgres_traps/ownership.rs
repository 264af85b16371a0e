//! Trap 7: only the role that prepared may finish, and only in its database.

use exactly_once::{
    BegunPrepared, ErrorKind, PreparedStatus, PreparedTransactions, postgres::TokioPostgresStore,
};

use crate::{
    begun, store,
    world::{refused, timeouts, world},
};

// 7. Only the role that prepared may finish; identifiers of other databases are not ours.
#[tokio::test(flavor = "multi_thread")]
async fn another_role_and_another_database() {
    let (world, elsewhere) = (world().await, world().await);
    let app = format!("app_{}", world.database);
    world
        .sql(&format!("CREATE ROLE {app} LOGIN PASSWORD 'app'"))
        .await;
    let owner = store(&world).await;
    let url = world
        .url()
        .replace("postgres:throwaway", &format!("{app}:app"));
    let builder = || TokioPostgresStore::builder(&url).timeouts(timeouts());
    // Without rights: the error names them. With the least of rights: fine, and no DDL is tried.
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["42501"],
    );
    world
        .sql(&format!("GRANT USAGE ON SCHEMA exactly_once TO {app}"))
        .await;
    refused(
        builder().connect().await,
        ErrorKind::Configuration,
        &["GRANT"],
    );
    world
        .sql(&format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA exactly_once TO {app}; \
             GRANT USAGE ON ALL SEQUENCES IN SCHEMA exactly_once TO {app}"
        ))
        .await;
    let other = builder().connect().await.unwrap();
    other.migrate().await.unwrap();
    let (tx, participation) = begun(&owner, "t").await;
    owner.prepare(tx, &participation).await.unwrap();
    let answer = other.commit_prepared(&participation).await;
    refused(answer, ErrorKind::Configuration, &["role that prepared"]);
    let answer = other.rollback_prepared(&participation).await;
    refused(answer, ErrorKind::Configuration, &["role that prepared"]);
    // The same name in another database of the cluster is another transaction.
    let far = store(&elsewhere).await;
    assert!(far.in_doubt(None, 9).await.unwrap().entries.is_empty());
    assert_eq!(
        far.prepared_status(&participation).await.unwrap(),
        PreparedStatus::None
    );
    refused(
        far.commit_prepared(&participation).await,
        ErrorKind::NotPrepared,
        &[],
    );
    let BegunPrepared::Fresh(tx) = far.begin_prepared(&participation).await.unwrap() else {
        panic!("it is another one");
    };
    far.prepare(tx, &participation).await.unwrap();
    owner.commit_prepared(&participation).await.unwrap();
    far.rollback_prepared(&participation).await.unwrap();
}

//! Nothing of a session survives its caller.

use exactly_once::{
    ErrorKind, ExecuteOnce, OneShotStore, Statement, WorkError,
    postgres::{PostgresTx, SqlxPostgresStore, SqlxPostgresTx, sqlx::SqlxDriver},
};
use sqlx::{Executor as _, postgres::PgPoolOptions};

use crate::{
    Under, shop, shot,
    world::{World, claim, timeouts, world},
};

on_both!(
    nothing_of_a_session_survives_its_work,
    nothing_of_a_session_survives_an_effect,
);

const LEAVES: [&str; 7] = [
    "SET search_path = other",
    "SELECT set_config('app.tenant', 'a', false)",
    "CREATE TEMPORARY TABLE payments (id text, amount int8)",
    "SET ROLE tenant",
    "LISTEN paid",
    "SELECT pg_advisory_lock(7)",
    "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
];

/// What a session has that a new one has not.
const STATE: &str = "SELECT concat_ws(', ', current_setting('search_path'), \
     nullif(current_setting('app.tenant', true), ''), current_user, to_regclass('payments')::text, \
     (SELECT relpersistence::text FROM pg_class WHERE oid = 'payments'::regclass), \
     (SELECT string_agg(c, ',') FROM pg_listening_channels() c), \
     (SELECT string_agg(name, ',') FROM pg_cursors WHERE is_holdable), \
     (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() \
     AND locktype = 'advisory' AND objid = 7))";

async fn prepared(world: &World) {
    world
        .sql(
            "CREATE SCHEMA other; CREATE TABLE other.payments (id text, amount int8); \
             DO $$ BEGIN CREATE ROLE tenant; EXCEPTION WHEN OTHERS THEN NULL; END $$; \
             GRANT ALL ON SCHEMA exactly_once TO tenant; \
             GRANT ALL ON ALL TABLES IN SCHEMA exactly_once TO tenant",
        )
        .await;
}

async fn nothing_of_a_session_survives_its_work<D: Under>() {
    let (world, store) = shop::<D>(1).await;
    prepared(&world).await;
    let state = async |tx: &mut PostgresTx<D::Connection>| D::one(tx, STATE).await;
    let new = store
        .execute_once(&claim("new"), state)
        .await
        .unwrap()
        .value;
    for (at, leaves) in LEAVES.into_iter().enumerate() {
        let work = async |tx: &mut PostgresTx<D::Connection>| D::run(tx, leaves).await;
        store
            .execute_once(&claim(&format!("{at}")), work)
            .await
            .unwrap();
        let after = store
            .execute_once(&claim(&format!("after {at}")), state)
            .await;
        assert_eq!(after.unwrap().value, new, "{leaves}");
        // Whatever it is, also where the work fails after all.
        let work = async |tx: &mut PostgresTx<D::Connection>| -> Result<(), WorkError> {
            D::run(tx, leaves).await?;
            Err(std::io::Error::other("transient").into())
        };
        let failed = store
            .execute_once(&claim(&format!("failing {at}")), work)
            .await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::WorkFailed);
        let after = store
            .execute_once(&claim(&format!("after failing {at}")), state)
            .await;
        assert_eq!(after.unwrap().value, new, "{leaves}, and failing");
    }
}

async fn nothing_of_a_session_survives_an_effect<D: Under>() {
    let (world, store) = shop::<D>(1).await;
    prepared(&world).await;
    let state = async |tx: &mut PostgresTx<D::Connection>| D::one(tx, STATE).await;
    let new = store
        .execute_once(&claim("new"), state)
        .await
        .unwrap()
        .value;
    for (at, leaves) in LEAVES.into_iter().enumerate() {
        let effect = shot(&format!("{at}"), vec![Statement::new(leaves)]);
        store.execute_one_shot(&effect).await.unwrap();
        let after = store
            .execute_once(&claim(&format!("after {at}")), state)
            .await;
        assert_eq!(after.unwrap().value, new, "{leaves}");
        let failing = "INSERT INTO nowhere VALUES (1)";
        let statements = vec![Statement::new(leaves), Statement::new(failing)];
        let effect = shot(&format!("failing {at}"), statements);
        store.execute_one_shot(&effect).await.unwrap_err();
        let after = store
            .execute_once(&claim(&format!("after failing {at}")), state)
            .await;
        assert_eq!(after.unwrap().value, new, "{leaves}, and failing");
    }
}

// What the user's own pool sets on each connection stays, and only that.
#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_pool_stay() {
    let world = world().await;
    world
        .sql("CREATE TABLE payments (id text, amount int8)")
        .await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|connection, _| {
            Box::pin(async move {
                connection
                    .execute("SET search_path = other, public")
                    .await?;
                connection.execute("SET app.tenant = 'mine'").await?;
                Ok(())
            })
        })
        .connect(&world.url())
        .await
        .unwrap();
    let store = SqlxPostgresStore::from_pool(pool).timeouts(timeouts());
    let store = store.connect().await.unwrap();
    prepared(&world).await;
    let state = async |tx: &mut SqlxPostgresTx| SqlxDriver::one(tx, STATE).await;
    let new = store
        .execute_once(&claim("new"), state)
        .await
        .unwrap()
        .value;
    assert!(new.contains("other, public, mine"), "{new}");
    // The server lists no custom settings: of these, none can be distinguished from the pool's own.
    let leaves = LEAVES.into_iter().filter(|leaves| !leaves.contains("app."));
    for (at, leaves) in leaves.enumerate() {
        let work = async |tx: &mut SqlxPostgresTx| SqlxDriver::run(tx, leaves).await;
        store
            .execute_once(&claim(&format!("{at}")), work)
            .await
            .unwrap();
        let after = store
            .execute_once(&claim(&format!("after {at}")), state)
            .await;
        assert_eq!(after.unwrap().value, new, "{leaves}");
    }
}

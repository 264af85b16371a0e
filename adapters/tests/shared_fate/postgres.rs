//! Postgres through both drivers: one message, one commit, one pool.

use std::time::Duration;

use exactly_once::{
    Statement,
    postgres::{SqlxPostgresStore, Timeouts, TokioPostgresStore},
};

use crate::{
    Ground, every_answer_is_that_of_a_member_alone,
    world::{World, timeouts, world},
};

const TABLES: &str = "CREATE TABLE effect (name text NOT NULL, n int8 NOT NULL); \
     CREATE TABLE one (id int8 PRIMARY KEY); INSERT INTO one VALUES (1); \
     CREATE TABLE deferred (n int8 UNIQUE DEFERRABLE INITIALLY DEFERRED)";

struct Postgres<S> {
    world: World,
    store: S,
}

impl<S> Ground for Postgres<S>
where
    S: exactly_once::OneShotStore
        + exactly_once::LeaseStore
        + exactly_once::BalanceStore
        + exactly_once::DecisionRegister
        + exactly_once::OneShotParticipant,
{
    type Store = S;

    fn store(&self) -> &S {
        &self.store
    }

    fn effect(&self, name: &str) -> Statement {
        Statement::new("INSERT INTO effect VALUES ($1, 1)").bind(name)
    }

    async fn effects(&self, name: &str) -> u64 {
        let count = format!("SELECT count(*) FROM effect WHERE name = '{name}'");
        self.world.sql(&count).await.parse().unwrap()
    }

    fn poisons(&self) -> Vec<(&'static str, Vec<Statement>)> {
        [
            ("a constraint", "INSERT INTO one VALUES (1)"),
            (
                "a deferred constraint",
                "INSERT INTO deferred VALUES (1), (1)",
            ),
            (
                "a wrong type",
                "INSERT INTO one VALUES ('no number'::text::int8)",
            ),
            (
                "an oversize value",
                "INSERT INTO effect SELECT repeat('x', 2000000000), 1",
            ),
            ("a savepoint", "SAVEPOINT x"),
            ("a rollback to a savepoint", "ROLLBACK TO SAVEPOINT x"),
            ("a commit", "COMMIT"),
            ("an error of its own", "DO $$ BEGIN RAISE 'no'; END $$"),
        ]
        .map(|(what, sql)| (what, vec![Statement::new(sql)]))
        .into()
    }

    fn slow(&self) -> Option<Statement> {
        Some(Statement::new(
            "INSERT INTO effect SELECT 'slow', 1 FROM pg_sleep(12)",
        ))
    }
}

async fn ground() -> (World, Timeouts) {
    let world = world().await;
    world.sql(TABLES).await;
    let patient = Timeouts {
        lock: Duration::from_secs(8),
        statement: Duration::from_secs(10),
        ..timeouts()
    };
    (world, patient)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokio_postgres() {
    let (world, timeouts) = ground().await;
    let builder = TokioPostgresStore::builder(world.url()).timeouts(timeouts);
    let store = builder.connect().await.unwrap();
    every_answer_is_that_of_a_member_alone(&Postgres { world, store }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlx_postgres() {
    let (world, timeouts) = ground().await;
    let builder = SqlxPostgresStore::builder(world.url()).timeouts(timeouts);
    let store = builder.connect().await.unwrap();
    every_answer_is_that_of_a_member_alone(&Postgres { world, store }).await;
}

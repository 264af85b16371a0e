//! Redis: one script for many callers, and one connection.

use std::time::Duration;

use exactly_once::{Statement, redis::RedisStore};
use exactly_once_servers::Redis;

use crate::{Ground, every_answer_is_that_of_a_member_alone};

struct OnRedis {
    server: Redis,
    store: RedisStore,
}

impl Ground for OnRedis {
    type Store = RedisStore;

    fn store(&self) -> &RedisStore {
        &self.store
    }

    fn effect(&self, name: &str) -> Statement {
        Statement::new("INCR").bind(format!("effect {name}"))
    }

    async fn effects(&self, name: &str) -> u64 {
        let key = format!("effect {name}");
        let stored = self.server.cli(["GET", &key]).await.unwrap();
        stored.parse().unwrap_or(0)
    }

    fn poisons(&self) -> Vec<(&'static str, Vec<Statement>)> {
        let set = || Statement::new("SET word word");
        vec![
            (
                "a wrong type",
                vec![set(), Statement::new("HSET word field value")],
            ),
            ("no number", vec![set(), Statement::new("INCR word")]),
            (
                "an oversize value",
                vec![Statement::new("SET big").bind(vec![7_u8; 2_000_000])],
            ),
            ("what empties the server", vec![Statement::new("FLUSHALL")]),
            ("a transaction", vec![Statement::new("MULTI")]),
            ("a subscription", vec![Statement::new("SUBSCRIBE x")]),
        ]
    }
}

/// In one script with all others, and in a script for each on one connection.
#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    for group_from in [0, usize::MAX] {
        let server = Redis::start().await.unwrap();
        let limit = ["CONFIG", "SET", "proto-max-bulk-len", "1mb"];
        server.cli(limit).await.unwrap();
        let builder = RedisStore::builder(server.url()).group_from(group_from);
        let builder = builder.response_timeout(Duration::from_secs(60));
        let store = builder.connect().await.unwrap();
        every_answer_is_that_of_a_member_alone(&OnRedis { server, store }).await;
    }
}

//! The cost by the number of keys in the database.

use std::sync::Arc;

use anyhow::Result;
use exactly_once::IdempotencyStore as _;
use exactly_once_bench::{
    Bench, Options, cases,
    results::Report,
    scale::{self, Expire, Scale, Storage},
};
use exactly_once_servers::Postgres;
use futures_util::FutureExt as _;

use crate::{INSERT, statement, world::World};

/// Tables and indexes of the store.
const BYTES: &str = "SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'exactly_once' \
     AND c.relkind = 'r'";

pub(crate) async fn measure(
    server: &Postgres,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let world = World::direct(server).await?;
    let mut bench = Bench::default();
    bench.floors.push((INSERT, world.bare.insert()));
    let store = world.store.clone();
    bench.case(
        "one-shot, grouped",
        INSERT,
        cases::one_shot(&store, statement),
    );
    let replay = cases::replay(&store, statement).await?;
    bench.case("replay of a completed key", INSERT, replay);
    let expiring = store.clone();
    let expire: Expire = Arc::new(move |limit| {
        let store = expiring.clone();
        async move { Ok(store.expire(limit).await?) }.boxed()
    });
    let (client, connection) = tokio_postgres::connect(&world.url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let client = Arc::new(client);
    let storage: Storage = Arc::new(move || {
        let client = client.clone();
        async move {
            let bytes: i64 = client.query_one(BYTES, &[]).await?.get(0);
            Ok(u64::try_from(bytes)?)
        }
        .boxed()
    });
    let scale = Scale {
        bench,
        fill: cases::filling(&store),
        expire,
        storage,
    };
    scale::measure(&scale, options, report).await?;
    // A server that is silent keeps everybody waiting.
    server.server().freeze()?;
    let waiting = cases::one_shot(&store, statement);
    let bytes = scale::memory_per_waiting_caller(&waiting, 4_000).await;
    server.server().thaw()?;
    if let Some(bytes) = bytes {
        report.notes.push(format!(
            "A waiting caller takes {bytes:.0} bytes of memory."
        ));
    }
    Ok(())
}

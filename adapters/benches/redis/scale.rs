//! The cost by the number of keys in the server.

use std::sync::Arc;

use anyhow::Result;
use exactly_once::{IdempotencyStore as _, redis::RedisStore};
use exactly_once_bench::{
    Bench, Options, cases,
    results::Report,
    scale::{self, Expire, Scale, Storage},
};
use exactly_once_servers::Redis;
use futures_util::FutureExt as _;

use crate::{SET, bare::Bare, statement};

pub(crate) async fn measure(server: &Redis, options: &Options, report: &mut Report) -> Result<()> {
    let bare = Bare::connect(&server.url()).await?;
    // A frozen server keeps callers waiting below, for as long as it takes.
    let patience = std::time::Duration::from_secs(60);
    let builder = RedisStore::builder(server.url()).response_timeout(patience);
    let store = builder.connect().await?;
    let mut bench = Bench::default();
    bench.floors.push((SET, bare.set()));
    bench.case("one-shot, grouped", SET, cases::one_shot(&store, statement));
    let replay = cases::replay(&store, statement).await?;
    bench.case("replay of a completed key", SET, replay);
    let expiring = store.clone();
    let expire: Expire = Arc::new(move |limit| {
        let store = expiring.clone();
        async move { Ok(store.expire(limit).await?) }.boxed()
    });
    let storage: Storage = Arc::new(move || {
        let bare = bare.clone();
        async move { bare.info("memory", "used_memory").await }.boxed()
    });
    let scale = Scale {
        bench,
        fill: cases::filling(&store),
        expire,
        storage,
    };
    scale::measure(&scale, options, report).await?;
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

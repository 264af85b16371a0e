//! The cost by the number of keys in the file.

use std::{path::Path, sync::Arc};

use anyhow::Result;
use exactly_once::{IdempotencyStore as _, Transactional as _, sqlite::SqliteStore};
use exactly_once_bench::{
    Bench, Options, cases,
    results::Report,
    scale::{self, Expire, Scale, Storage},
};
use futures_util::FutureExt as _;

use crate::{FLOOR, bare, statement};

pub(crate) async fn measure(folder: &Path, options: &Options, report: &mut Report) -> Result<()> {
    let file = folder.join("store.db");
    bare::create(&file)?;
    let store = SqliteStore::open(&file).await?;
    let mut bench = Bench::default();
    let bare = bare::Bare::start(&folder.join("bare.db"), None)?;
    bench.floors.push((FLOOR, bare.update()));
    bench.case(
        "one-shot, grouped",
        FLOOR,
        cases::one_shot(&store, statement),
    );
    let replay = cases::replay(&store, statement).await?;
    bench.case("replay of a completed key", FLOOR, replay);
    let expiring = store.clone();
    let expire: Expire = Arc::new(move |limit| {
        let store = expiring.clone();
        async move { Ok(store.expire(limit).await?) }.boxed()
    });
    let storage: Storage = Arc::new(move || {
        let length = std::fs::metadata(&file).map(|file| file.len());
        async move { Ok(length?) }.boxed()
    });
    let scale = Scale {
        bench,
        fill: cases::filling(&store),
        expire,
        storage,
    };
    scale::measure(&scale, options, report).await?;
    // An interactive transaction has the writer, so that everybody waits.
    let tx = store.begin().await?;
    let waiting = cases::one_shot(&store, statement);
    if let Some(bytes) = scale::memory_per_waiting_caller(&waiting, 4_000).await {
        report.notes.push(format!(
            "A waiting caller takes {bytes:.0} bytes of memory."
        ));
    }
    store.rollback(tx).await?;
    Ok(())
}

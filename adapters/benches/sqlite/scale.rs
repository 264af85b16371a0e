//! The cost by the number of keys in the file.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

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
    // The file itself grows only when the log is moved into it; its pages count at once.
    let sizes = rusqlite::Connection::open(&file)?;
    let sizes = Arc::new(Mutex::new(sizes));
    let storage: Storage = Arc::new(move || {
        let bytes = sizes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .query_row(
                "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
                [],
                |row| row.get::<_, i64>(0),
            );
        async move { Ok(u64::try_from(bytes?)?) }.boxed()
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

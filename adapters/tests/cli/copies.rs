//! A restored copy gets an identity of its own.

use exactly_once::Store;

use crate::bench::{Times, Two, expect, json, open, url_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_told_from_its_original_once_it_is_adopted() {
    let two = Two::new().await;
    let before = two.stock.identity().await.unwrap();
    let (stock, copied) = ("stock.db", "copy.db");
    let [stock, copied] = [stock, copied].map(|name| two.folder.path().join(name));
    let path = copied.to_str().unwrap();
    // As a backup of SQLite's own makes it.
    let backup = rusqlite::Connection::open(stock).unwrap();
    backup.execute("VACUUM INTO ?1", [path]).unwrap();
    let copy = url_of(&copied);
    let both = ["in-doubt", "list", "--store", &two.with_stock];
    expect(&copy, &both, 2, "exactly-once adopt");
    let said = expect(&copy, &["adopt"], 2, "--yes");
    assert!(said.contains("never to the original"), "{said}");
    assert_eq!(open(&copied).await.identity().await.unwrap(), before);
    let (code, adopted) = json(&copy, &["adopt", "--yes"]);
    assert_eq!(code, 0, "{adopted}");
    assert_eq!(adopted["old_identity"], before.to_string(), "{adopted}");
    let after = open(&copied).await.identity().await.unwrap();
    assert_eq!(adopted["new_identity"], after.to_string(), "{adopted}");
    assert_ne!(after, before);
    expect(&copy, &both, 0, "nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_in_a_copy_is_resolved_before_it_is_adopted() {
    let two = Two::new().await;
    let times = Times::late_in(&two.orders, 300).await;
    two.prepared("t", times).await;
    expect(&two.stock_url, &["adopt", "--yes"], 2, "in-doubt sweep");
    times.wait(&two.orders).await;
    let sweep = ["in-doubt", "sweep", "--yes", "--store", &two.with_orders];
    expect(&two.stock_url, &sweep, 0, "rolled back: 2");
    expect(&two.stock_url, &["adopt", "--yes"], 0, "adopted");
}

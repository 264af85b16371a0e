//! What others left in the database: it stops nothing that is ours.

use exactly_once::{
    AccountId, BalanceStore, ErrorKind, IdempotencyKey, OpenAccount, PreparedTransactions,
};

use crate::{
    Under, shop,
    world::{participation, refused},
};

on_both!(
    a_foreign_identifier_stops_no_list,
    an_account_that_was_deleted_by_hand_is_told,
);

async fn a_foreign_identifier_stops_no_list<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let one = participation(&store, "one").await;
    let statements = [exactly_once::Statement::new(
        "INSERT INTO payments VALUES ('a', 1)",
    )];
    exactly_once::OneShotParticipant::prepare_one_shot(&store, &one, &statements)
        .await
        .unwrap();
    let ours = world.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()");
    let ours = ours.await;
    let prefix = ours.splitn(3, ':').take(2).collect::<Vec<_>>().join(":");
    for stranger in ["0", "zzz"] {
        let gid = format!("{prefix}:{stranger}");
        world
            .sql(&format!("BEGIN; SELECT 1; PREPARE TRANSACTION '{gid}'"))
            .await;
    }
    let mut found = Vec::new();
    let page = store.in_doubt(None, 10).await.unwrap();
    found.extend(page.entries.into_iter().map(|entry| entry.participation));
    assert_eq!(found, std::slice::from_ref(&one));
    store.rollback_prepared(&one).await.unwrap();
    assert_eq!(store.in_doubt(None, 10).await.unwrap().entries, []);
    for stranger in ["0", "zzz"] {
        world
            .sql(&format!("ROLLBACK PREPARED '{prefix}:{stranger}'"))
            .await;
    }
}

async fn an_account_that_was_deleted_by_hand_is_told<D: Under>() {
    let (world, store) = shop::<D>(4).await;
    let account = AccountId::new("a").unwrap();
    let open = |key: &str| OpenAccount::new(IdempotencyKey::new(key).unwrap(), account.clone());
    store.open_account(&open("one")).await.unwrap();
    world.sql("DELETE FROM exactly_once.accounts").await;
    let again = store.open_account(&open("two")).await;
    refused(again, ErrorKind::Configuration, &["deleted", "history"]);
    assert!(store.open_account(&open("one")).await.unwrap().replayed);
}

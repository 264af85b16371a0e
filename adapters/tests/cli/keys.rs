//! Idempotency keys and accounts.

use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, Claim, ExecuteOnce, Fingerprint, Floor,
    IdempotencyKey, OpenAccount, sqlite::SqliteTx,
};

use crate::bench::{expect, json, open, url_of};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_and_forgotten_only_when_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let url = url_of(&path);
    let store = open(&path).await;
    let key = IdempotencyKey::new("charge/17").unwrap();
    let claim = Claim::new(key, Fingerprint::of("charge", &17).unwrap());
    store
        .execute_once(&claim, async |_tx: &mut SqliteTx| Ok(5))
        .await
        .unwrap();

    expect(&url, &["key", "show", "charge/17"], 0, "applied");
    expect(&url, &["key", "show", "charge/18"], 1, "nothing is known");
    expect(&url, &["key", "forget", "charge/17"], 2, "--yes");
    expect(&url, &["key", "show", "charge/17"], 0, "applied");
    expect(
        &url,
        &["key", "forget", "charge/17", "--yes"],
        0,
        "forgotten",
    );
    expect(&url, &["key", "show", "charge/17"], 1, "nothing is known");
    expect(&url, &["expire"], 2, "--yes");
    let (code, answer) = json(&url, &["expire", "--yes"]);
    assert_eq!((code, &answer["fine"]), (0, &true.into()), "{answer}");
    assert_eq!(answer["removed"], 0, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_numbers_and_times_are_rfc_3339() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.db");
    let url = url_of(&path);
    let store = open(&path).await;
    let key = |name: &str| IdempotencyKey::new(name).unwrap();
    let alice = AccountId::new("alice").unwrap();
    let account = OpenAccount::new(key("open"), alice.clone())
        .with_floor(Floor::None)
        .with_amount(Amount::new(500));
    store.open_account(&account).await.unwrap();
    let adjust = Adjust::new(key("adjust"), alice, Amount::new(-700));
    store.adjust(&adjust).await.unwrap();
    let claim = Claim::new(key("charge"), Fingerprint::of("charge", &1).unwrap());
    store
        .execute_once(&claim, async |_tx: &mut SqliteTx| Ok(5))
        .await
        .unwrap();

    let (_, shown) = json(&url, &["account", "show", "alice"]);
    assert_eq!(shown["minor_units"], -200, "{shown}");
    assert_eq!(shown["version"], 2, "{shown}");
    assert_eq!(shown["floor"], serde_json::Value::Null, "{shown}");
    assert_eq!(shown["open"], true, "{shown}");
    let (_, history) = json(&url, &["account", "history", "alice"]);
    assert_eq!(history["rows"][1]["delta"], -700, "{history}");
    assert_eq!(history["rows"][1]["after"], -200, "{history}");
    let (_, shown) = json(&url, &["key", "show", "charge"]);
    let at = shown["completed_at"].as_str().unwrap();
    assert_eq!(at.len(), "2026-03-01T12:30:00.000250Z".len(), "{at}");
    assert!(
        at.starts_with("20") && at.ends_with('Z') && &at[10..11] == "T",
        "{at}"
    );
    assert!(shown["receipt_bytes"].is_u64(), "{shown}");
    // A page that is cut says how to go on.
    let cut = expect(
        &url,
        &["account", "history", "alice", "--limit", "1"],
        0,
        "--after 1",
    );
    assert!(!cut.contains("-700"), "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_users_does_not_act_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evil.db");
    let url = url_of(&path);
    let store = open(&path).await;
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\nb";
    let key = IdempotencyKey::new(evil).unwrap();
    let claim = Claim::new(key, Fingerprint::of("charge", &1).unwrap());
    store
        .execute_once(&claim, async |_tx: &mut SqliteTx| Ok(5))
        .await
        .unwrap();
    let acts = |text: &str| {
        let text = text.replace('\n', "");
        text.chars()
            .any(|char| char.is_control() || char == '\u{202e}')
    };
    let shown = expect(
        &url,
        &["key", "show", evil],
        0,
        "a\\u{1b}[2J\\u{9b}31m\\u{202e}\\nb",
    );
    assert!(!acts(&shown), "{shown:?}");
    let asked = expect(&url, &["key", "forget", evil], 2, "a\\u{1b}[2J");
    assert!(!acts(&asked), "{asked:?}");
    let raw = expect(&url, &["--json", "key", "show", evil], 0, "\\u001b");
    assert!(!acts(&raw), "{raw:?}");
    let (_, shown) = json(&url, &["key", "show", evil]);
    assert_eq!(shown["key"], evil);
}

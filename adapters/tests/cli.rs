//! The command, as people on call run it: nothing that can't be undone happens unasked, what is in
//! doubt is ended as the register says, and no secret is ever printed.
#![cfg(all(
    feature = "cli",
    feature = "rusqlite",
    feature = "tokio-postgres",
    feature = "redis"
))]
// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use exactly_once::{
    BegunPrepared, Claim, Decision, DecisionRegister, ExecuteOnce, Fingerprint, IdempotencyKey,
    Participants, Participation, PreparedTransactions, Store, TransactionId, identity_of,
    sqlite::{SqliteStore, SqliteTx},
};

fn run(url: &str, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_exactly-once"))
        .args(arguments)
        .env("EXACTLY_ONCE_URL", url)
        .output()
        .unwrap();
    for text in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(text);
        assert!(!text.contains("s3cret"), "a secret was printed: {text}");
    }
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_cannot_be_reached_is_said_without_the_secret() {
    for url in [
        "postgres://me:s3cret@127.0.0.1:1/db",
        "redis://:s3cret@127.0.0.1:1",
        "mysql://s3cret",
    ] {
        for arguments in [
            &["doctor"][..],
            &["key", "show", "k"],
            &["--json", "in-doubt", "list"],
        ] {
            assert_eq!(run(url, arguments).status.code(), Some(2), "{arguments:?}");
        }
    }
}

async fn store(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_shown_and_forgotten_only_when_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.db");
    let url = format!("sqlite:{}", path.display());
    let store = store(&path).await;
    let key = IdempotencyKey::new("charge/17").unwrap();
    let claim = Claim::new(key, Fingerprint::of("charge", &17).unwrap());
    store
        .execute_once(&claim, async |_tx: &mut SqliteTx| Ok(5))
        .await
        .unwrap();

    let shown = run(&url, &["key", "show", "charge/17"]);
    assert!(
        text(&shown).contains("applied") && shown.status.success(),
        "{}",
        text(&shown)
    );
    assert_eq!(
        run(&url, &["key", "show", "charge/18"]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(&url, &["key", "forget", "charge/17"]).status.code(),
        Some(2),
        "not confirmed"
    );
    assert!(
        run(&url, &["key", "show", "charge/17"]).status.success(),
        "nothing was done"
    );
    assert!(
        run(&url, &["key", "forget", "charge/17", "--yes"])
            .status
            .success()
    );
    assert_eq!(
        run(&url, &["key", "show", "charge/17"]).status.code(),
        Some(1)
    );
    assert_eq!(
        run(&url, &["expire"]).status.code(),
        Some(2),
        "not confirmed"
    );
    let expired = run(&url, &["expire", "--yes", "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&expired.stdout).unwrap();
    assert_eq!(answer["fine"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_is_ended_as_the_register_says_and_not_before_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("doubt.db");
    let url = format!("sqlite:{}", path.display());
    let store = store(&path).await;
    let now = store.now().await.unwrap();
    let until = now.checked_add(Duration::from_secs(3)).unwrap();
    let forget = now.checked_add(Duration::from_secs(3_600)).unwrap();
    let mut names = Vec::new();
    for name in ["decided", "undecided"] {
        let name = TransactionId::new(name).unwrap();
        let print = Fingerprint::of("order", &1).unwrap();
        let participation = Participation::new(&name, print, until, forget).unwrap();
        let own = identity_of(&store).await.unwrap();
        let participation = participation.entitled(own, Participants::of([own]));
        let BegunPrepared::Fresh(tx) = store.begin_prepared(&participation).await.unwrap() else {
            panic!("it is new");
        };
        store.prepare(tx, &participation).await.unwrap();
        names.push(participation);
    }
    store.decide(&names[0], Decision::Commit).await.unwrap();
    let digest = |index: usize| names[index].transaction().to_string();

    let early = run(&url, &["in-doubt", "resolve", &digest(0), "--yes"]);
    assert_eq!(early.status.code(), Some(2), "{}", text(&early));
    assert!(text(&early).contains("deadline"), "{}", text(&early));
    assert_eq!(
        run(&url, &["in-doubt", "list"]).status.code(),
        Some(0),
        "in time"
    );
    while store.now().await.unwrap() <= until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let late = run(&url, &["in-doubt", "list"]);
    assert_eq!(late.status.code(), Some(1), "{}", text(&late));
    let decided = run(&url, &["in-doubt", "resolve", &digest(0)[..12], "--yes"]);
    assert!(text(&decided).contains("commit"), "{}", text(&decided));
    let undecided = run(&url, &["in-doubt", "resolve", &digest(1), "--yes"]);
    assert!(
        text(&undecided).contains("rollback"),
        "{}",
        text(&undecided)
    );
    assert!(text(&run(&url, &["in-doubt", "list"])).contains("nothing"));
    use exactly_once::PreparedStatus::{Committed, RolledBack};
    assert_eq!(store.prepared_status(&names[0]).await.unwrap(), Committed);
    assert_eq!(store.prepared_status(&names[1]).await.unwrap(), RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_ends_everything_everywhere_and_forgets_it_in_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["orders.db", "stock.db"].map(|name| folder.path().join(name));
    let [orders, stock] = [store(&paths[0]).await, store(&paths[1]).await];
    let [url, also] = paths.map(|path| format!("sqlite:{}", path.display()));
    let until = orders.now().await.unwrap();
    let until = until.checked_add(Duration::from_secs(2)).unwrap();
    let over = until.checked_add(Duration::from_secs(2)).unwrap();
    let mut names = Vec::new();
    for name in ["decided", "undecided", "lost"] {
        let request = Fingerprint::of("order", name).unwrap();
        let name = TransactionId::new(name).unwrap();
        let [register, other] = [
            identity_of(&orders).await.unwrap(),
            identity_of(&stock).await.unwrap(),
        ];
        let participation = Participation::new(&name, request, until, over).unwrap();
        let participants = Participants::of([register, other]);
        names.push(participation.entitled(register, participants));
    }
    for (participation, places) in [
        (&names[0], &[&orders, &stock][..]),
        (&names[1], &[&orders, &stock]),
        // The other participant has nothing, as if a restore had taken it away.
        (&names[2], &[&orders]),
    ] {
        for place in places {
            let begun = place.begin_prepared(participation).await.unwrap();
            let BegunPrepared::Fresh(tx) = begun else {
                panic!("it is not fresh");
            };
            place.prepare(tx, participation).await.unwrap();
        }
    }
    for decided in [&names[0], &names[2]] {
        orders.decide(decided, Decision::Commit).await.unwrap();
    }

    let sweep = ["--json", "in-doubt", "sweep", "--also", also.as_str()];
    let early = run(&url, &sweep);
    assert_eq!(early.status.code(), Some(0), "{}", text(&early));
    assert_eq!(orders.in_doubt(None, 9).await.unwrap().entries.len(), 3);
    while orders.now().await.unwrap() <= until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let swept = run(&url, &sweep);
    assert_eq!(swept.status.code(), Some(1), "{}", text(&swept));
    let lost = format!("{} at participant 1", names[2].transaction());
    assert!(text(&swept).contains("UNFINISHED"), "{}", text(&swept));
    assert!(text(&swept).contains(&lost), "{}", text(&swept));
    use exactly_once::PreparedStatus::{Committed, RolledBack};
    for place in [&orders, &stock] {
        assert_eq!(place.in_doubt(None, 9).await.unwrap().entries, []);
        assert_eq!(place.prepared_status(&names[0]).await.unwrap(), Committed);
        assert_eq!(place.prepared_status(&names[1]).await.unwrap(), RolledBack);
    }

    let forget = ["in-doubt", "forget", "--also", also.as_str()];
    assert!(text(&run(&url, &forget)).contains("0 records"));
    while orders.now().await.unwrap() <= over {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Five outcomes and two decisions; the commit that is not finished stays.
    let forgotten = run(&url, &forget);
    assert!(
        text(&forgotten).contains("7 records"),
        "{}",
        text(&forgotten)
    );
    assert_eq!(orders.unfinished(None, 9).await.unwrap().entries.len(), 1);
}

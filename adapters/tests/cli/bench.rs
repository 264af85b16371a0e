//! What the tests share: running the command, and transactions in every state.

use std::{
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use exactly_once::{
    BegunPrepared, Fingerprint, NamespaceIdentity, Participants, Participation,
    PreparedTransactions, Store, Timestamp, TransactionId, identity_of, sqlite::SqliteStore,
};
use serde_json::Value;

/// Runs the command. No argument and no output may hold the secret.
pub(crate) fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exactly-once"));
    for variable in ["EXACTLY_ONCE_STORES", "EXACTLY_ONCE_NAMESPACE"] {
        command.env_remove(variable);
    }
    let output = command
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

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs it, and compares the exit code and a part of what it says.
pub(crate) fn expect(url: &str, arguments: &[&str], code: i32, says: &str) -> String {
    let output = run(url, arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(
        text.contains(says),
        "{arguments:?}: {says:?} is not in {text}"
    );
    text
}

/// The one JSON value that it prints, and the exit code.
pub(crate) fn json(url: &str, arguments: &[&str]) -> (i32, Value) {
    let output = run(url, &[&["--json"], arguments].concat());
    let value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output)));
    (output.status.code().unwrap(), value)
}

pub(crate) fn url_of(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

pub(crate) async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path).await.unwrap()
}

/// When transactions of a test are late, and when they are forgotten.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    pub(crate) until: Timestamp,
    pub(crate) forget: Timestamp,
}

impl Times {
    /// Late in so many milliseconds.
    pub(crate) async fn late_in(store: &SqliteStore, millis: u64) -> Self {
        let now = store.now().await.unwrap();
        let until = now.checked_add(Duration::from_millis(millis)).unwrap();
        let forget = until.checked_add(Duration::from_secs(3_600)).unwrap();
        Self { until, forget }
    }

    pub(crate) async fn wait(self, store: &SqliteStore) {
        while store.now().await.unwrap() <= self.until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A transaction of these participants, decided at `register`.
pub(crate) async fn transaction(
    name: &str,
    times: Times,
    register: &SqliteStore,
    participants: &[&SqliteStore],
) -> Participation {
    let mut members: Vec<NamespaceIdentity> = Vec::new();
    for participant in participants {
        members.push(identity_of(*participant).await.unwrap());
    }
    let request = Fingerprint::of("order", name).unwrap();
    let name = TransactionId::new(name).unwrap();
    let made = Participation::new(&name, request, times.until, times.forget).unwrap();
    let held = identity_of(register).await.unwrap();
    made.entitled(held, Participants::of(members))
}

pub(crate) async fn prepare(store: &SqliteStore, participation: &Participation) {
    let begun = store.begin_prepared(participation).await.unwrap();
    let BegunPrepared::Fresh(tx) = begun else {
        panic!("it is not fresh");
    };
    store.prepare(tx, participation).await.unwrap();
}

/// Two files: flow 1 keeps its register in the orders.
pub(crate) struct Two {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) orders: SqliteStore,
    pub(crate) stock: SqliteStore,
    pub(crate) orders_url: String,
    pub(crate) stock_url: String,
    /// `stock=sqlite:…`, for `--store`.
    pub(crate) with_stock: String,
    pub(crate) with_orders: String,
}

impl Two {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["orders.db", "stock.db"].map(|name| folder.path().join(name));
        let (orders, stock) = (open(&one).await, open(&two).await);
        let (orders_url, stock_url) = (url_of(&one), url_of(&two));
        Self {
            with_stock: format!("stock={stock_url}"),
            with_orders: format!("orders={orders_url}"),
            folder,
            orders,
            stock,
            orders_url,
            stock_url,
        }
    }

    /// Prepared at both, and decided in the orders.
    pub(crate) async fn prepared(&self, name: &str, times: Times) -> Participation {
        let both = [&self.orders, &self.stock];
        let participation = transaction(name, times, &self.orders, &both).await;
        for store in both {
            prepare(store, &participation).await;
        }
        participation
    }
}

//! Each event that is refused has one text: on every backend, by every way that leads to it.

use std::time::Duration;

use anyhow::Result;
use exactly_once::{
    AccountId, Adjust, Amount, BalanceStore, BegunPrepared, Claimed, Decision, DecisionRegister,
    Error, ErrorKind, ExecuteOnce, Fingerprint, IdempotencyKey, LeaseStore, Leased,
    MAX_RECEIPT_BYTES, OneShot, OneShotStore, OpenAccount, Outcome, Participation,
    PreparedTransactions, Receipt, Rejection, Statement, Timestamp, TransactionId,
    memory::MemoryStore,
    postgres::{SqlxPostgresStore, TokioPostgresStore},
    redis::RedisStore,
    sqlite::SqliteStore,
};
use exactly_once_servers::{Postgres, Redis};

use crate::{claim, claim_for};

const TTL: Duration = Duration::from_secs(600);

/// What was refused: the event, the kind, and the text, in the order of the events.
type Told = Vec<(&'static str, ErrorKind, String)>;

/// Notes one event, which each of the answers met.
fn note<const WAYS: usize>(told: &mut Told, event: &'static str, answers: [Error; WAYS]) {
    let mut answers = answers.into_iter().map(|answer| {
        let text = answer
            .message()
            .unwrap_or_else(|| panic!("no text: {answer}"));
        // How long a lease still holds is another time each time.
        let kind = match answer.kind() {
            ErrorKind::InProgress { .. } => ErrorKind::InProgress { retry_after: TTL },
            kind => kind,
        };
        (event, kind, text.to_owned())
    });
    let first = answers.next().unwrap();
    answers.for_each(|again| assert_eq!(again, first, "another way to the same event"));
    told.push(first);
}

fn shot(name: &str, request: &str, statements: Vec<Statement>) -> OneShot {
    OneShot {
        claim: claim_for(name, request),
        statements,
        receipt: Receipt::json(&1).unwrap(),
    }
}

async fn keys<S: OneShotStore + LeaseStore + BalanceStore>(store: &S, nothing: Statement) -> Told {
    let mut told = Told::new();
    let once = async |name: &str, request: &str| {
        let work = async |_tx: &mut S::Tx| Ok(1);
        store
            .execute_once(&claim_for(name, request), work)
            .await
            .unwrap_err()
    };
    let one_shot = async |name: &str, request: &str| {
        let shot = shot(name, request, Vec::new());
        store.execute_one_shot(&shot).await.unwrap_err()
    };
    let applied = |value: i64| Outcome::Applied(Receipt::json(&value).unwrap());

    let done = shot("done", "done", Vec::new());
    store.execute_one_shot(&done).await.unwrap();
    let account = |name: &str| AccountId::new(name).unwrap();
    let key = |name: &str| IdempotencyKey::new(name).unwrap();
    let open = OpenAccount::new(key("open"), account("a"));
    store.open_account(&open).await.unwrap();
    let adjust = Adjust::new(key("open"), account("a"), Amount::new(1));
    let Leased::Granted(held) = store.lease(&claim("held"), TTL).await.unwrap() else {
        panic!("the lease is not granted");
    };
    let other = claim_for("held", "other");
    let reused = [
        once("done", "other").await,
        one_shot("done", "other").await,
        store.adjust(&adjust).await.unwrap_err(),
        store.renew(&other, held.token, TTL).await.unwrap_err(),
        store
            .finalize(&other, held.token, &applied(1))
            .await
            .unwrap_err(),
        store.release(&other, held.token).await.unwrap_err(),
    ];
    note(&mut told, "reused key", reused);

    let in_progress = [
        once("held", "held").await,
        one_shot("held", "held").await,
        store.forget(claim("held").key()).await.unwrap_err(),
    ];
    note(&mut told, "in progress", in_progress);

    store
        .finalize(&claim("held"), held.token, &applied(1))
        .await
        .unwrap();
    let no = Outcome::Rejected(Rejection::new(422, "no"));
    let twice = [
        store
            .finalize(&claim("held"), held.token, &applied(2))
            .await
            .unwrap_err(),
        store
            .finalize(&claim("held"), held.token, &no)
            .await
            .unwrap_err(),
    ];
    note(&mut told, "another outcome", twice);

    let Leased::Granted(gone) = store.lease(&claim("gone"), TTL).await.unwrap() else {
        panic!("the lease is not granted");
    };
    store.release(&claim("gone"), gone.token).await.unwrap();
    let stale = [
        store
            .finalize(&claim("gone"), gone.token, &applied(1))
            .await
            .unwrap_err(),
        store
            .renew(&claim("gone"), gone.token, TTL)
            .await
            .unwrap_err(),
        store
            .renew(&claim("held"), held.token, TTL)
            .await
            .unwrap_err(),
        store.release(&claim("held"), held.token).await.unwrap_err(),
    ];
    note(&mut told, "stale token", stale);

    let counted = shot("rows", "rows", vec![nothing.expecting_rows(1)]);
    let rows = [
        store.execute_one_shot(&counted).await.unwrap_err(),
        store.execute_one_shot(&counted).await.unwrap_err(),
    ];
    note(&mut told, "rows counted", rows);

    let unknown = Adjust::new(key("unknown"), account("unknown"), Amount::new(1));
    let unknown = [
        store.adjust(&unknown).await.unwrap_err(),
        store
            .history(&account("unknown"), None, 10)
            .await
            .unwrap_err(),
    ];
    note(&mut told, "unknown account", unknown);

    let Claimed::Fresh(tx) = store.claim(&claim("large")).await.unwrap() else {
        panic!("the claim is not fresh");
    };
    let large = Receipt::from_bytes(vec![b'1'; MAX_RECEIPT_BYTES + 1]);
    let complete = store.complete(tx, &claim("large"), &large).await;
    let of_shot = OneShot {
        receipt: large,
        ..shot("larger", "larger", Vec::new())
    };
    let large = [
        complete.unwrap_err(),
        store.execute_one_shot(&of_shot).await.unwrap_err(),
    ];
    note(&mut told, "too large", large);

    let Claimed::Fresh(tx) = store.claim(&claim("own")).await.unwrap() else {
        panic!("the claim is not fresh");
    };
    let receipt = Receipt::json(&1).unwrap();
    let foreign = store.complete(tx, &claim("another"), &receipt).await;
    if store.backend() == "postgres" {
        // Found by the server, which can't tell it from work that has ended its transaction.
        assert_eq!(foreign.unwrap_err().kind(), ErrorKind::Invalid);
    } else {
        let foreign = foreign.unwrap_err();
        assert_eq!(
            foreign.message(),
            exactly_once::adapter::refusals::foreign("", "").message()
        );
    }
    told
}

async fn transactions<S: PreparedTransactions + DecisionRegister>(store: &S) -> Told {
    let mut told = Told::new();
    let now = store.now().await.unwrap();
    let at = |seconds: i64| Timestamp::from_micros(now.as_micros() + seconds * 1_000_000);
    let part = |name: &str, request: &str, not_after: i64, forget_after: i64| {
        let fingerprint = Fingerprint::of("answers", request).unwrap();
        let name = TransactionId::new(name).unwrap();
        Participation::new(&name, fingerprint, at(not_after), at(forget_after)).unwrap()
    };
    let begin =
        async |part: &Participation| store.begin_prepared(part).await.map(drop).unwrap_err();
    let commit = async |part: &Participation| store.commit_prepared(part).await.unwrap_err();
    let roll_back = async |part: &Participation| store.rollback_prepared(part).await.unwrap_err();

    let done = part("done", "done", 600, 1_200);
    let BegunPrepared::Fresh(tx) = store.begin_prepared(&done).await.unwrap() else {
        panic!("the transaction is not fresh");
    };
    store.prepare(tx, &done).await.unwrap();
    let reused = part("done", "other", 600, 1_200);
    let prepared = [
        begin(&reused).await,
        commit(&reused).await,
        roll_back(&reused).await,
    ];
    store.commit_prepared(&done).await.unwrap();
    let committed = [
        begin(&reused).await,
        commit(&reused).await,
        roll_back(&reused).await,
    ];
    store.decide(&done, Decision::Commit).await.unwrap();
    let decided = [
        store.decide(&reused, Decision::Commit).await.unwrap_err(),
        store.decision(&reused).await.unwrap_err(),
        store.finish(&reused, Decision::Commit).await.unwrap_err(),
    ];
    for answers in [prepared, committed, decided] {
        note(&mut told, "reused name", answers);
    }
    note(&mut told, "committed", [roll_back(&done).await]);

    let undone = part("undone", "undone", 600, 1_200);
    store.rollback_prepared(&undone).await.unwrap();
    note(
        &mut told,
        "rolled back",
        [begin(&undone).await, commit(&undone).await],
    );

    let late = part("late", "late", -10, 600);
    note(&mut told, "rolled back by deadline", [begin(&late).await]);

    let unknown = part("unknown", "unknown", 600, 1_200);
    note(&mut told, "not prepared", [commit(&unknown).await]);
    note(
        &mut told,
        "undecided",
        [store.finish(&unknown, Decision::Commit).await.unwrap_err()],
    );

    let over = part("over", "over", -20, -10);
    let forgotten = [
        begin(&over).await,
        commit(&over).await,
        roll_back(&over).await,
        store.decide(&over, Decision::Commit).await.unwrap_err(),
        store.finish(&over, Decision::Commit).await.unwrap_err(),
    ];
    note(&mut told, "forgotten", forgotten);
    told
}

async fn texts<S>(store: &S, nothing: Statement) -> Told
where
    S: OneShotStore + LeaseStore + BalanceStore + PreparedTransactions + DecisionRegister,
{
    let mut told = keys(store, nothing).await;
    told.extend(transactions(store).await);
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_has_one_text_on_every_backend() -> Result<()> {
    const TABLE: &str = "CREATE TABLE absent (id bigint PRIMARY KEY)";
    let delete = || Statement::new("DELETE FROM absent WHERE id = $1").bind(1);

    let reference = texts(&MemoryStore::new(), Statement::new("delete").bind("x")).await;
    let mut events: Vec<_> = reference.iter().map(|(_, _, text)| text).collect();
    events.sort_unstable();
    events.dedup();
    let names: std::collections::BTreeSet<_> = reference.iter().map(|(name, ..)| name).collect();
    assert_eq!(events.len(), names.len(), "an event for each text");

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("texts.db");
    rusqlite::Connection::open(&file)?.execute_batch(TABLE)?;
    let sqlite = SqliteStore::builder(&file).open().await?;
    assert_eq!(texts(&sqlite, delete()).await, reference, "SQLite");

    let redis = Redis::start().await?;
    let redis = RedisStore::builder(redis.url()).connect().await?;
    let nothing = Statement::new("DEL nothing");
    assert_eq!(texts(&redis, nothing).await, reference, "Redis");

    let server = Postgres::start(15).await?;
    for database in ["by_tokio", "by_sqlx"] {
        server.create_database(database).await?;
        server.sql(database, TABLE).await?;
    }
    let url = server.database_url("by_tokio");
    let tokio = TokioPostgresStore::builder(url).connect().await?;
    assert_eq!(texts(&tokio, delete()).await, reference, "tokio-postgres");
    let url = server.database_url("by_sqlx");
    let sqlx = SqlxPostgresStore::builder(url).connect().await?;
    assert_eq!(texts(&sqlx, delete()).await, reference, "sqlx");
    Ok(())
}

//! A corpus of refused commands, foreign data and wrong settings on Redis, whose errors, logs, spans and
//! records are searched for planted values.

use anyhow::Result;
use exactly_once::{
    AccountId, AnyStore, BalanceStore, BegunPrepared, ConnectByUrl, Error, ErrorKind, ExecuteOnce,
    Fingerprint, IdempotencyStore, OneShot, OneShotStore, Participation, PreparedTransactions,
    Receipt, Statement, Store as _, TransactionId, Transactional as _, WorkError,
    observe::Observed,
    redis::{RedisStore, RedisTx},
};
use exactly_once_servers::Redis;

use crate::{
    claim,
    heard::{PLANTED, clean, log, said},
};

const SECRET: &str = PLANTED[0];
const NUMBER: i64 = 47_114_711;

/// Commands that are refused, by name.
fn corpus() -> Vec<(&'static str, Statement)> {
    let of = Statement::new;
    vec![
        ("no number", of("INCRBY text").bind(NUMBER)),
        ("no number below", of("DECRBY text").bind(NUMBER)),
        ("no delta", of("INCRBY counter").bind(SECRET)),
        ("past the end", of("INCRBY last").bind(NUMBER)),
        ("a field of text", of("HSET text field").bind(SECRET)),
        (
            "a field that is no number",
            of("HINCRBY hash field").bind(NUMBER),
        ),
        ("a member of text", of("SADD text").bind(SECRET)),
        ("an item of text", of("RPUSH text").bind(SECRET)),
        ("a score of text", of("ZADD text").bind(NUMBER).bind(SECRET)),
        ("no score", of("ZADD ranks").bind(SECRET).bind("member")),
        ("an option", of("SET text").bind("value").bind(SECRET)),
        ("no time to live", of("SET text value EX").bind(-NUMBER)),
        ("a command that is none", of("SETT text").bind(SECRET)),
        ("a command for scripts", of("EVAL").bind(SECRET).bind(0)),
        ("too few words", of("HSET hash").bind(SECRET)),
        ("too many words", of("INCRBY counter 1").bind(SECRET)),
        ("nothing", of("").bind(NUMBER)),
        ("a key of ours", of("SET ours:{x}").bind(SECRET)),
        ("rows", of("DEL absent").expecting_rows(1)),
    ]
}

async fn plant(server: &Redis) -> Result<()> {
    let last = i64::MAX.to_string();
    for words in [
        ["SET", "text", SECRET, "KEEPTTL"],
        ["HSET", "hash", "field", SECRET],
        ["SET", "last", &last, "KEEPTTL"],
    ] {
        server.cli(words).await?;
    }
    Ok(())
}

/// Each of the corpus, alone and again.
async fn commands<S: OneShotStore>(store: &S) {
    for (name, statement) in corpus() {
        let effect = OneShot {
            claim: claim(&format!("refused/{name}")),
            statements: vec![statement],
            receipt: Receipt::json(&1).unwrap(),
        };
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = store.execute_one_shot(&effect).await;
            answers.push(answer.err().unwrap_or_else(|| panic!("{name} is done")));
        }
        assert_eq!(answers[0].to_string(), answers[1].to_string(), "{name}");
        assert!(!answers[0].is_retryable(), "{name}: {}", answers[0]);
        answers.iter().for_each(|error| clean(name, &said(error)));
        let record = store.lookup(effect.claim.key()).await.unwrap();
        clean(name, &format!("{record:?}"));
    }
}

/// What a handler's own work meets, and passes on.
async fn work<S: IdempotencyStore<Tx = RedisTx>>(store: &S, url: &str) -> Result<()> {
    let driver = redis::Client::open(url)?;
    for at in 0..6 {
        let claim = claim(&format!("work/{at}"));
        let mut answers = Vec::new();
        for _ in 0..2 {
            let answer = store
                .execute_once(&claim, async |tx: &mut RedisTx| {
                    match at {
                        0 => drop(tx.hget("text", SECRET).await?),
                        1 => tx.incr_by("text", NUMBER)?,
                        2 => drop(tx.list("hash").await?),
                        3 => tx.hincr_by("hash", "field", NUMBER)?,
                        4 => tx.set(format!("{}:{{x}}", tx.key_prefix()), SECRET)?,
                        _ => {
                            let mut own = driver.get_multiplexed_async_connection().await?;
                            let mut command = redis::cmd("HSET");
                            command.arg("text").arg("field").arg(SECRET);
                            command.query_async::<()>(&mut own).await?;
                        }
                    }
                    Ok::<_, WorkError>(1)
                })
                .await;
            answers.push(answer.unwrap_err());
        }
        assert_eq!(answers[0].to_string(), answers[1].to_string(), "{at}");
        answers.iter().for_each(|error| clean("work", &said(error)));
    }
    Ok(())
}

/// A key that a prepared transaction holds, and one that changed since it was read.
async fn held(store: &RedisStore, server: &Redis) -> Result<()> {
    let now = store.now().await?;
    let at = |seconds| {
        now.checked_add(std::time::Duration::from_secs(seconds))
            .unwrap()
    };
    let fingerprint = Fingerprint::of("answers", "held")?;
    let name = TransactionId::new("held")?;
    let part = Participation::new(&name, fingerprint, at(600), at(1_200))?;
    let BegunPrepared::Fresh(mut tx) = store.begin_prepared(&part).await? else {
        panic!("the transaction is not fresh");
    };
    tx.set("text", SECRET)?;
    store.prepare(tx, &part).await?;
    let answer = store
        .execute_once(&claim("reserved"), async |tx: &mut RedisTx| {
            Ok(tx.set("text", SECRET)?)
        })
        .await;
    let reserved = answer.unwrap_err();
    assert_eq!(reserved.kind(), ErrorKind::Reserved, "{reserved}");
    server.cli(["SET", "text", &format!("{SECRET}!")]).await?;
    let heuristic = store.commit_prepared(&part).await.unwrap_err();
    assert_eq!(heuristic.kind(), ErrorKind::Heuristic, "{heuristic}");
    store.rollback_prepared(&part).await?;
    let answer = store
        .execute_once(&claim("changed"), async |tx: &mut RedisTx| {
            tx.get("text").await?;
            let changed = server.cli(["SET", "text", SECRET]).await;
            changed.map_err(|error| WorkError::from_boxed(error.into()))?;
            Ok(tx.set("text", "x")?)
        })
        .await;
    let changed = answer.unwrap_err();
    assert_eq!(changed.kind(), ErrorKind::Busy, "{changed}");
    for error in [reserved, heuristic, changed] {
        clean("held", &said(&error));
    }
    Ok(())
}

/// A key of ours that holds a foreign text.
async fn spoilt(store: &RedisStore, server: &Redis) -> Result<()> {
    let prefix = store.begin().await?.key_prefix().to_owned();
    let found = server.cli(["KEYS", &format!("{prefix}*")]).await?;
    for key in found.lines() {
        server.cli(["SET", key, SECRET]).await?;
    }
    let account = AccountId::new("a")?;
    let answers = [
        store.lookup(claim("refused/rows").key()).await.map(drop),
        store.balance(&account).await.map(drop),
        store
            .execute_once(&claim("refused/rows"), async |_tx: &mut RedisTx| Ok(1))
            .await
            .map(drop),
    ];
    let spoilt: Vec<Error> = answers.into_iter().filter_map(Result::err).collect();
    assert!(!spoilt.is_empty());
    spoilt.iter().for_each(|error| {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
        clean("spoilt", &said(error));
    });
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_redis_is_ever_reported() -> Result<()> {
    let log = log();
    let server = Redis::start().await?;
    plant(&server).await?;
    let store = RedisStore::builder(server.url())
        .key_prefix("ours")
        .connect()
        .await?;
    let observed = Observed::new(store.clone());
    commands(&observed).await;
    work(&observed, &server.url()).await?;
    held(&store, &server).await?;
    spoilt(&store, &server).await?;

    // Settings: a wrong password, a database that is none, and a user that may not.
    let port = server.port();
    server
        .cli([
            "ACL",
            "SETUSER",
            "app",
            "reset",
            "on",
            &format!(">{SECRET}"),
            "~*",
            "+@all",
            "-set",
        ])
        .await?;
    for (what, url) in [
        (
            "password",
            format!("redis://app:{SECRET}-not@127.0.0.1:{port}"),
        ),
        ("user", format!("redis://absent:{SECRET}@127.0.0.1:{port}")),
        (
            "database",
            format!("redis://app:{SECRET}@127.0.0.1:{port}/4711"),
        ),
        (
            "permission",
            format!("redis://app:{SECRET}@127.0.0.1:{port}"),
        ),
    ] {
        let own = RedisStore::builder(&url).connect().await.map(drop);
        for error in [
            own.unwrap_err(),
            AnyStore::connect(&url).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Configuration, "{what}: {error}");
            clean(what, &said(&error));
        }
    }
    let text = log.text();
    assert!(text.contains("execute_one_shot"), "the spans are heard");
    clean("the log", &text);
    Ok(())
}

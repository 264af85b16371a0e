//! Goal: a transaction of ours does what the server's own MULTI does with the same commands, or is
//! refused where MULTI has an error, and then changes nothing.
//! Method: random commands on few keys, of types that clash, applied to two databases of one server:
//! by MULTI to one, by a store to the other, which are compared afterwards.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use exactly_once::redis::{RedisStore, RedisTx, Require};
use exactly_once::{
    BegunPrepared, Claim, ErrorKind, Fingerprint, IdempotencyKey, OneShot, OneShotParticipant,
    OneShotStore, Participation, PreparedTransactions, Receipt, Statement, Store, TransactionId,
    Transactional,
};
use exactly_once_servers::Redis;
use redis::{Cmd, Value, aio::MultiplexedConnection};

const KEYS: [&str; 3] = ["user:a", "user:b", "user:c"];
const ROUNDS: u64 = 60;

/// A small generator: the same numbers for the same seed, on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[usize::try_from(self.below(words.len() as u64)).unwrap()]
    }

    /// A command and its words; few parts, so that the last one is often removed.
    fn command(&mut self) -> Vec<String> {
        let key = self.of(&KEYS);
        let part = self.of(&["x", "y"]);
        let number = self.of(&["1", "-3", "9223372036854775807", "-9223372036854775808"]);
        let value = self.of(&["1", "07", "text", "9223372036854775806", ""]);
        let words = match self.below(13) {
            0 => vec!["SET", key, value],
            1 => vec!["SET", key, value, "NX"],
            2 => vec!["SET", key, value, "XX"],
            3 => vec!["DEL", key],
            4 => vec!["INCRBY", key, number],
            5 | 6 => vec!["HSET", key, part, value],
            7 => vec!["HDEL", key, part],
            8 => vec!["HINCRBY", key, part, number],
            9 => vec!["SADD", key, part],
            10 => vec!["SREM", key, part],
            11 => vec!["RPUSH", key, part],
            _ => vec!["ZADD", key, "2", part],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    fn commands(&mut self, most: u64) -> Vec<Vec<String>> {
        (0..=self.below(most)).map(|_| self.command()).collect()
    }
}

fn cmd(words: &[String]) -> Cmd {
    let mut cmd = redis::cmd(&words[0]);
    cmd.arg(&words[1..]);
    cmd
}

fn statement(words: &[String]) -> Statement {
    words[1..]
        .iter()
        .fold(Statement::new(&words[0]), |statement, word| {
            statement.bind(word.clone())
        })
}

/// All that a database holds of the users'.
async fn content(database: &mut MultiplexedConnection) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for key in KEYS {
        let kind: String = redis::cmd("TYPE")
            .arg(key)
            .query_async(database)
            .await
            .unwrap();
        let read = match kind.as_str() {
            "none" => continue,
            "string" => redis::cmd("GET").arg(key).to_owned(),
            "hash" => redis::cmd("HGETALL").arg(key).to_owned(),
            "set" => redis::cmd("SORT").arg(key).arg("ALPHA").to_owned(),
            "list" => redis::cmd("LRANGE").arg(key).arg(0).arg(-1).to_owned(),
            _ => redis::cmd("ZRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .arg("WITHSCORES")
                .to_owned(),
        };
        let mut value: Value = read.query_async(database).await.unwrap();
        if let ("hash", Value::Array(parts)) = (kind.as_str(), &mut value) {
            let mut pairs: Vec<_> = parts.chunks(2).map(|pair| format!("{pair:?}")).collect();
            pairs.sort();
            value = Value::SimpleString(pairs.concat());
        }
        all.insert(format!("{kind} {key}"), value);
    }
    all
}

/// By the server's own transaction; `false`, and everything as before, if any command had an error.
async fn by_multi(database: &mut MultiplexedConnection, commands: &[Vec<String>]) -> bool {
    let before = dump(database).await;
    let mut pipeline = redis::pipe();
    pipeline.cmd("MULTI");
    for words in commands {
        pipeline.add_command(cmd(words));
    }
    pipeline.cmd("EXEC");
    let count = commands.len() + 2;
    let answers = database
        .send_packed_commands(&pipeline, 0, count)
        .await
        .unwrap();
    let Some(Value::Array(answers)) = answers.last() else {
        panic!("{answers:?}");
    };
    let fine = !answers
        .iter()
        .any(|answer| matches!(answer, Value::ServerError(_)));
    if !fine {
        restore(database, &before).await;
    }
    fine
}

async fn dump(database: &mut MultiplexedConnection) -> Vec<(&'static str, Option<Vec<u8>>)> {
    let mut all = Vec::new();
    for key in KEYS {
        all.push((
            key,
            redis::cmd("DUMP")
                .arg(key)
                .query_async(database)
                .await
                .unwrap(),
        ));
    }
    all
}

async fn restore(database: &mut MultiplexedConnection, all: &[(&'static str, Option<Vec<u8>>)]) {
    for (key, dumped) in all {
        let _: () = redis::cmd("DEL")
            .arg(key)
            .query_async(database)
            .await
            .unwrap();
        if let Some(dumped) = dumped {
            let mut restore = redis::cmd("RESTORE");
            restore.arg(key).arg(0).arg(dumped);
            let _: () = restore.query_async(database).await.unwrap();
        }
    }
}

/// By the methods of a transaction.
fn write(tx: &mut RedisTx, words: &[String]) -> exactly_once::Result<()> {
    let (key, last) = (words[1].as_str(), words.last().unwrap());
    match words[0].as_str() {
        "SET" => tx.set(key, last),
        "DEL" => tx.del(key),
        "INCRBY" => tx.incr_by(key, last.parse().unwrap()),
        "HSET" => tx.hset(key, &words[2], last),
        "HDEL" => tx.hdel(key, last),
        "HINCRBY" => tx.hincr_by(key, &words[2], last.parse().unwrap()),
        "SADD" => tx.sadd(key, last),
        "SREM" => tx.srem(key, last),
        "RPUSH" => tx.rpush(key, last),
        _ => tx.zadd(key, last, words[2].parse().unwrap()),
    }
}

/// What the transaction itself sees of its keys is what the commit makes of them.
async fn reads_itself(
    tx: &mut RedisTx,
    other: &mut MultiplexedConnection,
    key: &'static str,
) -> exactly_once::Result<()> {
    let kind: String = redis::cmd("TYPE")
        .arg(key)
        .query_async(other)
        .await
        .unwrap();
    assert_eq!(tx.exists(key).await?, kind != "none", "{key} is a {kind}");
    match kind.as_str() {
        "string" => {
            let text: Vec<u8> = redis::cmd("GET").arg(key).query_async(other).await.unwrap();
            assert_eq!(tx.get(key).await?, Some(text), "{key}");
        }
        "hash" => {
            let all: BTreeMap<Vec<u8>, Vec<u8>> = redis::cmd("HGETALL")
                .arg(key)
                .query_async(other)
                .await
                .unwrap();
            for (field, value) in &all {
                assert_eq!(tx.hget(key, field).await?.as_ref(), Some(value), "{key}");
            }
            assert_eq!(tx.hget_all(key).await?, all, "{key}");
        }
        "set" => {
            let all: std::collections::BTreeSet<Vec<u8>> = redis::cmd("SMEMBERS")
                .arg(key)
                .query_async(other)
                .await
                .unwrap();
            assert_eq!(tx.smembers(key).await?, all, "{key}");
        }
        "list" => {
            let all: Vec<Vec<u8>> = redis::cmd("LRANGE")
                .arg(key)
                .arg(0)
                .arg(-1)
                .query_async(other)
                .await
                .unwrap();
            assert_eq!(tx.list(key).await?, all, "{key}");
        }
        "none" => {
            assert_eq!(tx.get(key).await?, None, "{key}");
            assert!(tx.hget_all(key).await?.is_empty() && tx.list(key).await?.is_empty());
        }
        _ => {}
    }
    Ok(())
}

struct Sides {
    store: RedisStore,
    ours: MultiplexedConnection,
    theirs: MultiplexedConnection,
}

async fn sides(server: &Redis) -> Sides {
    let of = async |number: u8| {
        let url = format!("{}/{number}", server.url());
        let client = redis::Client::open(url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    };
    Sides {
        store: RedisStore::builder(server.url())
            .require(Require::ProcessSafe)
            .connect()
            .await
            .unwrap(),
        ours: of(0).await,
        theirs: of(1).await,
    }
}

/// The forms in which commands come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    OneShot,
    Transaction,
    Participant,
}

async fn by_store(
    sides: &mut Sides,
    form: Form,
    name: &str,
    commands: &[Vec<String>],
    fine: bool,
) -> exactly_once::Result<()> {
    let store = &sides.store;
    let statements: Vec<Statement> = commands.iter().map(|words| statement(words)).collect();
    match form {
        Form::OneShot => {
            let effect = OneShot {
                claim: Claim::new(
                    IdempotencyKey::new(name).unwrap(),
                    Fingerprint::of("test", name).unwrap(),
                ),
                statements,
                receipt: Receipt::default(),
            };
            store.execute_one_shot(&effect).await.map(drop)
        }
        Form::Transaction => {
            let mut tx = store.begin().await?;
            for words in commands {
                write(&mut tx, words)?;
            }
            if fine {
                for key in KEYS {
                    reads_itself(&mut tx, &mut sides.theirs, key).await?;
                }
            }
            store.commit(tx).await
        }
        Form::Participant => {
            let now = store.now().await?;
            let at = |seconds| {
                now.checked_add(std::time::Duration::from_secs(seconds))
                    .unwrap()
            };
            let work = Participation::new(
                &TransactionId::new(name).unwrap(),
                Fingerprint::of("test", name).unwrap(),
                at(600),
                at(3600),
            )?;
            let BegunPrepared::Fresh(mut tx) = store.begin_prepared(&work).await? else {
                panic!("not fresh");
            };
            store.apply(&mut tx, &statements).await?;
            store.prepare(tx, &work).await?;
            store.commit_prepared(&work).await
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_does_what_multi_does() {
    for valkey in [false, true] {
        let options = Redis::options().append_fsync("everysec");
        let options = if valkey { options.valkey() } else { options };
        let server = options.start().await.unwrap();
        let mut sides = sides(&server).await;
        let (mut applied, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            for form in [Form::OneShot, Form::Transaction, Form::Participant] {
                let mut random = Random(0x9E37_79B9_7F4A_7C15 ^ ((round + 1) * 7919));
                // What is there before, some of it of a wrong type.
                for database in [&mut sides.ours, &mut sides.theirs] {
                    restore(database, &KEYS.map(|key| (key, None))).await;
                }
                for words in random.commands(4) {
                    for database in [&mut sides.ours, &mut sides.theirs] {
                        let _ = database.send_packed_command(&cmd(&words)).await.unwrap();
                    }
                }
                let before = content(&mut sides.ours).await;
                let mut commands = random.commands(5);
                if form == Form::Transaction {
                    // It has no conditions.
                    commands.iter_mut().for_each(|words| {
                        if words[0] == "SET" {
                            words.truncate(3);
                        }
                    });
                }
                let fine = by_multi(&mut sides.theirs, &commands).await;
                let name = format!("{form:?} {round}");
                let context = format!("{name}: {commands:?} on {before:?}");
                let answer = by_store(&mut sides, form, &name, &commands, fine).await;
                if fine {
                    applied += 1;
                    assert!(answer.is_ok(), "{context}: {answer:?}");
                    let (ours, theirs) = (
                        content(&mut sides.ours).await,
                        content(&mut sides.theirs).await,
                    );
                    assert_eq!(ours, theirs, "{context}");
                } else {
                    refused += 1;
                    let kind = answer.as_ref().err().map(exactly_once::Error::kind);
                    let expected = [Some(ErrorKind::Refused), Some(ErrorKind::Overflow)];
                    assert!(expected.contains(&kind), "{context}: {answer:?}");
                    assert_eq!(content(&mut sides.ours).await, before, "{context}");
                }
            }
        }
        assert!(
            applied > 40 && refused > 40,
            "{applied} applied, {refused} refused"
        );
    }
}

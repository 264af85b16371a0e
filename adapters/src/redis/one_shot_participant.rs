//! A participant whose work is known up front, by the steps of any other.

use exactly_once_core::{
    ErrorKind, OneShotParticipant, Ran, Result, Statement, StatementTransaction, Value,
    adapter::{RowsWriter, check_statements_without_rows, refusals},
};

use super::{
    commands::{Verb, Write},
    error::{BACKEND, error},
    one_shot::check_row,
    statements::writes_of,
    store::RedisStore,
    transaction::RedisTx,
};

const OPERATION: &str = "apply";

impl OneShotParticipant for RedisStore {
    async fn apply(&self, tx: &mut RedisTx, statements: &[Statement]) -> Result<()> {
        check_statements_without_rows(statements, OPERATION, BACKEND)?;
        tx.check_home(self, OPERATION)?;
        let mut whole = Whole { tx, done: false };
        let applied = apply(whole.tx, statements, false).await;
        whole.done = true;
        whole.tx.noted(applied).map(drop)
    }
}

impl StatementTransaction for RedisStore {
    async fn run_in(&self, tx: &mut RedisTx, statement: &Statement) -> Result<Ran> {
        const OPERATION: &str = "run_in";
        statement.check(OPERATION, BACKEND)?;
        tx.check_home(self, OPERATION)?;
        let mut whole = Whole { tx, done: false };
        let ran = run(whole.tx, statement, OPERATION).await;
        whole.done = true;
        whole.tx.noted(ran)
    }
}

/// Runs one statement. What it returns is read, and so guarded until the commit.
async fn run(tx: &mut RedisTx, statement: &Statement, operation: &'static str) -> Result<Ran> {
    check_row(1, statement, operation)?;
    let Some(limits) = statement.returns() else {
        let changed = apply(tx, std::slice::from_ref(statement), true).await?;
        return Ok(Ran::changed(changed.into_iter().sum()));
    };
    // Its one row is counted, and that was compared.
    let writes = writes_of(std::slice::from_ref(statement), operation)?;
    let mut changed = 0;
    for write in &writes {
        let rows = changes(tx, write, true).await?;
        if rows > 0 || condition_of(write).is_empty() {
            put(tx, write)?;
        }
        changed += rows;
    }
    let counter = match writes.last() {
        Some(write) if write.verb == Verb::Incr => tx.get(write.key.as_slice()).await?,
        Some(write) if write.verb == Verb::HIncr => {
            tx.hget(write.key.as_slice(), write.a.as_slice()).await?
        }
        _ => None,
    };
    let value = match counter {
        Some(digits) => number(&digits)?,
        None => i64::try_from(changed).unwrap_or(i64::MAX),
    };
    let mut rows = RowsWriter::new(1, limits, operation, BACKEND);
    rows.row([("value", Value::Integer(value))])?;
    Ok(Ran::returned(rows.finish()?))
}

/// A transaction that can't be committed if this is dropped half way.
struct Whole<'a> {
    tx: &'a mut RedisTx,
    done: bool,
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if !self.done {
            let half = error(ErrorKind::WorkFailed, OPERATION)
                .with_message("the statements were given up half way");
            // Remembered by the transaction.
            let _ = self.tx.noted(Err::<(), _>(half));
        }
    }
}

/// Gives how many rows each has changed: where that is not to `count` and no number is
/// [required](Statement::expecting_rows), without a look at what is there.
async fn apply(tx: &mut RedisTx, statements: &[Statement], count: bool) -> Result<Vec<u64>> {
    let mut rows = vec![0; statements.len()];
    for write in writes_of(statements, OPERATION)? {
        let at = (write.statement as usize).saturating_sub(1);
        let counted = statements.get(at).and_then(Statement::expected_rows);
        let changed = changes(tx, &write, count || counted.is_some()).await?;
        if changed > 0 || condition_of(&write).is_empty() {
            put(tx, &write)?;
        }
        if let Some(rows) = rows.get_mut(at) {
            *rows += changed;
        }
    }
    for (at, (statement, rows)) in (1..).zip(statements.iter().zip(&rows)) {
        if let Some(expected) = statement.expected_rows().filter(|it| it != rows) {
            return Err(refusals::rows(at, *rows, expected, OPERATION, BACKEND));
        }
    }
    Ok(rows)
}

/// `NX`, `XX` or nothing.
fn condition_of(write: &Write) -> &[u8] {
    let condition = write.b.split(|byte| *byte == b' ').next();
    condition
        .filter(|_| write.verb == Verb::Set)
        .unwrap_or_default()
}

/// How many rows the write will change. Where it hangs on what is there, that is read, and so guarded
/// until the commit; where none is counted, it is not.
async fn changes(tx: &mut RedisTx, write: &Write, counted: bool) -> Result<u64> {
    let (key, part) = (write.key.as_slice(), write.a.as_slice());
    let changed = match write.verb {
        Verb::Set if !condition_of(write).is_empty() => {
            tx.exists(key).await? == (condition_of(write) == b"XX")
        }
        Verb::Del if counted => tx.exists(key).await?,
        Verb::HDel if counted => tx.hget(key, part).await?.is_some(),
        Verb::SAdd if counted => !tx.sismember(key, part).await?,
        Verb::SRem if counted => tx.sismember(key, part).await?,
        _ => true,
    };
    Ok(u64::from(changed))
}

fn put(tx: &mut RedisTx, write: &Write) -> Result<()> {
    let (key, a, b) = (&write.key, &write.a, &write.b);
    match write.verb {
        Verb::Set => {
            // The condition is decided, and guarded; what is left says how long the value stays.
            let stays = b.get(condition_of(write).len()..).unwrap_or_default();
            tx.set_with(key, a, stays)
        }
        Verb::Del => tx.del(key),
        Verb::Incr => tx.incr_by(key, number(a)?),
        Verb::HSet => tx.hset(key, a, b),
        Verb::HDel => tx.hdel(key, a),
        Verb::HIncr => tx.hincr_by(key, a, number(b)?),
        Verb::SAdd => tx.sadd(key, a),
        Verb::SRem => tx.srem(key, a),
        Verb::RPush => tx.rpush(key, a),
        Verb::ZAdd => tx.zadd(key, a, number(b)?),
    }
}

/// A number as [`writes_of`] has written it.
fn number<T: std::str::FromStr>(text: &[u8]) -> Result<T> {
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| error(ErrorKind::Refused, OPERATION).with_message("no number"))
}

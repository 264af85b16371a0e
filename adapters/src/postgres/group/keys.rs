//! What is known of many keys, read at once; and when to look before the leap.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use exactly_once_core::{Claim, Result};

use super::{
    Of, copy,
    named::{self, Message, Named},
    queue::{Flush, Queue, ask},
    text,
};
use crate::postgres::{
    driver::{Cause, Driver, DriverError, Reply},
    error::convert,
    key_row::Seen,
    literal,
    schema::Tables,
    sqlstate::Stage,
    statements::NOW,
};

/// How many batches of reads there may be at once.
const BATCHES: usize = 2;

/// How often a read is sent again after its connection turned out to be dead.
const TRIES: usize = 32;

/// A name of a key, as it stands in an array.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyName {
    pub(super) namespace: Arc<str>,
    pub(super) key: String,
}

pub(super) type Look = std::result::Result<Option<Seen>, DriverError>;

/// Those who look.
pub(super) struct Looks {
    queue: Queue<KeyName, Look>,
    select: Arc<Named>,
    /// For a lone key, without arrays.
    select_one: Arc<Named>,
}

impl Looks {
    pub(super) fn new(tables: &Tables) -> Self {
        let columns = format!(
            "pg_catalog.encode(k.fingerprint, 'hex'), k.outcome, \
             pg_catalog.encode(k.body, 'hex'), k.status, k.token, k.lease_until, k.completed_at, \
             k.expires_at, {NOW}"
        );
        let select_one = format!(
            "SELECT 1, {columns} FROM {} k WHERE k.namespace = pg_catalog.decode($1, 'hex') \
             AND k.key = pg_catalog.decode($2, 'hex') AND {} = 1",
            tables.keys,
            named::guard(),
        );
        // The arrays by way of a SELECT: how long they are is not known to the planner then, which
        // would plan again for each batch where a short one looks cheaper than one of any length.
        let select = format!(
            "SELECT a.at, {columns} \
             FROM ROWS FROM (pg_catalog.unnest((SELECT $1)), pg_catalog.unnest((SELECT $2))) \
             WITH ORDINALITY a (namespace, key, at) \
             CROSS JOIN LATERAL (SELECT * FROM {} k \
             WHERE k.namespace = pg_catalog.decode(a.namespace, 'hex') \
             AND k.key = pg_catalog.decode(a.key, 'hex') LIMIT 1) k WHERE {} = 1",
            tables.keys,
            named::guard(),
        );
        Self {
            queue: Queue::new(BATCHES),
            select: Named::new("(text[], text[])", &select),
            select_one: Named::new("(text, text)", &select_one),
        }
    }
}

/// Whether keys are found completed so often that looking first is cheaper than claiming in vain.
#[derive(Default)]
pub(super) struct Replays(AtomicU32);

impl Replays {
    /// How much one that was found weighs, against one that was fresh.
    const WEIGHT: u32 = 8;
    const MOST: u32 = 64;

    pub(super) fn expected(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    pub(super) fn found(&self) {
        let more = |now: u32| Some((now + Self::WEIGHT).min(Self::MOST));
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    pub(super) fn fresh(&self) {
        let less = |now: u32| now.checked_sub(1);
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

struct Looking<D: Driver>(Of<D>);

impl<D: Driver> Clone for Looking<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Driver> Flush for Looking<D> {
    type Job = KeyName;
    type Answer = Look;

    fn queue(&self) -> &Queue<KeyName, Look> {
        &self.0.groups().looks.queue
    }

    async fn flush(&self, jobs: Vec<KeyName>) -> Vec<Look> {
        let asked: Vec<&KeyName> = jobs.iter().collect();
        match self.0.look_at_all(&asked).await {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(failed) => jobs.iter().map(|_| Err(copy(&failed))).collect(),
        }
    }
}

impl<D: Driver> Of<D> {
    pub(super) fn key_name(&self, claim: &Claim) -> KeyName {
        KeyName {
            namespace: self.namespace_hex().into(),
            key: literal::hex(claim.key().as_str().as_bytes()),
        }
    }

    /// Sends what only reads: a lost connection loses nothing, so another one is tried.
    pub(super) async fn read_only(
        &self,
        message: &Message,
    ) -> std::result::Result<Vec<Reply>, DriverError> {
        let mut tries = 0;
        loop {
            match self.send(message).await {
                Err(failed) if failed.cause == Cause::Lost && tries < TRIES => tries += 1,
                answer => return answer,
            }
        }
    }

    /// The rows of these keys, in order.
    pub(super) async fn look_at_all(
        &self,
        asked: &[&KeyName],
    ) -> std::result::Result<Vec<Option<Seen>>, DriverError> {
        let groups = self.groups();
        // A transaction by itself, with the guard in it.
        let mut message = if let [name] = asked {
            let values = [text::one(&name.namespace), text::one(&name.key)];
            Message::alone(&groups.looks.select_one, &values)
        } else {
            let values = [
                text::plain(asked.iter().map(|name| &name.namespace)),
                text::plain(asked.iter().map(|name| &name.key)),
            ];
            Message::alone(&groups.looks.select, &values)
        };
        // Both are prepared on a connection at once.
        message.uses(&groups.looks.select_one);
        message.uses(&groups.looks.select);
        let replies = self.read_only(&message).await?;
        let mut found: Vec<Option<Seen>> = asked.iter().map(|_| None).collect();
        for row in replies.first().map_or(&[][..], |reply| &reply.rows) {
            let at = row
                .first()
                .and_then(|at| at.as_deref()?.parse::<usize>().ok());
            let place = at.and_then(|at| found.get_mut(at.checked_sub(1)?));
            match (place, Seen::parse(row.get(1..).unwrap_or_default())) {
                (Some(place), Some(row)) => *place = Some(row),
                _ => return Err(DriverError::bare(Cause::Driver)),
            }
        }
        Ok(found)
    }

    /// What is known of a key; read with those of others who ask now.
    pub(in crate::postgres) async fn look(
        &self,
        claim: &Claim,
        operation: &'static str,
    ) -> Result<Option<Seen>> {
        match ask(Looking(self.clone()), self.key_name(claim)).await {
            Some(answer) => answer.map_err(|failed| convert(failed, operation, Stage::Ours)),
            None => {
                let replies = self.read(operation, &self.select_key(claim.key())).await?;
                Seen::read(replies.first(), operation)
            }
        }
    }
}

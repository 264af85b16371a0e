//! The statements that read and write many accounts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use exactly_once_core::AccountState;

use super::{
    Of,
    balances::{Booked, Booking, Entry, Fold, Moved, floor},
    guesses::{AccountName, Guesses},
    keys::Replays,
    named::{Message, Named, all_or_nothing},
    queue::Queue,
    text,
};
use crate::postgres::{
    balance_row::{Known, known_row, state},
    driver::{Cause, Driver, DriverError, Reply},
    literal,
    schema::Tables,
};

/// How many flights there may be at once, none with an account of another: where two met, one would
/// wait for the other only to find that it has guessed wrong.
const FLIGHTS: usize = 2;

/// Those who change balances.
pub(super) struct Ledger {
    pub(super) queue: Queue<Booking, Booked>,
    write: Arc<Named>,
    /// By guesses: where one is wrong, its account stays out and the others are written.
    write_guessed: Arc<Named>,
    /// For a lone change, without arrays.
    write_one: Arc<Named>,
    pub(super) guesses: Guesses,
    pub(super) replays: Replays,
    select_operations: Arc<Named>,
    select_accounts: Arc<Named>,
}

/// What the database says.
pub(super) struct Truth {
    /// For each booking, in order.
    pub(super) known: Vec<Option<Known>>,
    pub(super) states: HashMap<AccountName, AccountState>,
}

impl Ledger {
    pub(super) fn new(tables: &Tables) -> Self {
        let select = |columns: &str, table: &str, name: &str| {
            let body = format!(
                "SELECT a.at, {columns} \
                 FROM {rows} WITH ORDINALITY a (namespace, name, at) \
                 CROSS JOIN LATERAL (SELECT * FROM {table} t \
                 WHERE t.namespace = pg_catalog.decode(a.namespace, 'hex') \
                 AND t.{name} = pg_catalog.decode(a.name, 'hex') LIMIT 1) t",
                rows = text::rows(&[1, 2]),
            );
            Named::new("(text[], text[])", &body)
        };
        Self {
            queue: Queue::new(FLIGHTS),
            write: write(tables),
            write_guessed: write_guessed(tables),
            write_one: write_one(tables),
            guesses: Guesses::default(),
            replays: Replays::default(),
            select_operations: select(
                "pg_catalog.encode(t.fingerprint, 'hex'), pg_catalog.encode(t.changes, 'hex')",
                &tables.operations,
                "key",
            ),
            select_accounts: select(
                "t.amount, t.version, t.floor, t.open",
                &tables.accounts,
                "account",
            ),
        }
    }
}

/// The records first, so that a rival's key is met before anything else: it fails, as a key that is
/// known already does. (`ON CONFLICT` would cost each of the others half of a record more.)
///
/// An account is only changed where it is what was guessed; amount and floor are compared as well as
/// the version, for the case that a failover took the database back and others went on from there.
fn write(tables: &Tables) -> Arc<Named> {
    let body = format!(
        "WITH operation AS (INSERT INTO {operations} (namespace, key, fingerprint, changes) \
         SELECT pg_catalog.decode(a.namespace, 'hex'), pg_catalog.decode(a.key, 'hex'), \
         pg_catalog.decode(a.print, 'hex'), pg_catalog.decode(a.changes, 'hex') \
         FROM {records} a (namespace, key, print, changes) RETURNING 1), \
         moved AS (UPDATE {accounts} a SET amount = v.amount, version = v.version \
         FROM {accounts_of} \
         v (namespace, account, was_amount, was_version, was_floor, amount, version) \
         WHERE a.namespace = pg_catalog.decode(v.namespace, 'hex') \
         AND a.account = pg_catalog.decode(v.account, 'hex') AND a.version = v.was_version \
         AND a.amount = v.was_amount AND a.floor IS NOT DISTINCT FROM v.was_floor AND a.open \
         RETURNING 1), \
         line AS (INSERT INTO {history} \
         (namespace, account, version, key, kind, delta, before, after) \
         SELECT pg_catalog.decode(a.namespace, 'hex'), pg_catalog.decode(a.account, 'hex'), \
         a.version, pg_catalog.decode(a.key, 'hex'), a.kind, a.delta, a.before, a.after \
         FROM {lines} \
         a (namespace, key, account, version, kind, delta, before, after) \
         WHERE a.version IS NOT NULL) \
         SELECT {all}",
        operations = tables.operations,
        accounts = tables.accounts,
        history = tables.history,
        records = text::rows(&[1, 2, 3, 4]),
        accounts_of = text::rows(&[11, 12, 13, 14, 15, 16, 17]),
        lines = text::rows(&[1, 2, 5, 6, 7, 8, 9, 10]),
        all = all_or_nothing(
            "(SELECT pg_catalog.count(*) FROM operation) = pg_catalog.cardinality($1) \
             AND (SELECT pg_catalog.count(*) FROM moved) = pg_catalog.cardinality($11)"
        ),
    );
    Named::new(
        "(text[], text[], text[], text[], text[], int8[], text[], int8[], int8[], int8[], \
         text[], text[], int8[], int8[], int8[], int8[], int8[])",
        &body,
    )
}

/// The same by guesses: whose account is not what was guessed has no record and no line either, and
/// the answer tells whose is. So one account that somebody else has changed costs its callers another
/// round, and not the whole group.
///
/// Here a rival's key is met with accounts in hand, which he may want: then it is we who give up, by
/// the group's short lock timeout.
fn write_guessed(tables: &Tables) -> Arc<Named> {
    let stands = "a.slot IN (SELECT m.slot FROM moved m)";
    let body = format!(
        "WITH moved AS (UPDATE {accounts} a SET amount = v.amount, version = v.version \
         FROM {accounts_of} WITH ORDINALITY \
         v (namespace, account, was_amount, was_version, was_floor, amount, version, slot) \
         WHERE a.namespace = pg_catalog.decode(v.namespace, 'hex') \
         AND a.account = pg_catalog.decode(v.account, 'hex') AND a.version = v.was_version \
         AND a.amount = v.was_amount AND a.floor IS NOT DISTINCT FROM v.was_floor AND a.open \
         RETURNING v.slot), \
         operation AS (INSERT INTO {operations} (namespace, key, fingerprint, changes) \
         SELECT pg_catalog.decode(a.namespace, 'hex'), pg_catalog.decode(a.key, 'hex'), \
         pg_catalog.decode(a.print, 'hex'), pg_catalog.decode(a.changes, 'hex') \
         FROM {records} a (namespace, key, print, changes, slot) \
         WHERE {stands}), \
         line AS (INSERT INTO {history} \
         (namespace, account, version, key, kind, delta, before, after) \
         SELECT pg_catalog.decode(a.namespace, 'hex'), pg_catalog.decode(a.account, 'hex'), \
         a.version, pg_catalog.decode(a.key, 'hex'), a.kind, a.delta, a.before, a.after \
         FROM {lines} a (namespace, key, account, version, kind, delta, before, after, slot) \
         WHERE {stands}) \
         SELECT 1, (SELECT pg_catalog.string_agg(m.slot::text, ',') FROM moved m)",
        operations = tables.operations,
        accounts = tables.accounts,
        history = tables.history,
        accounts_of = text::rows(&[11, 12, 13, 14, 15, 16, 17]),
        records = text::rows(&[1, 2, 3, 4, 18]),
        lines = text::rows(&[1, 2, 5, 6, 7, 8, 9, 10, 18]),
    );
    Named::new(
        "(text[], text[], text[], text[], text[], int8[], text[], int8[], int8[], int8[], \
         text[], text[], int8[], int8[], int8[], int8[], int8[], int8[])",
        &body,
    )
}

/// The same for one change, by single values.
fn write_one(tables: &Tables) -> Arc<Named> {
    let body = format!(
        "WITH operation AS (INSERT INTO {operations} (namespace, key, fingerprint, changes) \
         VALUES (pg_catalog.decode($1, 'hex'), pg_catalog.decode($2, 'hex'), \
         pg_catalog.decode($3, 'hex'), pg_catalog.decode($4, 'hex')) RETURNING 1), \
         moved AS (UPDATE {accounts} a SET amount = $10, version = $6 \
         WHERE a.namespace = pg_catalog.decode($1, 'hex') \
         AND a.account = pg_catalog.decode($5, 'hex') AND a.version = $11 \
         AND a.amount = $9 AND a.floor IS NOT DISTINCT FROM $12 AND a.open RETURNING 1), \
         line AS (INSERT INTO {history} \
         (namespace, account, version, key, kind, delta, before, after) \
         VALUES (pg_catalog.decode($1, 'hex'), pg_catalog.decode($5, 'hex'), $6, \
         pg_catalog.decode($2, 'hex'), $7, $8, $9, $10)) \
         SELECT {all}",
        operations = tables.operations,
        accounts = tables.accounts,
        history = tables.history,
        all = all_or_nothing(
            "(SELECT pg_catalog.count(*) FROM operation) = 1 \
             AND (SELECT pg_catalog.count(*) FROM moved) = 1"
        ),
    );
    Named::new(
        "(text, text, text, text, text, int8, text, int8, int8, int8, int8, int8)",
        &body,
    )
}

impl Ledger {
    /// Writes the fold, which was made by guesses or by what was read.
    pub(super) fn execute(
        &self,
        message: &mut Message,
        bookings: &[&Booking],
        fold: &Fold,
        guessed: bool,
    ) {
        match (bookings, fold.entries.as_slice(), fold.moved.as_slice()) {
            ([booking], [entry], [moved]) => {
                message.execute(&self.write_one, &values(booking, entry, moved));
            }
            _ if guessed => {
                let mut values = columns(bookings, fold);
                let slots = fold.entries.iter().map(|entry| entry.slot + 1);
                values.push(text::numbers(slots.map(|slot| i64::try_from(slot).ok())));
                message.execute(&self.write_guessed, &values);
            }
            _ => message.execute(&self.write, &columns(bookings, fold)),
        }
        // A connection is taught all at once.
        for one in [&self.write_one, &self.write_guessed, &self.write] {
            message.uses(one);
        }
    }
}

/// Which of so many accounts were what was guessed: all of them, where the answer does not say.
pub(super) fn stood(reply: Option<&Reply>, accounts: usize) -> HashSet<usize> {
    let row = reply.and_then(|reply| reply.rows.first());
    match row.and_then(|row| row.get(1)) {
        None => (0..accounts).collect(),
        Some(slots) => (slots.iter())
            .flat_map(|slots| slots.split(','))
            .filter_map(|slot| slot.parse::<usize>().ok()?.checked_sub(1))
            .collect(),
    }
}

/// The values of [`write_one`].
fn values(booking: &Booking, entry: &Entry, moved: &Moved) -> [String; 12] {
    let (change, before) = (&entry.change, &moved.before);
    [
        text::one(&booking.account.namespace),
        text::one(&booking.key),
        text::one(literal::hex(booking.print.as_bytes())),
        text::one(literal::hex(&entry.record)),
        text::one(&booking.account.account),
        text::number(Some(change.version.get())),
        text::one(change.kind.as_str()),
        text::number(Some(change.delta.get())),
        text::number(Some(change.before.get())),
        text::number(Some(change.after.get())),
        text::number(Some(before.version.get())),
        text::number(floor(before.floor)),
    ]
}

/// The values of [`write`]: records of those who are applied, then of those who are refused, which
/// have no line in the history.
fn columns(bookings: &[&Booking], fold: &Fold) -> Vec<String> {
    let each = || bookings.iter();
    let entries = || fold.entries.iter().map(|entry| &entry.change);
    let moved = || fold.moved.iter();
    let print = |booking: &&Booking| literal::hex(booking.print.as_bytes());
    vec![
        text::plain(each().map(|booking| &booking.account.namespace)),
        text::plain(each().map(|booking| &booking.key)),
        text::plain(each().map(print)),
        text::plain(
            fold.entries
                .iter()
                .map(|entry| literal::hex(&entry.record))
                .chain(
                    fold.refused
                        .iter()
                        .map(|refusal| literal::hex(refusal.record.as_str().as_bytes())),
                ),
        ),
        text::plain(each().map(|booking| &booking.account.account)),
        text::numbers(entries().map(|change| Some(change.version.get()))),
        text::plain(entries().map(|change| change.kind.as_str())),
        text::numbers(entries().map(|change| Some(change.delta.get()))),
        text::numbers(entries().map(|change| Some(change.before.get()))),
        text::numbers(entries().map(|change| Some(change.after.get()))),
        text::plain(moved().map(|one| &one.account.namespace)),
        text::plain(moved().map(|one| &one.account.account)),
        text::numbers(moved().map(|one| Some(one.before.amount.get()))),
        text::numbers(moved().map(|one| Some(one.before.version.get()))),
        text::numbers(moved().map(|one| floor(one.before.floor))),
        text::numbers(moved().map(|one| Some(one.after.amount.get()))),
        text::numbers(moved().map(|one| Some(one.after.version.get()))),
    ]
}

/// Rows of a reply that begin with their place, from 1 on.
fn placed(reply: Option<&Reply>) -> impl Iterator<Item = Option<(usize, &[Option<String>])>> {
    reply
        .map_or(&[][..], |reply| &reply.rows)
        .iter()
        .map(|row| {
            let at: usize = row.first()?.as_deref()?.parse().ok()?;
            Some((at.checked_sub(1)?, row.get(1..)?))
        })
}

impl<D: Driver> Of<D> {
    /// What these accounts hold; those that never were are left out.
    pub(super) async fn look_at_accounts(
        &self,
        names: &[&AccountName],
    ) -> Result<Vec<(AccountName, AccountState)>, DriverError> {
        let groups = self.groups();
        let namespaces = text::plain(names.iter().map(|name| &name.namespace));
        let accounts = text::plain(names.iter().map(|name| &name.account));
        let mut message = Message::begin(&groups.begin_generic);
        message.execute(&groups.ledger.select_accounts, &[namespaces, accounts]);
        let replies = self.read_only(&message.commit()).await?;
        let garbled = || DriverError::bare(Cause::Driver);
        // BEGIN, the settings, accounts.
        placed(replies.get(2))
            .map(|row| {
                let (at, row) = row.ok_or_else(garbled)?;
                let name = names.get(at).ok_or_else(garbled)?;
                Ok(((*name).clone(), state(row, 0).ok_or_else(garbled)?))
            })
            .collect()
    }

    /// What is known of these operations and of their accounts.
    pub(super) async fn look_at_ledger(&self, bookings: &[&Booking]) -> Result<Truth, DriverError> {
        let groups = self.groups();
        let namespaces = || text::plain(bookings.iter().map(|one| &one.account.namespace));
        let keys = text::plain(bookings.iter().map(|one| &one.key));
        let accounts = text::plain(bookings.iter().map(|one| &one.account.account));
        let mut message = Message::begin(&groups.begin_generic);
        // In this order: what an operation has done to its account is not seen without it.
        message.execute(&groups.ledger.select_accounts, &[namespaces(), accounts]);
        message.execute(&groups.ledger.select_operations, &[namespaces(), keys]);
        let replies = self.read_only(&message.commit()).await?;
        let garbled = || DriverError::bare(Cause::Driver);
        let mut known: Vec<Option<Known>> = bookings.iter().map(|_| None).collect();
        // BEGIN, the settings, accounts, operations.
        for row in placed(replies.get(3)) {
            let (at, row) = row.ok_or_else(garbled)?;
            let place = known.get_mut(at).ok_or_else(garbled)?;
            *place = Some(known_row(row).ok_or_else(garbled)?);
        }
        let mut states = HashMap::with_capacity(bookings.len());
        for row in placed(replies.get(2)) {
            let (at, row) = row.ok_or_else(garbled)?;
            let booking = bookings.get(at).ok_or_else(garbled)?;
            let state = state(row, 0).ok_or_else(garbled)?;
            states.insert(booking.account.clone(), state);
        }
        Ok(Truth { known, states })
    }
}

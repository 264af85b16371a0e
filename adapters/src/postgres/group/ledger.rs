//! The statements that read and write many accounts.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use exactly_once_core::AccountState;

use super::{
    Of,
    balances::{Booked, Booking, Entry, Fold, Moved, Refusal, floor},
    guesses::{AccountName, Guesses},
    keys::Replays,
    named::{Message, Named, all_or_nothing},
    queue::Queue,
    text,
};
use crate::postgres::{
    balance_row::{Known, RECORD, known_row, state},
    driver::{Cause, Driver, DriverError, Reply},
    literal,
    schema::Tables,
};

/// How many batches there may be at once, none with an account of another: where two met, one would
/// wait for the other only to find that it has guessed wrong.
const BATCHES: usize = 2;

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
    /// Accounts that a prepared transaction holds.
    pub(super) in_doubt: HashSet<AccountName>,
}

/// Whether a prepared transaction holds the row: the visible row names the transaction that changed
/// or locked it last. Most rows name none.
const IN_DOUBT: &str = "CASE WHEN t.holder = '0'::xid THEN false ELSE EXISTS (SELECT FROM \
                        pg_catalog.pg_prepared_xact() p WHERE p.transaction = t.holder) END";

impl Ledger {
    pub(super) fn new(tables: &Tables) -> Self {
        let select = |columns: &str, table: &str, name: &str| {
            let body = format!(
                "SELECT a.at, {columns} FROM {rows} WITH ORDINALITY a (namespace, name, at) \
                 CROSS JOIN LATERAL (SELECT t.*, t.xmax AS holder FROM {table} t WHERE t.namespace = a.namespace \
                 AND t.{name} = a.name LIMIT 1) t",
                rows = text::rows(&[1, 2]),
            );
            Named::new("(bytea[], bytea[])", &body)
        };
        Self {
            queue: Queue::new(BATCHES),
            write: write(tables),
            write_guessed: write_guessed(tables),
            write_one: write_one(tables),
            guesses: Guesses::default(),
            replays: Replays::default(),
            // One leg, whichever: of an operation with several, which is no booking, only the
            // fingerprint counts.
            select_operations: select(RECORD, &tables.changes, "key"),
            select_accounts: select(
                &format!("t.amount, t.version, t.floor, t.open, {IN_DOUBT}"),
                &tables.accounts,
                "account",
            ),
        }
    }
}

/// What a record is made of, where `a` has these columns; of who is refused, all but the last are
/// missing.
const VALUES: &str = "SELECT a.namespace, a.key, 0, a.print, \
                      a.account, a.version, a.kind, a.delta, a.after, a.refusal";

fn insert(tables: &Tables) -> String {
    format!(
        "INSERT INTO {} (namespace, key, leg, fingerprint, \
         account, version, kind, delta, after, refusal)",
        tables.changes
    )
}

/// An account is only changed where it is what was guessed; amount and floor are compared as well as
/// the version, for the case that a failover took the database back and others went on from there.
fn update(tables: &Tables) -> String {
    format!(
        "UPDATE {} a SET amount = v.amount, version = v.version \
         FROM {} WITH ORDINALITY \
         v (namespace, account, was_amount, was_version, was_floor, amount, version, slot) \
         WHERE a.namespace = v.namespace AND a.account = v.account AND a.version = v.was_version \
         AND a.amount = v.was_amount AND a.floor IS NOT DISTINCT FROM v.was_floor AND a.open \
         RETURNING v.slot",
        tables.accounts,
        text::rows(&[10, 11, 12, 13, 14, 15, 16]),
    )
}

/// All or nothing.
///
/// The accounts first, here as everywhere: who has an account in hand may write its next line, and
/// no other caller, so no two wait for each other. A rival's key is met with accounts locked, which it may
/// want: then it is we who give up, by the group's short lock timeout. (`ON CONFLICT` would cost each
/// of the others half of a record more.)
fn write(tables: &Tables) -> Arc<Named> {
    let all_moved = "(SELECT pg_catalog.count(*) FROM moved) = pg_catalog.cardinality($10)";
    let body = format!(
        "WITH moved AS ({update}), change AS ({insert} {VALUES} FROM {records} \
         a (namespace, key, print, account, version, kind, delta, after, refusal) \
         WHERE {all_moved} RETURNING 1) SELECT {all}",
        insert = insert(tables),
        records = text::rows(&[1, 2, 3, 4, 5, 6, 7, 8, 9]),
        update = update(tables),
        all =
            all_or_nothing("(SELECT pg_catalog.count(*) FROM change) = pg_catalog.cardinality($1)"),
    );
    Named::new(&format!("({TYPES})"), &body)
}

/// The types of the parameters of [`write`].
const TYPES: &str = "bytea[], bytea[], bytea[], bytea[], int8[], text[], int8[], int8[], bytea[], \
                     bytea[], bytea[], int8[], int8[], int8[], int8[], int8[]";

/// The same by guesses: whose account is not what was guessed has no record either, and the answer
/// says whose is. So one account that another process has changed costs its callers another round, and
/// not the whole group.
fn write_guessed(tables: &Tables) -> Arc<Named> {
    let body = format!(
        "WITH moved AS ({update}), change AS ({insert} {VALUES} FROM {records} \
         a (namespace, key, print, account, version, kind, delta, after, refusal, slot) \
         WHERE a.slot IN (SELECT m.slot FROM moved m)) \
         SELECT 1, (SELECT pg_catalog.string_agg(m.slot::text, ',') FROM moved m)",
        insert = insert(tables),
        records = text::rows(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 17]),
        update = update(tables),
    );
    Named::new(&format!("({TYPES}, int8[])"), &body)
}

/// The same for one change, by single values: the record is made of the row that was changed, so
/// there is none where nothing was. A key that is known already touches nothing: replays don't write.
fn write_one(tables: &Tables) -> Arc<Named> {
    let body = format!(
        "WITH moved AS (UPDATE {accounts} a SET amount = $8, version = $5 \
         WHERE a.namespace = $1 AND a.account = $4 AND a.version = $9 AND a.amount = $10 \
         AND a.floor IS NOT DISTINCT FROM $11 AND a.open AND NOT EXISTS \
         (SELECT FROM {changes} c WHERE c.namespace = $1 AND c.key = $2) RETURNING 1) \
         {insert} SELECT $1, $2, 0, $3, $4, $5, $6, $7, $8, NULL FROM moved RETURNING 1, '1'",
        insert = insert(tables),
        accounts = tables.accounts,
        changes = tables.changes,
    );
    Named::new(
        "(bytea, bytea, bytea, bytea, int8, text, int8, int8, int8, int8, int8)",
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
        // All are prepared on a connection at once.
        for one in [&self.write_one, &self.write_guessed, &self.write] {
            message.uses(one);
        }
    }
}

/// Which of so many accounts were what was guessed: none, without an answer; all of them, where the
/// answer does not say.
pub(super) fn stood(reply: Option<&Reply>, accounts: usize) -> HashSet<usize> {
    match reply.and_then(|reply| reply.rows.first()) {
        None => HashSet::new(),
        Some(row) => match row.get(1) {
            None => (0..accounts).collect(),
            Some(slots) => (slots.iter())
                .flat_map(|slots| slots.split(','))
                .filter_map(|slot| slot.parse::<usize>().ok()?.checked_sub(1))
                .collect(),
        },
    }
}

/// The values of [`write_one`].
fn values(booking: &Booking, entry: &Entry, moved: &Moved) -> [String; 11] {
    let (change, before) = (&entry.change, &moved.before);
    [
        text::one_bytea(&booking.account.namespace),
        text::one_bytea(&booking.key),
        text::one_bytea(literal::hex(booking.print.as_bytes())),
        text::one_bytea(&booking.account.account),
        text::number(Some(change.version.get())),
        text::one(change.kind.as_str()),
        text::number(Some(change.delta.get())),
        text::number(Some(change.after.get())),
        text::number(Some(before.version.get())),
        text::number(Some(before.amount.get())),
        text::number(floor(before.floor)),
    ]
}

/// The values of [`write`]: records of those who are applied, then of those who are refused.
fn columns(bookings: &[&Booking], fold: &Fold) -> Vec<String> {
    let each = || bookings.iter();
    let applied = || bookings.iter().take(fold.entries.len());
    let changes = || fold.entries.iter().map(|entry| &entry.change);
    let moved = || fold.moved.iter();
    vec![
        text::bytes(each().map(|booking| &booking.account.namespace)),
        text::bytes(each().map(|booking| &booking.key)),
        text::bytes(each().map(|booking| literal::hex(booking.print.as_bytes()))),
        text::bytes(applied().map(|booking| &booking.account.account)),
        text::numbers(changes().map(|change| Some(change.version.get()))),
        text::plain(changes().map(|change| change.kind.as_str())),
        text::numbers(changes().map(|change| Some(change.delta.get()))),
        text::numbers(changes().map(|change| Some(change.after.get()))),
        refusals(fold),
        text::bytes(moved().map(|one| &one.account.namespace)),
        text::bytes(moved().map(|one| &one.account.account)),
        text::numbers(moved().map(|one| Some(one.before.amount.get()))),
        text::numbers(moved().map(|one| Some(one.before.version.get()))),
        text::numbers(moved().map(|one| floor(one.before.floor))),
        text::numbers(moved().map(|one| Some(one.after.amount.get()))),
        text::numbers(moved().map(|one| Some(one.after.version.get()))),
    ]
}

/// What those who are refused keep, behind nothing for each of the others.
fn refusals(fold: &Fold) -> String {
    if fold.refused.is_empty() {
        return "NULL".to_owned();
    }
    let record = |refusal: &Refusal| literal::hex(refusal.record.as_str().as_bytes());
    let applied = fold.entries.iter().map(|_| None);
    text::optional_bytes(applied.chain(fold.refused.iter().map(record).map(Some)))
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
        let namespaces = text::bytes(names.iter().map(|name| &name.namespace));
        let accounts = text::bytes(names.iter().map(|name| &name.account));
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
        let namespaces = || text::bytes(bookings.iter().map(|one| &one.account.namespace));
        let keys = text::bytes(bookings.iter().map(|one| &one.key));
        let accounts = text::bytes(bookings.iter().map(|one| &one.account.account));
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
            let booking = bookings.get(at).ok_or_else(garbled)?;
            *place = Some(known_row(row, booking.operation.key()).ok_or_else(garbled)?);
        }
        let mut states = HashMap::with_capacity(bookings.len());
        let mut in_doubt = HashSet::new();
        for row in placed(replies.get(2)) {
            let (at, row) = row.ok_or_else(garbled)?;
            let booking = bookings.get(at).ok_or_else(garbled)?;
            let state = state(row, 0).ok_or_else(garbled)?;
            states.insert(booking.account.clone(), state);
            if row.get(4).is_some_and(|held| held.as_deref() == Some("t")) {
                in_doubt.insert(booking.account.clone());
            }
        }
        Ok(Truth {
            known,
            states,
            in_doubt,
        })
    }
}

//! Changes of balances by several callers: folded per account in memory, written by one statement.
//!
//! What an account holds is remembered as a *guess*. The statement only writes where version, amount
//! and floor are still what was guessed; of the others the truth is read, and they try again. Where an
//! operation is known already it fails as a whole. A refusal is never decided by a
//! guess, but by what was read: first the accounts and then the operations, so that no caller is
//! refused because of what his own operation did. It was true when it was read, and it is recorded
//! with the group: if the operation was applied meanwhile, its record is in the way, and all are read
//! again.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use exactly_once_core::{
    AccountId, AccountState, Adjust, Applied, Change, CompareAndSet, Error, Expected, Fingerprint,
    Floor, IdempotencyKey, Result,
    adapter::{
        Refused,
        rules::balances::{self, Step},
    },
};

use super::{
    Of, copy,
    guesses::AccountName,
    ledger::stood,
    named::{Message, NOT_ALL},
    queue::{Flush, Queue, ask},
};
use crate::postgres::{
    STORE,
    balance_row::Known,
    driver::{Driver, DriverError},
    literal,
    sqlstate::{self, UNIQUE_VIOLATION},
};

/// How often who is still to be served tries, before he goes alone.
const ROUNDS: u32 = 4;

/// What is asked of an account.
#[derive(Clone)]
pub(in crate::postgres) enum Operation {
    Adjust(Adjust),
    CompareAndSet(CompareAndSet),
}

impl Operation {
    fn decide(&self, state: Option<&AccountState>) -> Result<Step> {
        match self {
            Self::Adjust(operation) => balances::adjust(operation, state, STORE),
            Self::CompareAndSet(operation) => balances::compare_and_set(operation, state, STORE),
        }
    }

    pub(super) fn key(&self) -> &IdempotencyKey {
        match self {
            Self::Adjust(operation) => &operation.key,
            Self::CompareAndSet(operation) => &operation.key,
        }
    }
}

/// A caller's operation.
pub(super) struct Booking {
    pub(super) account: AccountName,
    /// In hexadecimal.
    pub(super) key: String,
    pub(super) print: Fingerprint,
    pub(super) operation: Operation,
}

/// What the group says to a caller.
pub(in crate::postgres) enum Booked {
    /// Applied, now.
    Applied(Change),
    /// The key was used before.
    Known(Known),
    /// Refused, as the account was read; the key keeps it.
    Refused(Error),
    /// It failed with the group, and may have been applied.
    Failed(DriverError),
    /// Not by the group: take the careful path.
    Alone,
}

/// A change that the group makes.
pub(super) struct Entry {
    pub(super) at: usize,
    /// Where its account is in [`Fold::moved`].
    pub(super) slot: usize,
    pub(super) change: Change,
}

/// A caller that the batch refuses.
pub(super) struct Refusal {
    pub(super) at: usize,
    error: Error,
    /// What his key keeps of it.
    pub(super) record: Refused,
}

/// An account before and after the group.
pub(super) struct Moved {
    pub(super) account: AccountName,
    pub(super) before: AccountState,
    pub(super) after: AccountState,
}

/// What a group writes.
#[derive(Default)]
pub(super) struct Fold {
    /// By account, in the order of their versions.
    pub(super) entries: Vec<Entry>,
    pub(super) moved: Vec<Moved>,
    /// Those that the states refuse.
    pub(super) refused: Vec<Refusal>,
    /// Those that the states would refuse, if a decision were not open: they go alone, and wait for it.
    in_doubt: Vec<usize>,
}

/// What is known of the accounts.
struct Seen {
    states: HashMap<AccountName, AccountState>,
    /// Accounts that a prepared transaction holds.
    in_doubt: HashSet<AccountName>,
    /// Read, and not guessed.
    is_true: bool,
}

struct Group<'a> {
    bookings: &'a [Booking],
    told: Vec<Option<Booked>>,
}

impl Group<'_> {
    fn tell(&mut self, at: usize, booked: Booked) {
        if let Some(told) = self.told.get_mut(at) {
            *told = Some(booked);
        }
    }

    /// Who has no answer yet, by account, and in the order in which they came.
    fn open(&self) -> Vec<(usize, &Booking)> {
        let mut open: Vec<(usize, &Booking)> = self
            .bookings
            .iter()
            .enumerate()
            .filter(|(at, _)| matches!(self.told.get(*at), Some(None)))
            .collect();
        open.sort_by(|(_, one), (_, other)| one.account.cmp(&other.account));
        open
    }

    fn tell_open(&mut self, booked: impl Fn() -> Booked) {
        for told in self.told.iter_mut().filter(|told| told.is_none()) {
            *told = Some(booked());
        }
    }

    /// Lets the later callers of a key go alone: they will find what the first one did.
    fn without_doubles(bookings: &[Booking]) -> Vec<Option<Booked>> {
        let mut seen = HashSet::with_capacity(bookings.len());
        bookings
            .iter()
            .map(|booking| {
                let new = seen.insert((&booking.account.namespace, &booking.key));
                (!new).then_some(Booked::Alone)
            })
            .collect()
    }

    /// Decides for everybody by what is known of the accounts.
    fn fold(&self, seen: &Seen) -> Fold {
        let mut fold = Fold::default();
        for (at, booking) in self.open() {
            let moved = fold
                .moved
                .last()
                .filter(|moved| moved.account == booking.account);
            let state = match moved {
                Some(moved) => Some(moved.after),
                None => seen.states.get(&booking.account).copied(),
            };
            match (state, booking.operation.decide(state.as_ref())) {
                (Some(before), Ok((change, after))) => {
                    match fold.moved.last_mut() {
                        Some(moved) if moved.account == booking.account => moved.after = after,
                        _ => fold.moved.push(Moved {
                            account: booking.account.clone(),
                            before,
                            after,
                        }),
                    }
                    let slot = fold.moved.len().saturating_sub(1);
                    fold.entries.push(Entry { at, slot, change });
                }
                // A guess refuses no operation.
                (_, Err(_)) if !seen.is_true => {}
                (_, Err(_)) if seen.in_doubt.contains(&booking.account) => fold.in_doubt.push(at),
                (_, Err(error)) => {
                    // What is no refusal by the rules goes alone.
                    if let Some(record) = Refused::of(&error) {
                        fold.refused.push(Refusal { at, error, record });
                    }
                }
                // It would open an account: not here.
                (None, Ok(_)) => {}
            }
        }
        fold
    }
}

struct Together<D: Driver>(Of<D>);

impl<D: Driver> Clone for Together<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Driver> Flush for Together<D> {
    type Job = Booking;
    type Answer = Booked;

    fn queue(&self) -> &Queue<Booking, Booked> {
        &self.0.groups().ledger.queue
    }

    fn wants(booking: &Booking) -> Option<&Arc<str>> {
        Some(&booking.account.account)
    }

    async fn flush(&self, bookings: Vec<Booking>) -> Vec<Booked> {
        let mut group = Group {
            told: Group::without_doubles(&bookings),
            bookings: &bookings,
        };
        self.0.book(&mut group).await;
        group
            .told
            .into_iter()
            .map(|told| told.unwrap_or(Booked::Alone))
            .collect()
    }
}

impl<D: Driver> Of<D> {
    async fn book(&self, group: &mut Group<'_>) {
        let guesses = &self.groups().ledger.guesses;
        let first = if self.groups().ledger.replays.expected() {
            self.read_truth(group).await
        } else {
            self.guess_or_read(group).await
        };
        let Some(mut seen) = first else { return };
        for _ in 0..ROUNDS {
            let fold = group.fold(&seen);
            for at in &fold.in_doubt {
                group.tell(*at, Booked::Alone);
            }
            match self.write(group, &fold, !seen.is_true).await {
                Ok(stood) => {
                    let (right, wrong): (Vec<_>, Vec<_>) =
                        (fold.moved.iter().enumerate()).partition(|(slot, _)| stood.contains(slot));
                    guesses.forget(wrong.into_iter().map(|(_, moved)| &moved.account));
                    let learnt = right.into_iter();
                    guesses.learn(learnt.map(|(_, moved)| (moved.account.clone(), moved.after)));
                    for entry in fold.entries {
                        if stood.contains(&entry.slot) {
                            group.tell(entry.at, Booked::Applied(entry.change));
                        }
                    }
                    for refusal in fold.refused {
                        group.tell(refusal.at, Booked::Refused(refusal.error));
                    }
                }
                Err(failed) => {
                    tracing::debug!(
                        ?failed,
                        changes = fold.entries.len(),
                        "a group of changes failed"
                    );
                    guesses.forget(fold.moved.iter().map(|moved| &moved.account));
                    match failed.code() {
                        Some(NOT_ALL | UNIQUE_VIOLATION) => {}
                        Some(code) if sqlstate::surely_nothing(code) => return,
                        _ => return group.tell_open(|| Booked::Failed(copy(&failed))),
                    }
                }
            }
            if group.open().is_empty() {
                return;
            }
            match self.read_truth(group).await {
                Some(truth) => seen = truth,
                None => return,
            }
        }
    }

    /// What is guessed of the accounts; what has no guess is read. `None` if that fails.
    async fn guess_or_read(&self, group: &Group<'_>) -> Option<Seen> {
        let open = group.open();
        let accounts = open.iter().map(|(_, booking)| &booking.account);
        let (mut states, unknown) = self.groups().ledger.guesses.of(accounts);
        if !unknown.is_empty() {
            let unknown: Vec<&AccountName> = unknown.into_iter().collect();
            // Who has no answer goes alone.
            states.extend(self.look_at_accounts(&unknown).await.ok()?);
        }
        Some(Seen {
            states,
            in_doubt: HashSet::new(),
            is_true: false,
        })
    }

    /// Reads the accounts, and answers those whose operation is known. `None` if all were answered.
    async fn read_truth(&self, group: &mut Group<'_>) -> Option<Seen> {
        let truth = {
            let open = group.open();
            let bookings: Vec<&Booking> = open.iter().map(|(_, booking)| *booking).collect();
            let places: Vec<usize> = open.iter().map(|(at, _)| *at).collect();
            self.look_at_ledger(&bookings)
                .await
                .map(|truth| (truth, places))
        };
        match truth {
            Ok((truth, places)) => {
                for (known, at) in truth.known.into_iter().zip(places) {
                    if let Some(known) = known {
                        self.groups().ledger.replays.found();
                        group.tell(at, Booked::Known(known));
                    }
                }
                Some(Seen {
                    states: truth.states,
                    in_doubt: truth.in_doubt,
                    is_true: true,
                })
            }
            // Who has no answer goes alone.
            Err(_) => None,
        }
    }

    /// Writes what was folded, and says of which accounts: by guesses, of those that are as they were
    /// guessed; by what was read, of all or of none.
    async fn write(
        &self,
        group: &Group<'_>,
        fold: &Fold,
        guessed: bool,
    ) -> std::result::Result<HashSet<usize>, DriverError> {
        if fold.entries.is_empty() && fold.refused.is_empty() {
            return Ok(HashSet::new());
        }
        let groups = self.groups();
        let applied = fold.entries.iter().map(|entry| entry.at);
        let refused = fold.refused.iter().map(|refusal| refusal.at);
        let bookings: Vec<&Booking> = applied
            .chain(refused)
            .filter_map(|at| group.bookings.get(at))
            .collect();
        let mut message = Message::begin(&groups.begin_generic);
        groups
            .ledger
            .execute(&mut message, &bookings, fold, guessed);
        let replies = self.send(&message.commit()).await?;
        // BEGIN, the settings, what was written.
        Ok(stood(replies.get(2), fold.moved.len()))
    }

    fn account_name(&self, account: &AccountId) -> AccountName {
        AccountName {
            namespace: self.namespace_hex().into(),
            account: literal::hex(account.as_str().as_bytes()).into(),
        }
    }

    /// What accounts held after another than a batch has changed them.
    pub(in crate::postgres) fn guess<'a>(
        &self,
        states: impl ExactSizeIterator<Item = (&'a AccountId, AccountState)>,
    ) {
        let named = states.map(|(account, state)| (self.account_name(account), state));
        self.groups().ledger.guesses.learn(named);
    }

    /// Applies an operation together with those of others who come now.
    pub(in crate::postgres) async fn book_together(
        &self,
        operation: Operation,
        print: Fingerprint,
    ) -> Booked {
        let (account, key) = match &operation {
            Operation::Adjust(Adjust { account, key, .. }) => (account, key),
            // Nothing to fold: it opens the account.
            Operation::CompareAndSet(CompareAndSet {
                expected: Expected::Absent,
                ..
            }) => return Booked::Alone,
            Operation::CompareAndSet(CompareAndSet { account, key, .. }) => (account, key),
        };
        let booking = Booking {
            account: self.account_name(account),
            key: literal::hex(key.as_str().as_bytes()),
            print,
            operation,
        };
        let booked = ask(Together(self.clone()), booking).await;
        if let Some(Booked::Applied(_)) = booked {
            self.groups().ledger.replays.fresh();
        }
        booked.unwrap_or(Booked::Alone)
    }
}

/// The floor as a number; `None` is none.
pub(super) fn floor(floor: Floor) -> Option<i64> {
    match floor {
        Floor::At(amount) => Some(amount.get()),
        Floor::None => None,
    }
}

/// As an answer of the store.
pub(in crate::postgres) fn applied(change: Change) -> Applied {
    Applied {
        change,
        replayed: false,
    }
}

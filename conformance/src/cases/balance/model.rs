//! A balance store as a sequential model in 128 bits, written apart from the rules that the
//! adapters share, and random operations for it.

use std::collections::BTreeMap;

use exactly_once_core::{
    AccountId, AccountState, Adjust, Amount, BalanceStore, Change, ChangeKind, CloseAccount,
    CompareAndSet, Error, ErrorKind, Expected, Fingerprint, Floor, IdempotencyKey, OpenAccount,
    Transfer, Version,
};

use crate::history::linearizability::Model;

/// One operation of a balance store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Open(OpenAccount),
    Close(CloseAccount),
    Adjust(Adjust),
    Set(CompareAndSet),
    Transfer(Transfer),
    Balance(AccountId),
}

/// What it answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done {
        changes: Vec<Change>,
        replayed: bool,
    },
    Refused(ErrorKind),
    State(Option<AccountState>),
}

/// All accounts and records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Books {
    accounts: BTreeMap<AccountId, AccountState>,
    records: BTreeMap<IdempotencyKey, (Fingerprint, Result<Vec<Change>, ErrorKind>)>,
}

/// The model of [`Books`], for histories.
pub(crate) struct BalanceModel {
    /// The books before the first operation.
    pub(crate) initial: Books,
}

impl Model for BalanceModel {
    type Op = Op;
    type Ret = Answer;
    type State = Books;

    fn initial(&self) -> Books {
        self.initial.clone()
    }

    fn apply(&self, state: &Books, op: &Op) -> (Answer, Books) {
        let mut books = state.clone();
        (books.apply(op), books)
    }
}

/// Asks a store; refusals are answers, what may be tried again is an error.
pub(crate) async fn ask<S: BalanceStore>(store: &S, op: &Op) -> Result<Answer, Error> {
    let one = |applied: exactly_once_core::Applied| Answer::Done {
        changes: vec![applied.change],
        replayed: applied.replayed,
    };
    let answer = match op {
        Op::Open(operation) => store.open_account(operation).await.map(one),
        Op::Close(operation) => store.close_account(operation).await.map(one),
        Op::Adjust(operation) => store.adjust(operation).await.map(one),
        Op::Set(operation) => store.compare_and_set(operation).await.map(one),
        Op::Transfer(operation) => store.transfer(operation).await.map(|done| Answer::Done {
            changes: done.changes,
            replayed: done.replayed,
        }),
        Op::Balance(holder) => store.balance(holder).await.map(Answer::State),
    };
    match answer {
        Err(error) if !error.is_retryable() => Ok(Answer::Refused(error.kind())),
        answer => answer,
    }
}

/// One step as the model reckons it.
struct Step<'a> {
    key: &'a IdempotencyKey,
    holder: &'a AccountId,
    kind: ChangeKind,
    /// The amount it leads to, in a range where nothing overflows.
    after: i128,
    /// The floor that it must respect, if any.
    floor: Floor,
    /// The floor that the account has from then on.
    keep: Floor,
}

impl Op {
    fn identity(&self) -> Option<(&IdempotencyKey, Fingerprint)> {
        let (key, fingerprint) = match self {
            Self::Open(operation) => (&operation.key, operation.fingerprint()),
            Self::Close(operation) => (&operation.key, operation.fingerprint()),
            Self::Adjust(operation) => (&operation.key, operation.fingerprint()),
            Self::Set(operation) => (&operation.key, operation.fingerprint()),
            Self::Transfer(operation) => (operation.key(), operation.fingerprint()),
            Self::Balance(_) => return None,
        };
        fingerprint.ok().map(|fingerprint| (key, fingerprint))
    }
}

impl Books {
    /// Applies the operation; the one right answer.
    pub(crate) fn apply(&mut self, op: &Op) -> Answer {
        let Some((key, fingerprint)) = op.identity() else {
            let Op::Balance(holder) = op else {
                return Answer::Refused(ErrorKind::Invalid);
            };
            return Answer::State(self.accounts.get(holder).copied());
        };
        if let Some((first, ended)) = self.records.get(key) {
            if *first != fingerprint {
                return Answer::Refused(ErrorKind::Mismatch);
            }
            return match ended {
                Ok(changes) => Answer::Done {
                    changes: changes.clone(),
                    replayed: true,
                },
                Err(kind) => Answer::Refused(*kind),
            };
        }
        match self.decide(op) {
            Err(kind) => {
                // A refusal is final.
                self.records.insert(key.clone(), (fingerprint, Err(kind)));
                Answer::Refused(kind)
            }
            Ok(steps) => {
                let changes: Vec<Change> = steps.iter().map(|(change, _)| change.clone()).collect();
                for (change, state) in steps {
                    self.accounts.insert(change.account, state);
                }
                self.records
                    .insert(key.clone(), (fingerprint, Ok(changes.clone())));
                Answer::Done {
                    changes,
                    replayed: false,
                }
            }
        }
    }

    /// The state of an account, if it ever was.
    pub(crate) fn account(&self, holder: &AccountId) -> Option<&AccountState> {
        self.accounts.get(holder)
    }

    fn decide(&self, op: &Op) -> Result<Vec<(Change, AccountState)>, ErrorKind> {
        match op {
            Op::Open(OpenAccount {
                key,
                account,
                floor,
                amount,
            }) => {
                self.must_not_be_open(account)?;
                let after = i128::from(amount.get());
                let (floor, kind) = (*floor, ChangeKind::Open);
                self.step(&Step {
                    key,
                    holder: account,
                    kind,
                    after,
                    floor,
                    keep: floor,
                })
            }
            Op::Close(CloseAccount { key, account }) => {
                let state = self.open(account)?;
                if state.amount != Amount::ZERO {
                    return Err(ErrorKind::Conflict {
                        current: Some(state.version),
                    });
                }
                let (kind, floor) = (ChangeKind::Close, Floor::None);
                self.step(&Step {
                    key,
                    holder: account,
                    kind,
                    after: 0,
                    floor,
                    keep: state.floor,
                })
            }
            Op::Adjust(Adjust {
                key,
                account,
                delta,
                expected,
                floor,
            }) => {
                let state = self.open(account)?;
                if let Some(expected) = expected {
                    Self::must_be_at(&state, *expected)?;
                }
                let floor = if delta.get() < 0 {
                    floor.unwrap_or(state.floor)
                } else {
                    Floor::None
                };
                let after = i128::from(state.amount.get()) + i128::from(delta.get());
                let (kind, keep) = (ChangeKind::Adjust, state.floor);
                self.step(&Step {
                    key,
                    holder: account,
                    kind,
                    after,
                    floor,
                    keep,
                })
            }
            Op::Set(CompareAndSet {
                key,
                account,
                expected,
                amount,
                floor,
            }) => {
                let own = match expected {
                    Expected::Absent => {
                        self.must_not_be_open(account)?;
                        floor.unwrap_or_default()
                    }
                    Expected::Any => self.open(account)?.floor,
                    Expected::Version(version) => {
                        let state = self.open(account)?;
                        Self::must_be_at(&state, *version)?;
                        state.floor
                    }
                };
                let (after, floor) = (i128::from(amount.get()), floor.unwrap_or(own));
                let kind = ChangeKind::CompareAndSet;
                self.step(&Step {
                    key,
                    holder: account,
                    kind,
                    after,
                    floor,
                    keep: own,
                })
            }
            Op::Transfer(transfer) => {
                let mut steps = Vec::new();
                for leg in transfer.legs() {
                    let state = self.open(&leg.account)?;
                    let floor = if leg.delta.get() < 0 {
                        state.floor
                    } else {
                        Floor::None
                    };
                    let after = i128::from(state.amount.get()) + i128::from(leg.delta.get());
                    let (key, kind, keep) = (transfer.key(), ChangeKind::Transfer, state.floor);
                    let holder = &leg.account;
                    steps.extend(self.step(&Step {
                        key,
                        holder,
                        kind,
                        after,
                        floor,
                        keep,
                    })?);
                }
                Ok(steps)
            }
            Op::Balance(_) => Ok(Vec::new()),
        }
    }

    fn open(&self, holder: &AccountId) -> Result<AccountState, ErrorKind> {
        let open = self.accounts.get(holder).filter(|state| state.open);
        open.copied().ok_or(ErrorKind::UnknownAccount)
    }

    fn must_not_be_open(&self, holder: &AccountId) -> Result<(), ErrorKind> {
        self.open(holder).map_or(Ok(()), |state| {
            Err(ErrorKind::Conflict {
                current: Some(state.version),
            })
        })
    }

    fn must_be_at(state: &AccountState, expected: Version) -> Result<(), ErrorKind> {
        if state.version == expected {
            return Ok(());
        }
        Err(ErrorKind::Conflict {
            current: Some(state.version),
        })
    }

    fn step(&self, step: &Step<'_>) -> Result<Vec<(Change, AccountState)>, ErrorKind> {
        let known = self.accounts.get(step.holder);
        let before = known
            .filter(|state| state.open)
            .map_or(0, |state| state.amount.get().into());
        let fits = |number: i128| i64::try_from(number).map_err(|_| ErrorKind::Overflow);
        let after = Amount::new(fits(step.after)?);
        let delta = Amount::new(fits(step.after - before)?);
        let version = known.map_or(1, |state| i128::from(state.version.get()) + 1);
        let version = Version::new(fits(version)?).map_err(|_| ErrorKind::Overflow)?;
        if let Floor::At(floor) = step.floor
            && step.after < i128::from(floor.get())
        {
            return Err(ErrorKind::InsufficientFunds);
        }
        let change = Change {
            key: step.key.clone(),
            account: step.holder.clone(),
            kind: step.kind,
            delta,
            before: Amount::new(fits(before)?),
            after,
            version,
        };
        let open = step.kind != ChangeKind::Close;
        Ok(vec![(
            change,
            AccountState {
                amount: after,
                version,
                floor: step.keep,
                open,
            },
        )])
    }
}

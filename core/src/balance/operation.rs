//! What can be asked of a balance store. Every operation carries its idempotency key.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::{
    amount::{Amount, Version},
    balance::change::Floor,
    error::{Error, ErrorKind, Result},
    fingerprint::Fingerprint,
    names::{AccountId, IdempotencyKey},
};

/// The most legs that one transfer may have.
pub const MAX_LEGS: usize = 256;

/// The version that a [`CompareAndSet`] requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Expected {
    /// The account must not be open; it is opened with the amount.
    Absent,
    /// The account must be open and have this version.
    Version(Version),
    /// The account must be open; whatever its version.
    Any,
}

/// Opens an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenAccount {
    /// Names this operation, the same on every retry.
    pub key: IdempotencyKey,
    /// The account.
    pub account: AccountId,
    /// Its floor.
    pub floor: Floor,
    /// What it holds at first.
    pub amount: Amount,
}

impl OpenAccount {
    /// An account with floor zero and balance zero.
    #[must_use]
    pub fn new(key: IdempotencyKey, account: AccountId) -> Self {
        Self {
            key,
            account,
            floor: Floor::default(),
            amount: Amount::ZERO,
        }
    }

    /// With another floor.
    #[must_use]
    pub fn with_floor(mut self, floor: Floor) -> Self {
        self.floor = floor;
        self
    }

    /// With a first amount, in minor units.
    #[must_use]
    pub fn with_amount(mut self, amount: Amount) -> Self {
        self.amount = amount;
        self
    }

    /// Over all parameters.
    ///
    /// # Errors
    /// None in practice; the type is what [`Fingerprint::of`] has.
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of("balance.open", &(&self.account, self.floor, self.amount))
    }
}

/// Closes an account whose balance is zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseAccount {
    /// Names this operation, the same on every retry.
    pub key: IdempotencyKey,
    /// The account.
    pub account: AccountId,
}

impl CloseAccount {
    /// Closes this account.
    #[must_use]
    pub fn new(key: IdempotencyKey, account: AccountId) -> Self {
        Self { key, account }
    }

    /// Over all parameters.
    ///
    /// # Errors
    /// As [`OpenAccount::fingerprint`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of("balance.close", &self.account)
    }
}

/// Adds a delta to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjust {
    /// Names this operation, the same on every retry.
    pub key: IdempotencyKey,
    /// The account.
    pub account: AccountId,
    /// What to add, in minor units; negative takes away.
    pub delta: Amount,
    /// The version that the account must have, if any.
    pub expected: Option<Version>,
    /// A floor for this operation alone, in place of the account's own.
    pub floor: Option<Floor>,
}

impl Adjust {
    /// Adds `delta` at whatever version, down to the account's own floor.
    #[must_use]
    pub fn new(key: IdempotencyKey, account: AccountId, delta: Amount) -> Self {
        Self {
            key,
            account,
            delta,
            expected: None,
            floor: None,
        }
    }

    /// Only at this version.
    #[must_use]
    pub fn expecting(mut self, version: Version) -> Self {
        self.expected = Some(version);
        self
    }

    /// With a floor for this operation alone.
    #[must_use]
    pub fn with_floor(mut self, floor: Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Over all parameters.
    ///
    /// # Errors
    /// As [`OpenAccount::fingerprint`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of(
            "balance.adjust",
            &(&self.account, self.delta, self.expected, self.floor),
        )
    }
}

/// Sets an account's amount at an expected version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareAndSet {
    /// Names this operation, the same on every retry.
    pub key: IdempotencyKey,
    /// The account.
    pub account: AccountId,
    /// What the account must be like.
    pub expected: Expected,
    /// What it shall hold, in minor units.
    pub amount: Amount,
    /// A floor for this operation alone; with [`Expected::Absent`], the new account's floor.
    pub floor: Option<Floor>,
}

impl CompareAndSet {
    /// Sets `amount` if the account is as expected.
    #[must_use]
    pub fn new(
        key: IdempotencyKey,
        account: AccountId,
        expected: Expected,
        amount: Amount,
    ) -> Self {
        Self {
            key,
            account,
            expected,
            amount,
            floor: None,
        }
    }

    /// With a floor.
    #[must_use]
    pub fn with_floor(mut self, floor: Floor) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Over all parameters.
    ///
    /// # Errors
    /// As [`OpenAccount::fingerprint`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of(
            "balance.compare_and_set",
            &(&self.account, self.expected, self.amount, self.floor),
        )
    }
}

/// One account's part of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The account.
    pub account: AccountId,
    /// What to add, in minor units; negative takes away.
    pub delta: Amount,
}

/// Moves amounts between accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    key: IdempotencyKey,
    legs: Vec<Leg>,
}

impl Transfer {
    /// A transfer with these legs: 2 to [`MAX_LEGS`], each of another account, adding up to zero.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] says which of these rules is broken.
    pub fn new(key: IdempotencyKey, legs: Vec<Leg>) -> Result<Self> {
        let invalid = |message: String| {
            Err(Error::new(ErrorKind::Invalid, "transfer", "core").with_message(message))
        };
        if !(2..=MAX_LEGS).contains(&legs.len()) {
            return invalid(format!(
                "a transfer of {} legs; it must have 2 to {MAX_LEGS}",
                legs.len()
            ));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = legs.iter().find(|leg| !seen.insert(&leg.account)) {
            return invalid(format!(
                "the account {} stands in two legs of a transfer: add the legs up first",
                twice.account
            ));
        }
        let sum: i128 = legs.iter().map(|leg| i128::from(leg.delta.get())).sum();
        if sum != 0 {
            return invalid(format!(
                "the legs of a transfer must add up to zero, not to {sum}"
            ));
        }
        Ok(Self { key, legs })
    }

    /// Moves `amount` from one account to another.
    ///
    /// # Errors
    /// As [`Self::new`]; also for a negative amount.
    pub fn between(
        key: IdempotencyKey,
        from: AccountId,
        to: AccountId,
        amount: Amount,
    ) -> Result<Self> {
        let debit = match amount.checked_neg() {
            Some(debit) if amount >= Amount::ZERO => debit,
            _ => {
                return Err(
                    Error::new(ErrorKind::Invalid, "transfer", "core").with_message(
                        "the amount of a transfer must not be negative: swap the two accounts",
                    ),
                );
            }
        };
        Self::new(
            key,
            vec![
                Leg {
                    account: from,
                    delta: debit,
                },
                Leg {
                    account: to,
                    delta: amount,
                },
            ],
        )
    }

    /// Names this operation, the same on every retry.
    #[must_use]
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// The legs, in the order given.
    #[must_use]
    pub fn legs(&self) -> &[Leg] {
        &self.legs
    }

    /// Over all parameters.
    ///
    /// # Errors
    /// As [`OpenAccount::fingerprint`].
    pub fn fingerprint(&self) -> Result<Fingerprint> {
        Fingerprint::of("balance.transfer", &self.legs)
    }
}

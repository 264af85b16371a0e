//! Small helpers that cases of several topics share.

use exactly_once_core::{
    AccountId, Amount, Claim, Fingerprint, IdempotencyKey, InvalidName, Receipt,
};

/// A key, checked.
pub(crate) fn key(name: &str) -> Result<IdempotencyKey, InvalidName> {
    IdempotencyKey::new(name)
}

/// An account, checked.
pub(crate) fn account(name: &str) -> Result<AccountId, InvalidName> {
    AccountId::new(name)
}

/// A claim of the key for a request that is its name.
pub(crate) fn claim(name: &str) -> Result<Claim, InvalidName> {
    Ok(Claim::new(key(name)?, Fingerprint::of_bytes("conformance", name.as_bytes())))
}

/// A claim of the key for another request.
pub(crate) fn other_claim(name: &str, request: &str) -> Result<Claim, InvalidName> {
    Ok(Claim::new(key(name)?, Fingerprint::of_bytes("conformance", request.as_bytes())))
}

/// A receipt with this text.
pub(crate) fn receipt(text: &str) -> Receipt {
    Receipt::from_bytes(text.as_bytes().to_vec())
}

/// An amount.
pub(crate) fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units)
}

//! How accounts and changes are stored: the values behind the keys.

use exactly_once_core::{
    AccountId, AccountState, Amount, Change, ChangeKind, Floor, IdempotencyKey, Version,
};

/// `none`, or an amount.
pub(super) fn floor_text(floor: Floor) -> String {
    match floor {
        Floor::At(amount) => amount.to_string(),
        Floor::None => "none".to_owned(),
    }
}

/// A state from its four stored parts; `None` if they are no account.
pub(super) fn state_of(
    amount: &[u8],
    version: &[u8],
    floor: &[u8],
    open: &[u8],
) -> Option<AccountState> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<i64>().ok();
    Some(AccountState {
        amount: Amount::new(number(amount)?),
        version: Version::new(number(version)?).ok()?,
        floor: match floor {
            b"none" => Floor::None,
            floor => Floor::At(Amount::new(number(floor)?)),
        },
        open: match open {
            b"1" => true,
            b"0" => false,
            _ => return None,
        },
    })
}

/// A line of the history: `kind|delta|before|after|key`.
pub(super) fn history_line(change: &Change) -> String {
    format!(
        "{}|{}|{}|{}|{}",
        change.kind.as_str(),
        change.delta,
        change.before,
        change.after,
        change.key
    )
}

pub(super) fn change_of_line(account: &AccountId, version: Version, line: &[u8]) -> Option<Change> {
    let mut parts = std::str::from_utf8(line).ok()?.splitn(5, '|');
    let kind = ChangeKind::parse(parts.next()?)?;
    let mut amount = || Some(Amount::new(parts.next()?.parse().ok()?));
    let (delta, before, after) = (amount()?, amount()?, amount()?);
    let key = IdempotencyKey::new(parts.next()?).ok()?;
    Some(Change {
        key,
        account: account.clone(),
        kind,
        delta,
        before,
        after,
        version,
    })
}

/// A leg's part of a receipt: `before after version`.
pub(super) fn receipt_leg(change: &Change) -> String {
    format!("{} {} {}", change.before, change.after, change.version)
}

/// A leg's change from its part of the receipt.
pub(super) fn change_of_receipt(
    key: &IdempotencyKey,
    account: &AccountId,
    kind: ChangeKind,
    part: &str,
) -> Option<Change> {
    let mut numbers = part.split(' ').map(str::parse::<i64>);
    let mut next = || numbers.next()?.ok();
    let (before, after) = (Amount::new(next()?), Amount::new(next()?));
    Some(Change {
        key: key.clone(),
        account: account.clone(),
        kind,
        delta: after.checked_sub(before)?,
        before,
        after,
        version: Version::new(next()?).ok()?,
    })
}
